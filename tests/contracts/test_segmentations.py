"""Laws of written segmentations: the right place, the right references, the same bytes."""

import hashlib
import io
import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from contracts.errors import Broken
from contracts.segmentations import Provenance, result_uids, write_segmentation
from contracts.tasks import LABELS, Task
from tests.contracts.benches import PROVENANCE, Bench, Vector, bench, random_labels

ROOT = Path(__file__).resolve().parents[2]

AXES = [tuple(sign * part for part in axis) for axis in np.eye(3).tolist() for sign in (1, -1)]
AXIS_ALIGNED = [(row, column) for row, column in itertools.product(AXES, AXES) if np.dot(row, column) == 0]

OBLIQUE = [
    ((0.8, 0.6, 0.0), (-0.36, 0.48, -0.8)),
    ((0.6, -0.48, 0.64), (0.0, 0.8, 0.6)),
    (tuple(np.array([1, 2, 2]) / 3), tuple(np.array([2, 1, -2]) / 3)),
    (tuple(np.array([-2, 3, 6]) / 7), tuple(np.array([6, -2, 3]) / 7)),
]


def written(one: Bench, labels: NDArray[np.uint8], phase: int = 0, provenance: Provenance = PROVENANCE) -> Dataset:
    """Write labels of one phase and read the file back with plain pydicom."""
    return dcmread(io.BytesIO(write_segmentation(labels, one.grid, phase, one.headers, provenance)))


def backwards(one: Bench) -> Bench:
    """Return the same planes with the slices in the other order."""
    planes = tuple(tuple(reversed(phase)) for phase in one.grid.planes)
    return replace(one, grid=replace(one.grid, planes=planes, positions=one.grid.positions[::-1]))


def marked(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return labels with one voxel of each label a slice, at places that no flip or transposition maps to others."""
    labels = np.zeros(shape, dtype=np.uint8)
    for index in range(shape[0]):
        labels[index, 1, 2 + index] = 1
        labels[index, 7 - index, 3] = 2
        labels[index, 10, 8 - index] = 3
    return labels


Placed = set[tuple[int, float, float, float]]


def expected(
    labels: NDArray[np.uint8], row: Vector, column: Vector, start: Vector, step: NDArray[np.float64]
) -> Placed:
    """Return (label, x, y, z) of each labelled voxel: PS3.3 equation C.7.6.2.1-1 with the bench's own spacing."""
    places: Placed = set()
    for index, down, along in zip(*labels.nonzero(), strict=True):
        point = np.array(start) + index * step + 1.5 * down * np.array(column) + 1.25 * along * np.array(row)
        places.add((int(labels[index, down, along]), *np.round(point + 0.0, 3).tolist()))
    return places


def by_pydicom(seg: Dataset) -> Placed:
    """Return the same from the positions and orientations that stand in a file."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array([float(x) for x in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
    between_rows, between_columns = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    places: Placed = set()
    for frame, shown in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        label = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        corner = np.array([float(x) for x in frame.PlanePositionSequence[0].ImagePositionPatient])
        for down, along in zip(*shown.nonzero(), strict=True):
            point = corner + down * between_rows * cosines[3:] + along * between_columns * cosines[:3]
            places.add((label, *np.round(point + 0.0, 3).tolist()))
    return places


def by_highdicom(payload: bytes) -> Placed:
    """Return the same from highdicom's volume of the file."""
    volume = hd.seg.segread(io.BytesIO(payload)).get_volume(combine_segments=True)
    where = np.argwhere(volume.array)
    points = volume.map_indices_to_reference(where)
    return {
        (int(volume.array[tuple(index)]), *np.round(point + 0.0, 3).tolist())
        for index, point in zip(where, points, strict=True)
    }


@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize(("row", "column"), AXIS_ALIGNED + OBLIQUE)
def test_every_voxel_stands_where_it_was_marked(row: Vector, column: Vector, ascending: bool) -> None:
    one = bench(row_direction=row, column_direction=column)
    labels = marked((4, 12, 10))
    step = 8.0 * np.cross(row, column)
    start = np.array((-31.5, 12.25, 7.0))
    if not ascending:
        one, start, step = backwards(one), start + 3 * step, -step
    places = expected(labels, row, column, tuple(start), step)
    assert len(places) == 12
    payload = write_segmentation(labels, one.grid, 0, one.headers, PROVENANCE)
    assert by_pydicom(dcmread(io.BytesIO(payload))) == places
    assert by_highdicom(payload) == places


def test_there_are_24_axis_aligned_planes() -> None:
    assert len(AXIS_ALIGNED) == 24


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(3, 21), st.integers(3, 21), st.integers(0, 99))
def test_any_size_comes_back_by_source_image(slices: int, rows: int, columns: int, seed: int) -> None:
    one = bench(slices=slices, rows=rows, columns=columns)
    labels = random_labels((slices, rows, columns), seed)
    payload = write_segmentation(labels, one.grid, 1, one.headers, PROVENANCE)
    read = hd.seg.segread(io.BytesIO(payload)).get_pixels_by_source_instance(
        source_sop_instance_uids=[plane.sop_uid for plane in one.grid.planes[1]],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert (read == labels).all()


def sources(seg: Dataset) -> Iterator[tuple[int, Dataset]]:
    """Give for each frame of a file its segment and the one source that it names."""
    for frame in seg.PerFrameFunctionalGroupsSequence:
        (item,) = frame.DerivationImageSequence[0].SourceImageSequence
        yield int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber), item


