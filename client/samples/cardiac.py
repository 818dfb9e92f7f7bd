"""A synthetic short-axis cine: a made-up heart that beats, as a scanner would store it, and its true masks as SEG."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from client.samples.anatomy import person
from client.samples.rendering import render
from contracts.dicom import quiet
from contracts.identifiers import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, derive_uid
from contracts.segmentations import Provenance, write_segmentation
from contracts.stacks import describe, stacks_of
from contracts.tasks import Task
from contracts.volumes import Grid, arrange

ROW = np.array((0.74, 0.66, 0.23))
COLUMN = np.array((-0.145, 0.474, -0.886))
MIDDLE = np.array((38.0, -12.0, 20.0))
"""Middle of the stack in the patient (LPS, mm)."""

BEAT_MS = 860.0
MADE_AT = 1704103200.0  # 2024-01-01 10:00 UTC


@dataclass(frozen=True)
class Sample:
    """What was written: images in order of phase and slice, masks in order of phase, and the truth itself.

    ``truth`` uint8 [phase, slice, row, column] with the labels of the task cardiac; slices in the order of
    :func:`contracts.volumes.arrange`, from apex to base.
    """

    paths: tuple[Path, ...]
    masks: tuple[Path, ...]
    truth: NDArray[np.uint8]
    study_uid: str
    series_uids: tuple[str, ...]


@dataclass(frozen=True)
class _Scan:
    """What the headers of a cine share. Lengths in mm; ``names`` are what all its UIDs derive from."""

    slices: int
    phases: int
    rows: int
    columns: int
    spacing: float
    distance: float
    split_series: bool
    names: tuple[str, ...]

    def uid(self, *what: str) -> str:
        return derive_uid("sample", *self.names, *what)

    def series_uid(self, place: int) -> str:
        return self.uid("series", str(place) if self.split_series else "all")


def write_cardiac(
    folder: Path,
    *,
    slices: int = 10,
    phases: int = 20,
    rows: int = 256,
    columns: int = 216,
    seed: int = 0,
    split_series: bool = False,
    off_centre: tuple[float, float] = (0.0, 0.0),
    spacing: float = 1.4,
    slice_distance: float = 8.0,
) -> Sample:
    """Write a cine of ``slices`` x ``phases`` MR images under ``folder/images`` and its masks under ``folder/masks``.

    The same arguments write the same bytes. ``seed`` draws another person; ``split_series`` gives each slice a series
    of its own, as scanners of one vendor do; ``off_centre`` moves the heart by (right, down) mm in the picture.
    ``spacing`` of pixels and ``slice_distance`` in mm.
    """
    names = [repr(x) for x in (seed, slices, phases, rows, columns, split_series, off_centre, spacing, slice_distance)]
    scan = _Scan(slices, phases, rows, columns, spacing, slice_distance, split_series, tuple(names))
    images, truth = render(
        person(seed),
        slices=slices,
        phases=phases,
        rows=rows,
        columns=columns,
        spacing=spacing,
        centre=(4.0 + off_centre[0], -6.0 + off_centre[1]),
        seed=seed,
    )
    with quiet():
        headers = [
            _image(scan, phase, place, images[phase, place], seed) for phase in range(phases) for place in range(slices)
        ]
        paths = tuple(_store(header, folder / "images") for header in headers)
        grid = _grid(headers)
        masks = _write_masks(folder / "masks", grid, truth, headers, scan)
    series_uids = dict.fromkeys(str(header.SeriesInstanceUID) for header in headers)
    return Sample(paths, masks, truth, scan.uid("study"), tuple(series_uids))


def _image(scan: _Scan, phase: int, place: int, pixels: NDArray[np.uint16], seed: int) -> FileDataset:
    """Return one image; ``place`` counts from the apex, while instance numbers run from the base as scanners do."""
    from_base = scan.slices - 1 - place
    made = FileDataset("", {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    made.file_meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    made.SOPClassUID = MRImageStorage
    made.SOPInstanceUID = scan.uid("image", str(phase), str(place))
    made.StudyInstanceUID = scan.uid("study")
    made.SeriesInstanceUID = scan.series_uid(place)
    made.SeriesNumber = 10 + from_base if scan.split_series else 10
    made.InstanceNumber = phase + 1 if scan.split_series else from_base * scan.phases + phase + 1
    _describe_person(made, seed)
    _describe_scan(made, scan, phase, from_base)
    _place(made, scan, place)
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = "450", "900"
    made.PixelData = np.minimum(pixels, 4095).astype("<u2").tobytes()
    return made


def _describe_person(made: Dataset, seed: int) -> None:
    made.PatientName, made.PatientID = "SAMPLE^CARDIAC", f"SAMPLE-{seed}"
    made.PatientBirthDate, made.PatientSex = "19700101", "O"
    made.StudyDate = made.SeriesDate = made.AcquisitionDate = made.ContentDate = "20240101"
    made.StudyTime = made.SeriesTime = "100000"
    made.AccessionNumber, made.StudyID, made.ReferringPhysicianName = "", "1", ""
    made.StudyDescription = "Synthetic cardiac MR, no patient"


def _describe_scan(made: Dataset, scan: _Scan, phase: int, from_base: int) -> None:
    """Set what a scanner says of a balanced steady-state cine; the heart rate differs a little from slice to slice."""
    beat = BEAT_MS * (1 + 0.01 * ((7 * from_base) % 5 - 2))
    made.Modality, made.Manufacturer = "MR", "segloop sample"
    made.SeriesDescription = "Synthetic short-axis cine"
    made.BodyPartExamined = "HEART"
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    made.ScanningSequence, made.SequenceVariant = "GR", "SS"
    made.ScanOptions, made.MRAcquisitionType = "CG", "2D"
    made.RepetitionTime, made.EchoTime, made.FlipAngle = "3.2", "1.4", "50"
    made.EchoTrainLength, made.MagneticFieldStrength = 1, "1.5"
    made.TriggerTime = f"{phase * beat / scan.phases:.2f}"
    made.NominalInterval = round(beat)
    made.HeartRate = round(60000 / beat)
    made.CardiacNumberOfImages = scan.phases
    made.PatientPosition = "HFS"
    started = 36000 + 15 * from_base
    made.AcquisitionTime = made.ContentTime = f"{started // 3600:02}{started // 60 % 60:02}{started % 60:02}"


def _place(made: Dataset, scan: _Scan, place: int) -> None:
    """Put an image where it belongs in the patient: short-axis planes, the first at the apex (PS3.3 C.7.6.2.1.1)."""
    row = ROW / np.linalg.norm(ROW)
    column = COLUMN - row * (COLUMN @ row)
    column /= np.linalg.norm(column)
    along = (place - (scan.slices - 1) / 2) * scan.distance
    corner = MIDDLE + along * np.cross(row, column)
    corner = corner - scan.spacing * ((scan.columns - 1) / 2 * row + (scan.rows - 1) / 2 * column)
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = scan.uid("frame of reference"), ""
    made.ImagePositionPatient = [f"{value:.8f}"[:16] for value in corner]
    made.ImageOrientationPatient = [f"{value:.10f}" for value in (*row, *column)]
    made.PixelSpacing = [f"{scan.spacing:g}"] * 2
    made.SliceThickness = made.SpacingBetweenSlices = f"{scan.distance:g}"


def _store(made: FileDataset, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"s{made.SeriesNumber:03}_i{made.InstanceNumber:04}.dcm"
    made.save_as(path, enforce_file_format=True)
    return path


def _grid(headers: list[FileDataset]) -> Grid:
    (stack,) = stacks_of([describe(header) for header in headers])
    return arrange(stack, accept_per_instance_frame_of_reference=False)


def _write_masks(
    folder: Path, grid: Grid, truth: NDArray[np.uint8], headers: list[FileDataset], scan: _Scan
) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    provenance = Provenance(
        task=Task.CARDIAC,
        algorithm_name="segloop sample truth",
        algorithm_version="1",
        model_digest="none: drawn with the images",
        variant="truth",
        stack_digest=scan.uid("truth"),
        completed_at=MADE_AT,
        completeness="synthetic",
    )
    by_uid = {str(header.SOPInstanceUID): header for header in headers}
    paths = []
    for phase in range(scan.phases):
        path = folder / f"phase{phase + 1:03}.dcm"
        path.write_bytes(write_segmentation(truth[phase], grid, phase, by_uid, provenance))
        paths.append(path)
    return tuple(paths)
