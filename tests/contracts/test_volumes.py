"""From a stack to volumes: order, phases, distances and the frame of reference; and that no plane changes its place."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from contracts.dicom import quiet
from contracts.errors import Refused
from contracts.stacks import Instance, describe, stacks_of
from contracts.volumes import Grid, arrange, load
from tests.builders import AXIAL, SHORT_AXIS, Exam, axis_aligned, heart, set_pixels, unit_cosines, write

SLICES, PHASES = 4, 3


def grid_of(images: Sequence[FileDataset | Instance], accept: bool = False) -> Grid:
    """The grid of images that form one stack."""
    (stack,) = stacks_of([image if isinstance(image, Instance) else describe(image) for image in images])
    return arrange(stack, accept_per_instance_frame_of_reference=accept)


def refusal(images: Sequence[FileDataset | Instance], accept: bool = False) -> Refused:
    """Why images are refused."""
    with pytest.raises(Refused) as caught:
        grid_of(images, accept)
    return caught.value


def cine(**options: Any) -> list[FileDataset]:
    """A small short-axis cine."""
    return Exam().short_axis(SLICES, PHASES, **options)


def expected(rows: int = 20, columns: int = 24) -> np.ndarray[Any, Any]:
    """Pixels of that cine, [phase, slice, row, column]."""
    return np.stack(
        [[heart(rows, columns, place, phase, PHASES) for place in range(SLICES)] for phase in range(PHASES)]
    ).astype(np.float32)


@pytest.mark.parametrize("split", [False, True])
def test_a_shuffled_cine_comes_out_in_order(tmp_path: Path, split: bool) -> None:
    images = cine(series_per_position=split)
    files = write(images, tmp_path)
    random.Random(4).shuffle(images)
    grid = grid_of(images)
    assert (grid.phases, grid.slices, grid.rows, grid.columns) == (PHASES, SLICES, 20, 24)
    assert grid.slice_distance == pytest.approx(8, abs=1e-3)
    assert grid.voxel_mm3 == pytest.approx(1.5 * 1.5 * 8, rel=1e-3)
    assert (grid.warnings, grid.frame_of_reference_derived) == ((), False)
    assert grid.frame_of_reference_uid == Exam().frame_of_reference_uid
    volume = load(grid, files.__getitem__)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume, expected())


def test_frames_of_an_enhanced_instance_come_out_in_order(tmp_path: Path) -> None:
    made = Exam().enhanced(SLICES, PHASES, slope=2.0, intercept=-10.0)
    files = write([made], tmp_path)
    grid = grid_of([made])
    assert [plane.frame for plane in grid.planes[0]] == [4, 3, 2, 1]
    np.testing.assert_array_equal(load(grid, files.__getitem__), expected() * 2 - 10)


@pytest.mark.parametrize("orientation", [*axis_aligned(), SHORT_AXIS, unit_cosines((1, 0.2, -0.1), (0.1, 1, 0.4))])
@pytest.mark.parametrize("descending", [False, True])
def test_slices_ascend_along_the_normal_in_every_orientation(orientation: tuple[float, ...], descending: bool) -> None:
    """Whatever the scanner's order, each plane keeps its own position and the next one lies along the normal."""
    images = cine(orientation=orientation, distance=-8.0 if descending else 8.0)
    grid = grid_of(images)
    normal = np.cross(grid.orientation[:3], grid.orientation[3:])
    steps = np.diff(np.array(grid.positions), axis=0)
    np.testing.assert_allclose(steps, np.tile(8 * normal, (SLICES - 1, 1)), atol=1e-3)
    own = {image.SOPInstanceUID: tuple(float(v) for v in image.ImagePositionPatient) for image in images}
    for row in grid.planes:
        for plane, position in zip(row, grid.positions, strict=True):
            assert plane.position == own[plane.sop_uid] == position


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(5, 30),
    columns=st.integers(5, 30),
    slices=st.integers(1, 6),
    phases=st.integers(1, 5),
    row=st.tuples(*[st.integers(-9, 9)] * 3).filter(any),
    column=st.tuples(*[st.integers(-9, 9)] * 3).filter(any),
)
def test_any_proper_grid_is_found_again(
    seed: int, rows: int, columns: int, slices: int, phases: int, row: Sequence[int], column: Sequence[int]
) -> None:
    """For oblique planes and sizes that are no multiples of anything, in any order."""
    if not np.any(np.cross(row, column)):
        return
    images = Exam().stack(slices, phases, rows=rows, columns=columns, orientation=unit_cosines(row, column))
    uids = [image.SOPInstanceUID for image in images]
    random.Random(seed).shuffle(images)
    grid = grid_of(images)
    got = [grid.planes[phase][place].sop_uid for place in range(slices) for phase in range(phases)]
    assert got == uids


