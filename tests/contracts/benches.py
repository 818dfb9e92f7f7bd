"""A small bench for segmentations: headers of a made-up cine in any place of the patient, and the grid they form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from contracts.segmentations import Provenance
from contracts.stacks import Plane
from contracts.tasks import Task
from contracts.volumes import Grid

Vector = tuple[float, float, float]

PROVENANCE = Provenance(
    task=Task.CARDIAC,
    algorithm_name="segloop cardiac",
    algorithm_version="3",
    model_digest="sha256:" + "ab" * 32,
    variant="fp32",
    stack_digest="cd" * 32,
    completed_at=1700000000.25,
    completeness='{"at": 1700000000.25, "why": "quiet"}',
)


@dataclass(frozen=True)
class Bench:
    """A grid and the headers of its sources by SOP Instance UID."""

    grid: Grid
    headers: Mapping[str, Dataset]


def bench(
    *,
    slices: int = 4,
    phases: int = 2,
    rows: int = 12,
    columns: int = 10,
    row_direction: Vector = (1, 0, 0),
    column_direction: Vector = (0, 1, 0),
    origin: Vector = (-31.5, 12.25, 7.0),
    spacing: tuple[float, float] = (1.5, 1.25),
    distance: float = 8.0,
    series_of: Callable[[int, int], str] = lambda phase, index: "1.2.826.0.1.5",
    enhanced: bool = False,
    **grid_changes: Any,
) -> Bench:
    """Return a cine [phase][slice] whose slices ascend along the normal, row direction x column direction.

    With ``enhanced`` all planes are frames of one instance, in an order that is not the grid's. ``series_of`` names
    the series of a plane. ``grid_changes`` replace fields of the grid.
    """
    normal = np.cross(row_direction, column_direction)
    positions = np.array(origin) + distance * np.arange(slices)[:, None] * normal
    x, y, z = map(float, row_direction)
    u, v, w = map(float, column_direction)
    orientation = (x, y, z, u, v, w)
    planes = []
    headers = {}
    for phase in range(phases):
        for index in range(slices):
            number = phase * slices + index
            uid = "1.2.826.0.1.77" if enhanced else f"1.2.826.0.1.{number + 100}"
            plane = Plane(
                sop_uid=uid,
                series_uid=series_of(phase, index),
                frame=slices * phases - number if enhanced else 1,
                position=tuple(positions[index].tolist()),
                orientation=orientation,
                spacing=spacing,
                thickness=distance,
                trigger_time=phase * 50.0,
                temporal_position=None,
                instance_number=number + 1,
                acquired_s=None,
            )
            planes.append(plane)
            headers[uid] = header_of(plane, rows, columns, slices * phases if enhanced else None)
    grid = Grid(
        planes=tuple(tuple(planes[start : start + slices]) for start in range(0, len(planes), slices)),
        rows=rows,
        columns=columns,
        positions=tuple(tuple(position) for position in positions.tolist()),
        orientation=orientation,
        spacing=spacing,
        slice_distance=distance,
        frame_of_reference_uid="1.2.826.0.1.6",
        frame_of_reference_derived=False,
        spacing_invented=False,
        warnings=(),
    )
    return Bench(replace(grid, **grid_changes), headers)


def header_of(plane: Plane, rows: int, columns: int, frames: int | None) -> Dataset:
    """Return the header of a source; Enhanced MR where ``frames`` is given, and then without its functional groups."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4" + (".1" if frames else "")
    header.SOPInstanceUID = plane.sop_uid
    header.StudyInstanceUID = "1.2.826.0.1.4"
    header.SeriesInstanceUID = plane.series_uid
    header.Modality = "MR"
    header.PatientName = "Müller^Zoë"
    header.PatientID = "7"
    header.IssuerOfPatientID = "Ward 3"
    header.PatientBirthDate = "00000000"
    header.PatientSex = ""
    header.PatientSize = "1.70"
    header.StudyDate = "20120000"
    header.StudyTime = "083237.000000"
    header.AccessionNumber = "A-1"
    header.StudyID = "9"
    header.ReferringPhysicianName = ""
    header.Rows, header.Columns = rows, columns
    if frames:
        header.NumberOfFrames = frames
        return header
    header.ImagePositionPatient = list(plane.position)
    header.ImageOrientationPatient = list(plane.orientation)
    header.PixelSpacing = list(plane.spacing)
    header.SliceThickness = plane.thickness
    header.FrameOfReferenceUID = "1.2.826.0.1.6"
    return header


def random_labels(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Return labels 0..3 of that shape with every label in it somewhere."""
    drawn = np.random.default_rng(seed).integers(0, 4, size=shape, dtype=np.uint8)
    drawn.reshape(-1)[:4] = (1, 2, 3, 0)
    return drawn
