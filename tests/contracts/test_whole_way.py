"""From files to segmentations, prostate and skin: every pixel of a mask stands where the image shows what it marks.

The network is a threshold, so what must be marked is known to the pixel.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from scipy.spatial import KDTree

from contracts.describe import describe
from contracts.dicom import read_header
from contracts.model_contract import ModelContract, draft_contract
from contracts.prepare import largest_component, prepare_for
from contracts.segment import segment
from contracts.segmentations import PICTURE_COORDINATES, PIXELS_AS_UNIT, read_segmentation, write_segmentation
from contracts.stacks import stacks_of
from contracts.tasks import Task
from contracts.volumes import Grid, arrange, load
from tests.builders import PROSTATE, Exam, axis_aligned, set_pixels, write
from tests.contracts.benches import PROVENANCE
from tests.patient_space import (
    Change,
    asked,
    mirrored_columns,
    mirrored_rows,
    planes_of,
    rotated,
    stored_anew,
    window,
)
from tests.photographs import CLASSES, DarkSpots, photograph, skin, spot

FINE = {Task.SKIN: 256, Task.PROSTATE: 512}
"""Cells of the stand-in networks: more than pixels, so that every pixel is seen."""


def contract_of(task: Task) -> ModelContract:
    """The contract of a fine stand-in."""
    return draft_contract(task, prepare_for(task, input_side=FINE[task], output_side=FINE[task]))


@dataclass(frozen=True)
class Answered:
    """What a stack was answered with: its grid, the headers of its sources, the labels, a file for each phase."""

    grid: Grid
    headers: Mapping[str, Dataset]
    labels: NDArray[np.uint8]
    files: Sequence[bytes]


def answer(images: Sequence[FileDataset], task: Task, folder: Path) -> Answered:
    """Go the whole way with files that form one stack."""
    for old in folder.iterdir():
        old.unlink()
    paths = write(images, folder)
    (stack,) = stacks_of([describe(read_header(path)) for path in paths.values()])
    grid = arrange(stack, accept_per_instance_frame_of_reference=False)
    run = DarkSpots(FINE[task]) if task is Task.SKIN else bright
    labels = segment(load(grid, paths.__getitem__), contract_of(task), run, pixel_mm=grid.pixel_mm).labels
    headers = {uid: read_header(path) for uid, path in paths.items()}
    provenance = replace(PROVENANCE, task=task)
    files = [write_segmentation(labels[phase], grid, phase, headers, provenance) for phase in range(grid.phases)]
    return Answered(grid, headers, labels, files)


def bright(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A network that calls bright cells prostate."""
    return (batch[:, 0] > 0.5).astype(np.uint8)