def test_phases_are_ranks_since_the_heart_rate_changes_between_slices() -> None:
    images = cine()
    for index, image in enumerate(images):
        image.TriggerTime = round(float(image.TriggerTime) * (1 + 0.1 * (index // PHASES)), 2)
    assert [[p.instance_number for p in row] for row in grid_of(images).planes] == [
        [1 + phase + PHASES * place for place in range(SLICES)] for phase in range(PHASES)
    ]


@pytest.mark.parametrize("tell", ["TemporalPositionIdentifier", "CardiacNumberOfImages", "NumberOfTemporalPositions"])
def test_without_trigger_times_other_attributes_tell_phases(tell: str) -> None:
    images = cine(TriggerTime=None, CardiacNumberOfImages=None)
    for index, image in enumerate(images):
        setattr(image, tell, PHASES - index % PHASES if tell == "TemporalPositionIdentifier" else PHASES)
    order = [p.instance_number for p in (row[0] for row in grid_of(images).planes)]
    assert order == ([3, 2, 1] if tell == "TemporalPositionIdentifier" else [1, 2, 3])


def test_slices_whose_headers_announce_different_numbers_of_phases_are_still_told_apart() -> None:
    images = cine(TriggerTime=None, series_per_position=True)
    for number, image in enumerate(images):
        image.CardiacNumberOfImages = 3 + number % 2
    instances = [describe(image) for image in images]
    (stack,) = stacks_of(instances)
    assert stack.features["CardiacNumberOfImages"] == [3, 4]
    numbers = np.array([[plane.instance_number for plane in row] for row in grid_of(instances).planes])
    assert (np.diff(numbers, axis=0) > 0).all()


def test_images_of_one_position_with_equal_times_are_refused() -> None:
    refused = refusal(cine(TriggerTime=100.0, CardiacNumberOfImages=None))
    assert refused.code == "duplicate_positions"
    assert "TriggerTime" in refused.sentence


def test_images_without_times_and_with_one_number_a_position_are_refused() -> None:
    images = cine(TriggerTime=None, CardiacNumberOfImages=None)
    for index, image in enumerate(images):
        image.InstanceNumber = index // PHASES
    assert refusal(images).code == "duplicate_positions"


def test_images_without_any_times_are_ordered_by_their_numbers_and_the_grid_says_so() -> None:
    grid = grid_of(cine(TriggerTime=None, CardiacNumberOfImages=None))
    numbers = np.array([[plane.instance_number for plane in row] for row in grid.planes])
    assert (np.diff(numbers, axis=0) > 0).all()
    assert any("no times" in warning for warning in grid.warnings)


def test_one_series_that_holds_each_image_twice_is_refused() -> None:
    images = cine()
    twice = [replace(i, sop_uid=f"{i.sop_uid}.1") for i in map(describe, images)]
    assert refusal([*images, *twice]).code == "duplicate_positions"


@pytest.mark.parametrize("gone", [0, 4, 11])
def test_a_missing_phase_is_refused_with_its_slice(gone: int) -> None:
    images = cine()
    del images[gone]
    refused = refusal(images)
    assert refused.code == "unequal_phases"
    assert f"slice {gone // PHASES + 1} has 2" in refused.sentence


@pytest.mark.parametrize("place", [1, 2])
def test_with_a_missing_slice_each_plane_is_kept_but_no_volume_reported(place: int) -> None:
    images = [image for index, image in enumerate(cine()) if index // PHASES != place]
    grid = grid_of(images)
    assert (grid.slices, grid.slice_distance, grid.voxel_mm3) == (SLICES - 1, None, None)
    assert "missing" in grid.warnings[0] or "differ" in grid.warnings[0]


@settings(max_examples=30, deadline=None)
@given(shift=st.floats(-6, 6))
def test_volumes_are_reported_only_within_the_tolerance_of_gaps(shift: float) -> None:
    images = cine()
    normal = np.cross(SHORT_AXIS[:3], SHORT_AXIS[3:])
    for image in images[2 * PHASES : 3 * PHASES]:
        image.ImagePositionPatient = [float(v) for v in np.array(image.ImagePositionPatient) + shift * normal]
    grid = grid_of(images)
    if abs(shift) < 0.15:
        assert grid.slice_distance == pytest.approx(8, abs=0.06)
    if abs(shift) > 0.17:
        assert grid.slice_distance is None
        assert grid.warnings
    assert np.all(np.diff(np.array(grid.positions) @ normal) > 0)


@pytest.mark.parametrize("place", range(SLICES))
def test_a_displaced_slice_is_refused_by_its_number(place: int) -> None:
    images = cine()
    for image in images[place * PHASES : (place + 1) * PHASES]:
        beside = np.array(image.ImagePositionPatient) + 3 * np.array(SHORT_AXIS[:3])
        image.ImagePositionPatient = [float(v) for v in beside]
    refused = refusal(images)
    assert refused.code == "displaced_slice"
    assert f"Slice {place + 1} of {SLICES}" in refused.sentence


def test_a_slice_less_than_a_millimetre_beside_is_kept() -> None:
    images = cine()
    for image in images[:PHASES]:
        image.ImagePositionPatient = [
            float(v) + 0.5 * c for v, c in zip(image.ImagePositionPatient, SHORT_AXIS, strict=False)
        ]
    assert grid_of(images).slices == SLICES


@pytest.mark.parametrize("split", [False, True])
def test_a_frame_of_reference_for_each_instance_needs_the_rule_that_accepts_it(split: bool) -> None:
    images = cine(frame_of_reference_per_instance=True, series_per_position=split)
    refused = refusal(images)
    assert refused.code == "frame_of_reference_per_instance"
    assert "accept_per_instance_frame_of_reference" in refused.sentence
    grid = grid_of(images, accept=True)
    assert grid.frame_of_reference_derived
    assert grid.frame_of_reference_uid.startswith("2.25.")
    assert grid_of(images[::-1], accept=True).frame_of_reference_uid == grid.frame_of_reference_uid
    assert grid.frame_of_reference_uid not in {image.FrameOfReferenceUID for image in images}


def test_a_derived_frame_of_reference_follows_study_orientation_and_matrix() -> None:
    def derived(exam: str, **options: Any) -> str:
        images = Exam(exam).short_axis(SLICES, PHASES, frame_of_reference_per_instance=True, **options)
        return grid_of(images, accept=True).frame_of_reference_uid

    uids = {derived("a"), derived("b"), derived("a", rows=22), derived("a", orientation=AXIAL)}
    assert len(uids) == 4
    assert derived("a") in uids


def test_without_a_regular_grid_single_frames_of_reference_stay_refused() -> None:
    images = cine(frame_of_reference_per_instance=True)
    refused = refusal(images[: 2 * PHASES] + images[3 * PHASES :], accept=True)
    assert refused.code == "frame_of_reference_per_instance"
    assert "no regular grid" in refused.sentence


@pytest.mark.parametrize("accept", [False, True])
def test_two_or_no_frames_of_reference_are_always_refused(accept: bool) -> None:
    images = [describe(image) for image in cine()]
    two = [replace(image, frame_of_reference_uid="2.25.9") for image in images[:6]] + images[6:]
    none = [replace(image, frame_of_reference_uid="") for image in images]
    assert refusal(two, accept).code == "frame_of_reference_split"
    assert refusal(none, accept).code == "frame_of_reference_missing"


def test_one_orientation_stands_for_all_and_positions_stay_as_sent() -> None:
    images = cine()
    for image in images[::2]:
        image.ImageOrientationPatient = [v + 1e-6 for v in image.ImageOrientationPatient]
    grid = grid_of(images)
    assert grid.orientation == grid.planes[0][0].orientation
    assert grid.slice_distance == pytest.approx(8, abs=1e-3)


def test_an_invented_spacing_gives_no_millilitres() -> None:
    grid = grid_of(cine(ImageComments="spacing invented"))
    assert grid.spacing_invented
    assert grid.voxel_mm3 is None
    assert "invented" in grid.warnings[0]


def test_one_slice_is_a_grid_without_volumes() -> None:
    grid = grid_of(Exam().long_axis(PHASES))
    assert (grid.slices, grid.phases, grid.voxel_mm3) == (1, PHASES, None)
    assert grid.warnings


def test_a_grid_survives_json() -> None:
    for images in (cine(), [Exam().enhanced(SLICES, PHASES)], cine(TriggerTime=None, ImageComments="spacing invented")):
        grid = grid_of(images)
        assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


def test_a_stack_beyond_all_measure_is_refused_before_it_is_allocated() -> None:
    grid = replace(grid_of(cine()), rows=60000, columns=60000)
    with pytest.raises(Refused) as caught:
        load(grid, lambda uid: Path("nowhere"))
    assert caught.value.code == "too_large"


def test_an_image_that_cannot_be_read_is_named_by_its_place(tmp_path: Path) -> None:
    images = cine()
    files = write(images, tmp_path)
    grid = grid_of(images)
    victim = files[images[5].SOPInstanceUID]
    victim.write_bytes(victim.read_bytes()[:-40])
    with pytest.raises(Refused, match="slice 2, phase 3") as caught:
        load(grid, files.__getitem__)
    assert caught.value.code == "truncated"
    assert "Phantom" not in caught.value.sentence


def test_the_problem_of_a_stack_is_the_reason_of_its_refusal() -> None:
    images = cine()
    del images[3].PixelData
    assert refusal(images).code == "no_pixel_data"
    with quiet():
        shot = Exam().screenshot()
        set_pixels(shot, np.zeros((16, 16), np.uint8))
        assert refusal([shot]).code == "no_geometry"