def test_frames_name_the_very_frame_of_an_enhanced_source() -> None:
    one = bench(enhanced=True)
    labels = marked((4, 12, 10))
    seg = written(one, labels, phase=1)
    named = [(item.ReferencedSOPInstanceUID, item.ReferencedFrameNumber) for _, item in sources(seg)]
    assert sorted(set(named)) == sorted((plane.sop_uid, plane.frame) for plane in one.grid.planes[1])
    assert {item.ReferencedSOPClassUID for _, item in sources(seg)} == {"1.2.840.10008.5.1.4.1.1.4.1"}
    at = {plane.frame: plane.position for plane in one.grid.planes[1]}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert np.allclose(frame.PlanePositionSequence[0].ImagePositionPatient, at[source.ReferencedFrameNumber])
    (series,) = seg.ReferencedSeriesSequence
    assert [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence] == ["1.2.826.0.1.77"]
    assert len(seg.SourceImageSequence) == 1


def test_all_source_series_are_referenced_each_with_its_own_images() -> None:
    one = bench(series_of=lambda phase, index: f"1.2.826.0.1.5.0{index // 2}")
    seg = written(one, marked((4, 12, 10)))
    grouped = {
        str(series.SeriesInstanceUID): {
            str(item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence
        }
        for series in seg.ReferencedSeriesSequence
    }
    truth: dict[str, set[str]] = {}
    for plane in one.grid.planes[0]:
        truth.setdefault(plane.series_uid, set()).add(plane.sop_uid)
    assert grouped == truth
    assert len(truth) == 2
    assert {str(item.ReferencedSOPInstanceUID) for _, item in sources(seg)} == set().union(*truth.values())


def test_slices_without_a_label_have_no_frame_and_absent_labels_are_still_described() -> None:
    labels = np.zeros((4, 12, 10), dtype=np.uint8)
    labels[2, 3, 3] = 3
    seg = written(bench(), labels)
    assert seg.NumberOfFrames == 1
    assert [segment.SegmentNumber for segment in seg.SegmentSequence] == [1, 2, 3]


def test_patient_and_study_are_copied_as_they_are() -> None:
    one = bench()
    header = one.headers[one.grid.planes[0][0].sop_uid]
    before = header.to_json()
    seg = written(one, marked((4, 12, 10)))
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientSize",
                    "StudyDate", "StudyTime", "StudyInstanceUID", "AccessionNumber", "StudyID",
                    "ReferringPhysicianName", "SpecificCharacterSet"):  # fmt: skip
        assert seg[keyword].value == header[keyword].value, keyword
    assert header.to_json() == before


def test_the_object_says_what_made_it_and_that_it_is_for_research() -> None:
    seg = written(bench(), marked((4, 12, 10)), phase=1)
    assert (seg.Manufacturer, seg.SegmentationType, seg.InstanceNumber) == ("segloop", "BINARY", 2)
    assert "research use only" in seg.SeriesDescription
    assert "research use only" in seg.ContentDescription
    assert "Phase 2 of 2" in seg.ContentDescription
    assert (seg.ContentQualification, seg.ContentLabel) == ("RESEARCH", "SEGLOOP_RESEARCH")
    assert seg.DeviceUID
    assert seg.DeviceSerialNumber
    assert "ImageComments" not in seg
    for segment, label in zip(seg.SegmentSequence, LABELS[Task.CARDIAC], strict=True):
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("segloop cardiac", "3")
        assert PROVENANCE.model_digest in algorithm.AlgorithmParameters
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == label.type.value
        colour = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb(clip=True)
        assert np.abs(np.subtract(colour, label.rgb)).max() <= 2


def test_what_was_invented_or_derived_is_said() -> None:
    one = bench(frame_of_reference_derived=True, spacing_invented=True)
    comments = written(one, marked((4, 12, 10))).ImageComments
    assert "frame of reference" in comments
    assert "derived" in comments
    assert "spacing" in comments
    assert "invented" in comments


def test_irregular_slices_keep_their_places() -> None:
    one = bench(slices=3, slice_distance=None)
    far = replace(one.grid.planes[0][2], position=(-31.5, 12.25, 40.0), thickness=None)
    planes = ((*one.grid.planes[0][:2], far),)
    seg = written(replace(one, grid=replace(one.grid, planes=planes)), marked((3, 12, 10)))
    heights = {
        float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in seg.PerFrameFunctionalGroupsSequence
    }
    assert heights == {7.0, 15.0, 40.0}
    assert "SpacingBetweenSlices" not in seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


