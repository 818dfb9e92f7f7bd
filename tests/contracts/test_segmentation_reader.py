"""Segmentations read back: ours, altered ones, and those that dcmqi and OHIF really stored."""

import gzip
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from contracts.dicom import read_header
from contracts.errors import Refused
from contracts.segmentations import read_segmentation, write_segmentation
from contracts.stacks import describe, stacks_of
from contracts.volumes import Grid, arrange
from tests.contracts.benches import PROVENANCE, Bench, bench, random_labels

Alter = Callable[[Dataset], None]


def stored(folder: Path, one: Bench, labels: NDArray[np.uint8], alter: Alter = lambda seg: None) -> Path:
    """Write labels of the first phase, alter the object as another program might, and store it."""
    seg = dcmread(io.BytesIO(write_segmentation(labels, one.grid, 0, one.headers, PROVENANCE)))
    alter(seg)
    seg.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


def refusal(path: Path, grid: Grid, phase: int = 0) -> str:
    with pytest.raises(Refused) as caught:
        read_segmentation(path, grid, phase)
    return caught.value.code


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(3, 13), st.integers(3, 13), st.integers(0, 99), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, slices: int, rows: int, columns: int, seed: int, enhanced: bool
) -> None:
    one = bench(slices=slices, rows=rows, columns=columns, enhanced=enhanced)
    labels = random_labels((slices, rows, columns), seed)
    path = stored(tmp_path_factory.mktemp("seg"), one, labels)
    assert (read_segmentation(path, one.grid, 0) == labels).all()


def renumber(seg: Dataset) -> None:
    """Give the segments other numbers, as editors do, and list them in another order."""
    new = {1: 3, 2: 1, 3: 2}
    for segment in seg.SegmentSequence:
        segment.SegmentNumber = new[segment.SegmentNumber]
    seg.SegmentSequence = sorted(seg.SegmentSequence, key=lambda segment: int(segment.SegmentNumber))
    for frame in seg.PerFrameFunctionalGroupsSequence:
        item = frame.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = new[item.ReferencedSegmentNumber]