def largest(where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece of a mask [row, column]."""
    return largest_component(where[None])[0][0]


def shown(file: bytes) -> NDArray[np.bool_]:
    """The only frame of a SEG, as its pixels lie in the file: [row, column]."""
    (frame,) = dcmread(io.BytesIO(file)).pixel_array.reshape(
        -1, *hd.seg.segread(io.BytesIO(file)).pixel_array.shape[-2:]
    )
    return np.asarray(frame, dtype=bool)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(8, 90),
    columns=st.integers(8, 90),
    seed=st.integers(0, 999),
    kind=st.sampled_from(sorted(CLASSES)),
)
def test_a_lesion_of_a_photograph_of_any_size_is_marked_to_the_pixel(
    tmp_path: Path, rows: int, columns: int, seed: int, kind: str
) -> None:
    """Odd sizes, flat and tall pictures, lesions of any form that touch any border."""
    drawn = np.random.default_rng(seed).random((rows, columns)) < 0.4
    drawn[rows // 3 : rows // 3 + 3, columns // 2 : columns // 2 + 4] = True
    made = answer([photograph(skin(drawn), kind)], Task.SKIN, tmp_path)
    truth = largest(drawn)
    assert np.array_equal(shown(made.files[0]), truth)
    path = tmp_path / "seg"
    path.write_bytes(made.files[0])
    assert np.array_equal(read_segmentation(path, made.grid, 0, Task.SKIN)[0] == 1, truth)
    seg = hd.seg.segread(io.BytesIO(made.files[0]))
    (uid,) = made.headers
    found = (
        seg.get_pixels_by_source_frame(uid, [1], combine_segments=True)
        if "NumberOfFrames" in made.headers[uid]
        else seg.get_pixels_by_source_instance([uid], combine_segments=True)
    )
    assert np.array_equal(found[0] == 1, truth)


def test_frames_of_one_photograph_have_segmentations_of_their_own(tmp_path: Path) -> None:
    spots = [spot(31, 47, centre=(0.3 + 0.1 * step, 0.6 - 0.1 * step)) for step in range(3)]
    made = answer([photograph(np.stack([skin(one) for one in spots]), "frames")], Task.SKIN, tmp_path)
    for number, (file, truth) in enumerate(zip(made.files, spots, strict=True)):
        assert np.array_equal(shown(file), largest(truth))
        seg = dcmread(io.BytesIO(file))
        (source,) = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
        assert (source.ReferencedFrameNumber, seg.InstanceNumber) == (number + 1, number + 1)
        assert seg.ContentDescription.startswith(f"Frame {number + 1} of 3")
        found = hd.seg.segread(io.BytesIO(file)).get_pixels_by_source_frame(
            source.ReferencedSOPInstanceUID, [number + 1], combine_segments=True
        )
        assert np.array_equal(found[0] == 1, largest(truth))


@pytest.mark.parametrize("kind", ["dermoscopic", "photographic", "capture"])
@pytest.mark.parametrize("spacing", [None, (0.021, 0.034)])
def test_the_result_says_what_of_its_geometry_is_made_up(
    tmp_path: Path, kind: str, spacing: tuple[float, float] | None
) -> None:
    stated = {"PixelSpacing": list(spacing)} if spacing else {}
    made = answer([photograph(skin(spot(30, 40)), kind, **stated)], Task.SKIN, tmp_path)
    seg = dcmread(io.BytesIO(made.files[0]))
    ((uid, header),) = made.headers.items()
    assert PICTURE_COORDINATES in seg.ImageComments
    assert (PIXELS_AS_UNIT in seg.ImageComments) is (spacing is None)
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing] == list(spacing or (1, 1))
    assert "SpacingBetweenSlices" not in shared.PixelMeasuresSequence[0]
    assert "FrameOfReferenceUID" not in header
    assert seg.FrameOfReferenceUID == made.grid.frame_of_reference_uid
    (source,) = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (header.SOPClassUID, uid)
    assert source.SpatialLocationsPreserved == "YES"
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        assert seg[keyword].value == header[keyword].value
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"


def test_a_photograph_that_was_compressed_with_losses_says_so_in_its_result(tmp_path: Path) -> None:
    made = photograph(skin(spot(30, 40)), LossyImageCompressionRatio="9.5", LossyImageCompressionMethod="ISO_10918_1")
    made.LossyImageCompression = "01"
    seg = dcmread(io.BytesIO(answer([made], Task.SKIN, tmp_path).files[0]))
    assert (seg.LossyImageCompression, seg.LossyImageCompressionRatio) == ("01", 9.5)


def gland(slices: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return where a gland [slice, row, column] is: off the middle, another form in each slice, no mirror image."""
    made = np.zeros((slices, rows, columns), dtype=bool)
    for index in range(2, slices - 2):
        made[index] = spot(rows, columns, (0.45, 0.55), 0.06 + 0.06 * np.sin(np.pi * index / slices))
    return made


def pelvis(rows: int, columns: int, **options: object) -> tuple[list[FileDataset], NDArray[np.bool_]]:
    """T2 images with a bright gland of these pixels on a gradient, in order of their slices."""
    images = Exam().prostate(slices=12, **options)  # type: ignore[arg-type]
    truth = gland(12, rows, columns)
    for image, where in zip(images, truth, strict=True):
        set_pixels(image, np.where(where, 900, np.add.outer(np.arange(rows), np.arange(columns))).astype(np.uint16))
        image.PixelSpacing = [0.7, 0.7]
    return images, truth


@pytest.mark.parametrize(("rows", "columns"), [(201, 233), (240, 190)])
@pytest.mark.parametrize("descending", [False, True])
def test_a_prostate_is_marked_to_the_voxel(tmp_path: Path, rows: int, columns: int, descending: bool) -> None:
    images, truth = pelvis(rows, columns)
    made = answer(images[::-1] if descending else images, Task.PROSTATE, tmp_path)
    assert np.array_equal(made.labels[0] == 1, truth)
    seg = dcmread(io.BytesIO(made.files[0]))
    assert np.array_equal(asked(seg, planes_of(made.grid), Task.PROSTATE) == 1, truth)
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Prostate"


STORED = {
    "turned by 90": rotated(1),
    "turned by 180": rotated(2),
    "turned by 270": rotated(3),
    "columns mirrored": mirrored_columns,
    "rows mirrored": mirrored_rows,
    "in a wider picture": window(-7, -7, 216, 248),
    "another size": window(3, 6, 195, 221),
}


@pytest.mark.parametrize("name", STORED)
def test_a_prostate_stored_another_way_is_marked_at_the_same_place_of_the_patient(tmp_path: Path, name: str) -> None:
    images, truth = pelvis(201, 233)
    plain = answer(images, Task.PROSTATE, tmp_path)
    changed = answer([turned(image, STORED[name]) for image in images], Task.PROSTATE, tmp_path)
    assert np.array_equal(
        asked(dcmread(io.BytesIO(changed.files[0])), planes_of(plain.grid), Task.PROSTATE) == 1, truth
    )


def turned(image: FileDataset, change: Change) -> FileDataset:
    """The same image stored another way."""
    stored_anew(image, change)
    return image


@pytest.mark.parametrize("orientation", [PROSTATE, *list(axis_aligned())[::5]])
def test_a_prostate_in_any_plane_is_marked_where_its_pixels_lie(tmp_path: Path, orientation: object) -> None:
    images, truth = pelvis(101, 133, orientation=orientation)
    made = answer(images, Task.PROSTATE, tmp_path)
    volume = hd.seg.segread(io.BytesIO(made.files[0])).get_volume(combine_segments=True)
    found = volume.map_indices_to_reference(np.argwhere(volume.array))
    step = np.cross(made.grid.orientation[:3], made.grid.orientation[3:]) * 3.0
    slice_, row, column = truth.nonzero()
    across, down = np.array(made.grid.orientation[:3]), np.array(made.grid.orientation[3:])
    start = np.array([float(value) for value in images[0].ImagePositionPatient])
    expected = start + np.outer(slice_, step) + 0.7 * (np.outer(row, down) + np.outer(column, across))
    offsets, partners = KDTree(expected).query(found)
    assert offsets.max() < 0.01
    assert len(set(partners.tolist())) == len(found) == len(expected)
