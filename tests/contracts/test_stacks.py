"""Which instances are segmented together: the same content in any order, from one series or from many."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from contracts.stacks import Instance, Stack, describe, stacks_of, without_images
from tests.builders import FOUR_CHAMBER, SHORT_AXIS, Exam, heart, set_pixels


def described(images: Sequence[FileDataset]) -> list[Instance]:
    """What is remembered of some images, in their order."""
    return [describe(image) for image in images]


def content(stacks: Sequence[Stack]) -> set[str]:
    """What stacks hold, whatever their order and keys."""
    return {stack.digest for stack in stacks}


def frames(stack: Stack) -> int:
    """Number of planes of a stack."""
    return len(stack.planes)


def turned(image: Instance, step: float) -> Instance:
    """The same image, its direction cosines changed a little."""
    a, b, c, d, e, f = image.planes[0].orientation
    orientation = (a + step, b + step, c + step, d + step, e + step, f + step)
    return replace(image, planes=(replace(image.planes[0], orientation=orientation),))


def test_a_cine_in_one_series_is_one_stack() -> None:
    (stack,) = stacks_of(described(Exam().short_axis(slices=6, phases=3)))
    assert (len(stack.instances), len(stack.series_uids), stack.problem) == (18, 1, None)
    assert (stack.features["positions"], stack.features["images_per_position"]) == (6, 3)
    assert stack.features["slice_distance_mm"] == pytest.approx(8, abs=1e-3)
    assert stack.frame_of_reference == "uniform"


def test_a_cine_of_one_series_a_slice_is_one_stack() -> None:
    exam = Exam()
    cine = exam.short_axis(slices=6, phases=3, series_per_position=True)
    (stack,) = stacks_of(described(cine))
    assert len(stack.series_uids) == 6
    assert stack.features["positions"] == 6


def test_one_instance_of_many_frames_is_one_stack() -> None:
    (stack,) = stacks_of(described([Exam().enhanced(slices=5, phases=4)]))
    assert (len(stack.instances), frames(stack), stack.features["positions"]) == (1, 20, 5)


def test_frames_of_several_orientations_are_several_stacks() -> None:
    made = stacks_of(described([Exam().enhanced(slices=3, phases=2, orientations=(SHORT_AXIS, FOUR_CHAMBER))]))
    assert [frames(stack) for stack in made] == [6, 6]
    assert len(content(made)) == 2
    assert len({stack.key for stack in made}) == 2


@settings(max_examples=15, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_what_stacks_hold(seed: random.Random) -> None:
    exam = Exam()
    images = described(
        exam.short_axis(slices=5, phases=2, series_per_position=True)
        + exam.short_axis(slices=5, phases=2)
        + exam.long_axis()
        + exam.localizer()
        + exam.perfusion()
        + exam.late_enhancement()
        + [exam.enhanced(slices=2, phases=2), exam.screenshot(), exam.report()]
    )
    expected = content(stacks_of(images))
    seed.shuffle(images)
    assert content(stacks_of(images)) == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.randoms(use_true_random=False), share=st.floats(0.1, 0.9))
def test_late_instances_leave_the_keys_of_the_stacks_that_are_there(seed: random.Random, share: float) -> None:
    exam = Exam()
    images = described(
        exam.short_axis(slices=5, phases=2, series_per_position=True)
        + exam.long_axis()
        + exam.localizer()
        + exam.haste()
    )
    seed.shuffle(images)
    early = stacks_of(images[: max(1, int(share * len(images)))])
    late = {stack.key: stack for stack in stacks_of(images)}
    for stack in early:
        assert {i.sop_uid for i in stack.instances} <= {i.sop_uid for i in late[stack.key].instances}


def test_unrelated_late_instances_change_nothing() -> None:
    exam = Exam()
    images = described(exam.short_axis())
    (before,) = stacks_of(images)
    after = stacks_of([*images, *described([*exam.long_axis(), exam.report(), exam.screenshot()])])
    assert after[0] == before
    assert after[0].digest == before.digest


def test_the_digest_follows_instances_and_revisions_only() -> None:
    images = described(Exam().short_axis())
    (stack,) = stacks_of(images)
    assert stacks_of(images[::-1])[0].digest == stack.digest
    assert stacks_of(images[1:])[0].digest != stack.digest
    assert stacks_of([replace(images[0], revision=2), *images[1:]])[0].digest != stack.digest


def test_a_repeat_of_all_series_is_another_stack() -> None:
    """Where each slice is a series, two scans of one geometry must not be mixed, however they arrive."""
    exam = Exam()
    first = described(exam.short_axis(slices=5, phases=2, series_per_position=True))
    second = described(exam.short_axis(slices=5, phases=2, series_per_position=True))
    mixed = [image for pair in zip(second[::-1], first, strict=True) for image in pair]
    assert content(stacks_of(mixed)) == content([*stacks_of(first), *stacks_of(second)])


def test_a_repeated_slice_stays_apart_and_the_stack_remains() -> None:
    exam = Exam()
    cine = described(exam.short_axis(slices=5, phases=2, series_per_position=True))
    again = described(exam.stack(1, 2))
    made = stacks_of([*again, *cine])
    assert {len(stack.instances) for stack in made} == {10, 2}
    assert content(stacks_of(cine)) <= content(made)


def test_a_trial_shot_takes_no_place_of_a_slice() -> None:
    """Before the cine one slice is often tried, with other settings or without phases; the cine must stay whole."""
    exam = Exam()
    for phases in (1, 5, 6):
        trial = described(exam.stack(1, phases, CardiacNumberOfImages=phases))
        beside = described(exam.stack(3, 1, origin=(80.0, -90.0, -10.0), CardiacNumberOfImages=1))
        cine = described(exam.short_axis(slices=5, phases=5 if phases < 5 else 7, series_per_position=True))
        made = stacks_of([*trial, *beside, *cine])
        assert content(stacks_of(cine)) <= content(made)


def test_a_series_that_lacks_a_few_images_belongs_to_its_stack_all_the_same() -> None:
    """So that the stack is refused with what is missing, and not segmented without that slice."""
    cine = described(Exam().short_axis(slices=5, phases=10, series_per_position=True))
    (stack,) = stacks_of([*cine[:12], *cine[14:]])
    assert len(stack.instances) == 48


def test_a_slice_that_was_measured_later_fills_its_gap() -> None:
    exam = Exam()
    cine = described(exam.short_axis(slices=6, phases=2))
    alone = [replace(i, series_uid="1.2.3", planes=(replace(i.planes[0], series_uid="1.2.3"),)) for i in cine[4:6]]
    (stack,) = stacks_of([*cine[:4], *cine[6:], *alone])
    assert stack.series_uids == (cine[0].series_uid, "1.2.3")


def test_localizer_planes_in_a_series_fall_out_of_it() -> None:
    exam = Exam()
    cine = exam.short_axis(slices=5, phases=2)
    planes = exam.localizer(series=(cine[0].SeriesInstanceUID, 1))
    made = stacks_of(described([planes[0], *cine, *planes[1:]]))
    assert sorted(len(stack.instances) for stack in made) == [1, 1, 1, 10]
    assert content(stacks_of(described(cine))) <= content(made)


def test_another_matrix_in_a_series_falls_out_of_it() -> None:
    exam = Exam()
    cine = exam.short_axis(slices=5, phases=2)
    other = exam.image(exam.next_series(), 99, (0, 0, 0), heart(40, 48, 0, 0, 1))
    other.SeriesInstanceUID = cine[0].SeriesInstanceUID
    made = stacks_of(described([*cine, other]))
    assert [len(stack.instances) for stack in made] == [10, 1]


@pytest.mark.parametrize("step", [1e-6, 1e-5, 9e-5])
def test_orientations_that_differ_a_little_are_one(step: float) -> None:
    """Compared by difference: -0.5 and -0.5 + 1e-6 would fall into two buckets of a rounding."""
    images = described(Exam().short_axis(slices=5, phases=2))
    half = [turned(image, step) for image in images[::2]]
    assert len(stacks_of([*half, *images[1::2]])) == 1


def test_orientations_that_differ_more_are_two() -> None:
    images = described(Exam().short_axis(slices=5, phases=2))
    half = [turned(image, 1e-3) for image in images[::2]]
    assert len(stacks_of([*half, *images[1::2]])) == 2


@pytest.mark.parametrize("split", [False, True])
def test_a_frame_of_reference_for_each_instance_is_seen(split: bool) -> None:
    cine = Exam().short_axis(slices=5, phases=3, frame_of_reference_per_instance=True, series_per_position=split)
    (stack,) = stacks_of(described(cine))
    assert (stack.frame_of_reference, stack.problem) == ("each", None)


@pytest.mark.parametrize("missing", ["", "2.25.77"])
def test_a_split_frame_of_reference_is_a_problem(missing: str) -> None:
    images = described(Exam().short_axis())
    (stack,) = stacks_of([*(replace(image, frame_of_reference_uid=missing) for image in images[:6]), *images[6:]])
    assert stack.frame_of_reference == "split"
    assert stack.problem is not None
    assert stack.problem[0] == "frame_of_reference_split"
    assert "2 different frames of reference" in stack.problem[1]


def test_series_of_two_frames_of_reference_are_not_put_together() -> None:
    images = described(Exam().short_axis(slices=6, phases=2, series_per_position=True))
    made = stacks_of([*(replace(image, frame_of_reference_uid="2.25.5") for image in images[:6]), *images[6:]])
    assert [stack.features["positions"] for stack in made] == [3, 3]
    assert [stack.frame_of_reference for stack in made] == ["uniform", "uniform"]


def test_no_frame_of_reference_at_all_is_seen() -> None:
    (stack,) = stacks_of([replace(i, frame_of_reference_uid="") for i in described(Exam().short_axis())])
    assert stack.frame_of_reference == "missing"


@pytest.mark.parametrize(
    "change",
    [
        {"ImageType": ["DERIVED", "PRIMARY", "M", "T1 MAP"]},
        {"ScanningSequence": "EP"},
        {"SequenceVariant": "SP"},
        {"InversionTime": 300},
        {"EchoTime": 2.4},
        {"FlipAngle": 12},
        {"SequenceName": "*fl2d1_v150in"},
        {"Modality": "CT"},
        {"CardiacNumberOfImages": 9},
    ],
)
def test_series_acquired_in_another_way_are_not_put_together(change: dict[str, Any]) -> None:
    exam = Exam()
    cine = exam.short_axis(slices=5, phases=2)
    normal = np.cross(SHORT_AXIS[:3], SHORT_AXIS[3:])
    other = exam.stack(3, 2, origin=tuple(np.array((10.0, -20.0, 30.0)) - 40 * normal), **change)
    assert len(stacks_of(described([*cine, *other]))) == 2


def test_stacks_of_two_lines_are_not_put_together() -> None:
    exam = Exam()
    cine, beside = exam.short_axis(slices=5, phases=2), exam.short_axis(slices=5, phases=2, origin=(100.0, 90.0, 0.0))
    assert len(stacks_of(described([*cine, *beside]))) == 2


def test_a_series_of_several_kinds_of_images_stays_alone_and_whole() -> None:
    exam = Exam()
    both = exam.late_enhancement(slices=6)
    (stack,) = stacks_of(described(both))
    assert len(stack.instances) == 12
    assert stack.features["ImageType"] == ["ORIGINAL", "PRIMARY", "M", "R", "PSIR"]


def test_series_without_images_are_told_with_a_reason() -> None:
    exam = Exam()
    report, keys = exam.report(), exam.key_objects()
    images = described([report, *exam.short_axis(slices=2), keys])
    told = dict(without_images(images))
    assert list(told) == [report.SeriesInstanceUID, keys.SeriesInstanceUID]
    assert "SR" in told[report.SeriesInstanceUID]
    assert len(stacks_of(images)) == 1


def test_images_of_no_known_place_form_a_stack_with_its_problem() -> None:
    shot = Exam().screenshot()
    set_pixels(shot, np.zeros((16, 16), np.uint8))
    assert [stack.problem and stack.problem[0] for stack in stacks_of(described([shot]))] == ["no_geometry"]


def test_a_problem_of_one_instance_is_that_of_its_stack_and_of_no_other() -> None:
    exam = Exam()
    cine, sound = exam.short_axis(), exam.short_axis(origin=(200.0, 200.0, 0.0))
    del cine[4].PixelData
    made = stacks_of(described([*cine, *sound]))
    assert [stack.problem and stack.problem[0] for stack in made] == ["no_pixel_data", None]


def test_forming_stacks_is_quick() -> None:
    """Four thousand images of 200 series: linear in images, not in pairs of them."""
    exam = Exam()
    cine = described(exam.short_axis(slices=20, phases=5))
    many = [
        replace(i, sop_uid=f"{i.sop_uid}.{copy}", series_uid=f"1.2.{copy}", frame_of_reference_uid=f"1.9.{copy // 2}")
        for copy in range(40)
        for i in cine
    ]
    assert len(stacks_of(many)) == 40