def test_superseded_results_are_referenced() -> None:
    provenance = replace(PROVENANCE, predecessors=("2.25.11", "2.25.12"), predecessor_series="2.25.13")
    seg = written(bench(), marked((4, 12, 10)), provenance=provenance)
    assert [item.ReferencedSOPInstanceUID for item in seg.ReferencedImageSequence] == ["2.25.11", "2.25.12"]
    assert seg.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeMeaning == "Replaced report"
    assert seg.ReferencedSeriesSequence[-1].SeriesInstanceUID == "2.25.13"
    assert "ReferencedImageSequence" not in written(bench(), marked((4, 12, 10)))


@pytest.mark.parametrize(
    ("stated", "clock"), [(None, "221320.250000"), ("+0130", "234320.250000"), ("junk", "221320.250000")]
)
def test_all_times_are_that_of_completeness_in_the_zone_of_the_source(stated: str | None, clock: str) -> None:
    one = bench()
    for header in one.headers.values():
        if stated:
            header.TimezoneOffsetFromUTC = stated
    seg = written(one, marked((4, 12, 10)))
    assert (seg.ContentDate, seg.ContentTime) == ("20231114", clock)
    assert (seg.SeriesDate, seg.SeriesTime) == ("20231114", clock)
    assert (seg.InstanceCreationDate, seg.InstanceCreationTime) == ("20231114", clock)
    assert seg.get("TimezoneOffsetFromUTC") == stated
    assert seg.ContributingEquipmentSequence[0].ContributionDateTime == "20231114221320.250000+0000"


@pytest.mark.parametrize(
    "change",
    [
        {"stack_digest": "ef"},
        {"completeness": "{}"},
        {"model_digest": "sha256:0"},
        {"variant": "int8"},
        {"revision": 2},
    ],
)
def test_uids_change_with_the_work(change: dict[str, object]) -> None:
    one, other = result_uids(PROVENANCE, 0), result_uids(replace(PROVENANCE, **change), 0)  # type: ignore[arg-type]
    assert one.sop_uid != other.sop_uid
    assert one.series_uid != other.series_uid
    assert one.dimension_organization_uid != other.dimension_organization_uid
    assert not set(one.tracking_uids.values()) & set(other.tracking_uids.values())


def test_phases_of_one_result_share_all_but_their_own_uid() -> None:
    one, other = result_uids(PROVENANCE, 0), result_uids(PROVENANCE, 1)
    assert one.sop_uid != other.sop_uid
    assert replace(one, sop_uid="") == replace(other, sop_uid="")


def test_the_file_carries_the_promised_uids() -> None:
    seg, uids = written(bench(), marked((4, 12, 10))), result_uids(PROVENANCE, 0)
    assert (seg.SOPInstanceUID, seg.SeriesInstanceUID) == (uids.sop_uid, uids.series_uid)
    assert seg.file_meta.MediaStorageSOPInstanceUID == uids.sop_uid
    assert seg.DimensionOrganizationSequence[0].DimensionOrganizationUID == uids.dimension_organization_uid
    assert [segment.TrackingUID for segment in seg.SegmentSequence] == list(uids.tracking_uids.values())


def test_two_processes_one_after_the_other_write_the_same_bytes() -> None:
    code = (
        "import sys; from tests.contracts.benches import *; from contracts.segmentations import write_segmentation;"
        "one = bench(); labels = random_labels((4, 12, 10), 5);"
        "sys.stdout.buffer.write(write_segmentation(labels, one.grid, 1, one.headers, PROVENANCE))"
    )
    files = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)
    ]
    one = bench()
    here = write_segmentation(random_labels((4, 12, 10), 5), one.grid, 1, one.headers, PROVENANCE)
    assert len({hashlib.sha256(payload).hexdigest() for payload in [*files, here]}) == 1


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (np.zeros((4, 12, 10), dtype=np.uint8), "empty_mask"),
        (np.ones((4, 12, 11), dtype=np.uint8), "bad_mask"),
        (np.ones((4, 12, 10), dtype=np.int16), "bad_mask"),
        (np.full((4, 12, 10), 4, dtype=np.uint8), "bad_mask"),
    ],
)
def test_masks_that_make_no_result_are_refused(labels: NDArray[np.uint8], code: str) -> None:
    one = bench()
    with pytest.raises(Broken) as caught:
        write_segmentation(labels, one.grid, 0, one.headers, PROVENANCE)
    assert caught.value.code == code


def test_images_too_small_for_the_packing_are_refused() -> None:
    one = bench(rows=2, columns=3)
    with pytest.raises(Broken, match="fewer than 8"):
        write_segmentation(np.ones((4, 2, 3), dtype=np.uint8), one.grid, 0, one.headers, PROVENANCE)