def forget_sources(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence


def forget_positions(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence


def turn_frames_around(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence = list(reversed(seg.PerFrameFunctionalGroupsSequence))
    frames = seg.pixel_array[::-1]
    seg.PixelData = np.packbits(frames.reshape(-1), bitorder="little").tobytes()


def retire_codes(seg: Dataset) -> None:
    """Use the SRT codes of older objects (PS3.16 Annex L maps them) for the ventricles, a synonym for the muscle."""
    for segment, code in zip(seg.SegmentSequence, ("T-32500", "128586003", "T-32600"), strict=True):
        item = segment.SegmentedPropertyTypeCodeSequence[0]
        item.CodeValue = code
        item.CodingSchemeDesignator = "SRT" if code.startswith("T") else "SCT"


def round_as_single_precision(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        item = frame.PlanePositionSequence[0]
        item.ImagePositionPatient = [float(np.float32(float(x) + 3e-6)) for x in item.ImagePositionPatient]


@pytest.mark.parametrize(
    "alter",
    [renumber, forget_sources, forget_positions, turn_frames_around, retire_codes, round_as_single_precision],
)
def test_the_habits_of_other_programs_change_nothing(tmp_path: Path, alter: Alter) -> None:
    one = bench(row_direction=(0.8, 0.6, 0.0), column_direction=(-0.36, 0.48, -0.8))
    labels = random_labels((4, 12, 10), 3)
    assert (read_segmentation(stored(tmp_path, one, labels, alter), one.grid, 0) == labels).all()


def shift(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient = [-31.5, 12.25, 9.0]


def swap_two_positions(seg: Dataset) -> None:
    first, last = seg.PerFrameFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence[-1]
    first.PlanePositionSequence, last.PlanePositionSequence = last.PlanePositionSequence, first.PlanePositionSequence


def turn(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def stretch(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.5, 1.3]


def lose_place(seg: Dataset) -> None:
    forget_sources(seg)
    forget_positions(seg)


def name_something_else(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue = "15825003"  # aorta


def name_no_segment(seg: Dataset) -> None:
    del seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence


def overlap(seg: Dataset) -> None:
    """Let the first label reach over all of its first frame."""
    frames = seg.pixel_array.copy()
    frames[0] = 1
    seg.PixelData = np.packbits(frames.reshape(-1), bitorder="little").tobytes()


def become_fractional(seg: Dataset) -> None:
    seg.SegmentationType = "FRACTIONAL"


def become_an_image(seg: Dataset) -> None:
    seg.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (shift, "other_geometry"),
        (turn, "other_geometry"),
        (stretch, "other_geometry"),
        (lose_place, "other_geometry"),
        (swap_two_positions, "positions_disagree"),
        (name_something_else, "unknown_segment"),
        (name_no_segment, "not_a_segmentation"),
        (overlap, "overlap"),
        (become_fractional, "fractional"),
        (become_an_image, "not_a_segmentation"),
    ],
)
def test_what_cannot_be_placed_or_named_for_sure_is_refused(tmp_path: Path, alter: Alter, code: str) -> None:
    one = bench()
    assert refusal(stored(tmp_path, one, random_labels((4, 12, 10), 3), alter), one.grid) == code


def test_another_phase_or_another_matrix_is_refused(tmp_path: Path) -> None:
    one = bench()
    path = stored(tmp_path, one, random_labels((4, 12, 10), 3))
    assert refusal(path, one.grid, phase=1) == "other_source"
    assert refusal(path, replace(one.grid, rows=10, columns=12)) == "other_geometry"


def test_label_maps_are_read(tmp_path: Path) -> None:
    one = bench()
    labels = random_labels((4, 12, 10), 8)
    labels[2] = 0
    ours = hd.seg.segread(stored(tmp_path, one, labels))
    for header in one.headers.values():
        header.PatientBirthDate = header.StudyDate = ""
    label_map = hd.seg.Segmentation(
        source_images=[one.headers[plane.sop_uid] for plane in one.grid.planes[0]],
        pixel_array=labels,
        segmentation_type="LABELMAP",
        segment_descriptions=[ours.get_segment_description(number) for number in (1, 2, 3)],
        series_instance_uid="2.25.1",
        series_number=1,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="another",
        manufacturer_model_name="another",
        software_versions="1",
        device_serial_number="1",
    )
    label_map.save_as(tmp_path / "map.dcm")
    assert (read_segmentation(tmp_path / "map.dcm", one.grid, 0) == labels).all()


@pytest.fixture(scope="module")
def interop(data: Callable[[str], Path]) -> Path:
    return data("interop")


@pytest.fixture(scope="module")
def cine(interop: Path) -> Grid:
    """The grid of the synthetic cine that the objects of other programs belong to."""
    headers = [read_header(path) for path in sorted((interop / "ohif/source").glob("*.dcm"))]
    (stack,) = stacks_of([describe(header) for header in headers])
    return arrange(stack, accept_per_instance_frame_of_reference=False)


def nrrd(path: Path) -> NDArray[np.uint8]:
    """Return the array [slice, row, column] of a small NRRD file of unsigned bytes."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    columns, rows, slices = map(int, fields["sizes"].split())
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    return np.frombuffer(raw, dtype=np.uint8).reshape(slices, rows, columns)


@pytest.mark.parametrize("name", ["seg_dcmqi.dcm", "seg_dcmqi_labelmap.dcm"])
def test_objects_of_dcmqi_hold_what_dcmqi_was_given(interop: Path, cine: Grid, name: str) -> None:
    labels = read_segmentation(interop / "dcmqi" / name, cine, 0)
    truth = nrrd(interop / "dcmqi/edit.nrrd")
    assert np.bincount(labels.reshape(-1), minlength=4)[1:].tolist() == [3643, 4517, 2983]
    assert cine.positions[0] == (-60, -90, 70)  # "space origin" of that file, whose slices ascend as the grid's do
    assert (labels == truth).all()


def test_the_object_that_ohif_was_given_holds_the_truth(interop: Path, cine: Grid) -> None:
    labels = read_segmentation(interop / "ohif/seg_original.dcm", cine, 0)
    truth = np.load(interop / "ohif/truth.npz")["original"]
    first = dcmread(interop / "ohif/source/im01.dcm", stop_before_pixels=True).SOPInstanceUID
    assert (labels == (truth if cine.planes[0][0].sop_uid == first else truth[::-1])).all()


def test_objects_whose_codes_say_nothing_are_refused_rather_than_guessed(interop: Path, cine: Grid) -> None:
    """OHIF codes every segment as tissue: which is which stands in its number and its free text only."""
    assert refusal(interop / "ohif/seg_painted_new_series.dcm", cine) == "unknown_segment"
    assert refusal(interop / "ohif/seg_painted_labelmap_rle.dcm", cine) == "unknown_segment"
    assert refusal(interop / "ohif/seg_painted_wrong_positions.dcm", cine) in {"positions_disagree", "other_geometry"}
