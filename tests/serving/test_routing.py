"""Rules find the short-axis cine in a whole exam, leave the rest alone with reasons; a bad file says what is wrong."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from contracts.errors import Usage
from contracts.stacks import Stack, describe, stacks_of, without_images
from contracts.tasks import Task
from serving.routing import COMPARISONS, Condition, Rule, load_rules, route
from tests.builders import FOUR_CHAMBER, SHORT_AXIS, TWO_CHAMBER, Exam, axis_aligned, unit_cosines
from tests.photographs import CLASSES, photograph, skin, spot

RULES = load_rules(None)


def stack_of(images: Sequence[FileDataset]) -> Stack:
    """The one stack of some images."""
    (stack,) = stacks_of([describe(image) for image in images])
    return stack


def task_of(images: Sequence[FileDataset]) -> Task | None:
    """The task that the shipped rules give some images."""
    rule = route(stack_of(images), RULES).rule
    return rule.task if rule else None


def reason_of(images: Sequence[FileDataset]) -> str:
    """Why the shipped rules leave some images alone."""
    routed = route(stack_of(images), RULES)
    assert routed.rule is None
    assert routed.code == "no_rule"
    return routed.reason


def test_the_cine_is_found_in_an_exam_of_forty_series() -> None:
    series = Exam().forty_series()
    assert len(series) == 40
    assert not any(image.SeriesDescription for images in series.values() for image in images)
    names = {image.SeriesInstanceUID: name for name, images in series.items() for image in images}
    instances = [describe(image) for images in series.values() for image in images]
    random.Random(3).shuffle(instances)
    stacks = stacks_of(instances)
    routed = {stack.key: route(stack, RULES) for stack in stacks}
    (found,) = [stack for stack in stacks if routed[stack.key].rule]
    assert [names[uid] for uid in found.series_uids] == ["short-axis cine"]
    assert len(found.instances) == 36
    assert all(routed[stack.key].reason for stack in stacks if stack is not found)
    seen = {uid for stack in stacks for uid in stack.series_uids} | {uid for uid, _ in without_images(instances)}
    assert seen == set(names)


EXAM = Exam("reasons")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (EXAM.long_axis(), "only 1 slice position; a short-axis cine has at least 5"),
        (EXAM.long_axis_stack(), "degrees to the heart's usual long axis"),
        (EXAM.stack(6, 3, orientation=TWO_CHAMBER), "degrees to the heart's usual long axis"),
        (EXAM.stack(6, 3, orientation=unit_cosines(FOUR_CHAMBER[:3], (0.3, 0.9, 0.2))), "long axis"),
        (EXAM.stack(3, 3), "only 3 slice positions"),
        (EXAM.perfusion(), "only 3 slice positions"),
        (EXAM.perfusion(slices=6), "as in perfusion"),
        (EXAM.phase_contrast(), "velocity-encoded"),
        (EXAM.phase_contrast(slices=8), "velocity-encoded"),
        (EXAM.late_enhancement(), "late enhancement"),
        (EXAM.late_enhancement(phase_sensitive=False), "late enhancement"),
        (EXAM.map_images("T1"), "T1"),
        (EXAM.map_images("T1", slices=8), "T1"),
        (EXAM.map_images("T2", slices=8), "echo time 25 to 150 ms"),
        (EXAM.map_images("T2*", slices=8), "echo time 2.2 to 13.2 ms"),
        (EXAM.map_result("T1", slices=8), "image type T1 MAP"),
        (EXAM.map_result("T2*", slices=8), "image type T2_STAR MAP"),
        (EXAM.haste(), "scanning sequence SE"),
        (EXAM.stack(8, 1, TriggerTime=None), "only 1 image a slice position"),
        (EXAM.stack(8, 3, distance=2.0), "slices 2 mm apart"),
        (EXAM.stack(6, 3, distance=30.0), "slices 30 mm apart"),
        (EXAM.stack(6, 3, PixelSpacing=[5, 5]), "pixels of 5 mm"),
        (EXAM.stack(6, 3, interval_ms=900.0), "one image a heartbeat"),
        (EXAM.stack(6, 3, Tagging="GRID"), "tagged"),
        (EXAM.stack(6, 3, ComplexImageComponent="PHASE"), "PHASE images"),
        (EXAM.stack(6, 3, Modality="CT"), "modality CT, not MR"),
        ([EXAM.screenshot()], "a secondary capture of which"),
        ([EXAM.segmentation()], "modality SEG"),
    ],
)
def test_what_is_no_short_axis_cine_is_left_alone_with_its_reason(images: Sequence[FileDataset], words: str) -> None:
    assert words in reason_of(images)


def test_localizer_planes_are_left_alone() -> None:
    for stack in stacks_of([describe(image) for image in Exam().localizer()]):
        assert "only 1 slice position" in route(stack, RULES).reason


@pytest.mark.parametrize("orientation", [*axis_aligned(), SHORT_AXIS, tuple(-c for c in SHORT_AXIS)])
def test_a_cine_is_found_in_every_axis_aligned_orientation(orientation: Any) -> None:
    assert task_of(Exam().short_axis(orientation=orientation)) == Task.CARDIAC


@settings(max_examples=40, deadline=None)
@given(tilt=st.tuples(*[st.floats(-0.4, 0.4)] * 6))
def test_a_cine_is_found_however_the_heart_lies(tilt: Sequence[float]) -> None:
    orientation = unit_cosines(
        [a + b for a, b in zip(SHORT_AXIS[:3], tilt, strict=False)],
        [a + b for a, b in zip(SHORT_AXIS[3:], tilt[3:], strict=True)],
    )
    assert task_of(Exam().stack(5, 2, orientation=orientation)) == Task.CARDIAC


@pytest.mark.parametrize(
    "options",
    [
        {"series_per_position": True},
        {"TriggerTime": None},
        {"AcquisitionTime": None},
        {"InversionTime": 0},
        {"ImageType": ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "CARDIAC", "NONE"]},
        {"ScanningSequence": ["GR", "RM"]},
        {"ContrastBolusAgent": "given earlier"},
        {"frame_of_reference_per_instance": True},
        {"SeriesDescription": "T1 MAP LGE perfusion"},
    ],
)
def test_cines_of_several_makers_are_found(options: dict[str, Any]) -> None:
    assert task_of(Exam().short_axis(**options)) == Task.CARDIAC


def test_an_enhanced_cine_is_found() -> None:
    assert task_of([Exam().enhanced(6, 4)]) == Task.CARDIAC


def test_an_enhanced_flow_measurement_is_not() -> None:
    made = Exam().enhanced(6, 4)
    for groups in made.PerFrameFunctionalGroupsSequence[::2]:
        groups.MRImageFrameTypeSequence[0].FrameType = ["ORIGINAL", "PRIMARY", "VELOCITY", "NONE"]
    assert "image type VELOCITY" in reason_of([made])


def test_axial_t2_of_the_prostate_has_its_own_rule() -> None:
    assert task_of(Exam().prostate()) == Task.PROSTATE
    assert "transverse" in reason_of(Exam().prostate(orientation=(0, 1, 0, 0, 0, -1)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"BodyPartExamined": "PELVIS"}, "names the prostate"),
        ({"BodyPartExamined": None}, "names the prostate"),
        ({"EchoTime": 60}, "echo time 60 ms"),
        ({"EchoTime": None}, "echo time unknown ms"),
        ({"ScanningSequence": "EP"}, "scanning sequence EP"),
        ({"ScanningSequence": ["SE", "IR"]}, "scanning sequence IR"),
        ({"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "image type ADC"),
        ({"PixelSpacing": [1.0, 1.0]}, "pixels of 1 mm"),
        ({"PixelSpacing": [0.5, 1.0]}, "pixels of 1 mm"),
    ],
)
def test_what_is_no_t2_of_the_prostate_is_left_alone_with_its_reason(options: dict[str, Any], words: str) -> None:
    images = Exam().prostate()
    for image in images:
        for keyword, value in options.items():
            setattr(image, keyword, value) if value is not None else image.pop(keyword)
    assert words in reason_of(images)


@pytest.mark.parametrize("keyword", ["SeriesDescription", "StudyDescription", "ProtocolName"])
def test_a_description_may_name_the_prostate_where_the_body_part_does_not(keyword: str) -> None:
    images = Exam().prostate()
    for image in images:
        image.BodyPartExamined = "PELVIS"
        setattr(image, keyword, "MR Prostata")
    assert task_of(images) == Task.PROSTATE


def test_an_enhanced_cine_of_the_heart_is_no_prostate_however_its_study_is_named() -> None:
    made = Exam().enhanced(6, 4)
    made.StudyDescription = "prostate"
    assert task_of([made]) == Task.CARDIAC


PICTURE = skin(spot(20, 30))


@pytest.mark.parametrize("kind", CLASSES)
def test_photographs_of_every_class_go_to_skin(kind: str) -> None:
    assert task_of([photograph(PICTURE, kind)]) == Task.SKIN


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("photographic", {"BodyPartExamined": "EYE"}, "body part EYE"),
        ("capture", {"BodyPartExamined": "CHEST"}, "says that it shows skin"),
        ("capture", {"ConversionType": "SD"}, "a scanned document"),
        ("frames", {"BodyPartExamined": None}, "says that it shows skin"),
    ],
)
def test_other_photographs_are_left_alone_with_their_reason(kind: str, options: dict[str, Any], words: str) -> None:
    assert words in reason_of([photograph(PICTURE, kind, **options)])


def test_a_capture_by_a_camera_needs_no_words() -> None:
    assert task_of([photograph(PICTURE, "capture", BodyPartExamined=None, Modality="XC")]) == Task.SKIN


@pytest.mark.parametrize("kind", CLASSES)
def test_a_photograph_that_cannot_be_read_is_refused_with_its_reason(kind: str) -> None:
    made = photograph(PICTURE, kind, PhotometricInterpretation="PALETTE COLOR", SamplesPerPixel=1)
    routed = route(stack_of([made]), RULES)
    assert routed.rule is not None
    assert (routed.rule.task, routed.code) == (Task.SKIN, "palette_colours")


def test_a_single_frame_of_reference_is_not_accepted_by_the_shipped_rules() -> None:
    assert not any(rule.accept_per_instance_frame_of_reference for rule in RULES)


def test_the_problem_of_a_stack_comes_with_its_rule() -> None:
    images = Exam().short_axis()
    del images[0].PixelData
    routed = route(stack_of(images), RULES)
    assert (routed.rule, routed.code) == (RULES[0], "no_pixel_data")
    assert "pixel data" in routed.reason


def features(**values: object) -> Stack:
    """A stack that has only features."""
    return replace(stack_of(Exam().long_axis()), features=values)


def condition(comparison: str, value: Any = None, *, or_unknown: bool = False) -> Condition:
    """A condition on ``x``."""
    return Condition(feature="x", comparison=comparison, value=value, or_unknown=or_unknown, words="x is {value}")


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_images_without_a_place_are_told_so_where_nothing_else_speaks_against_them(keyword: str) -> None:
    images = Exam().short_axis()
    for image in images:
        del image[keyword]
    routed = route(stack_of(images), RULES)
    assert routed.rule is not None
    assert (routed.rule.task, routed.code) == (Task.CARDIAC, "no_geometry")
    assert keyword in routed.reason
    for image in images:
        image.ScanningSequence = "IR"
    assert "IR" in reason_of(images)


@pytest.mark.parametrize(
    ("comparison", "value", "holds", "fails"),
    [
        ("at_least", 5, [5, 6.5, [5, 9]], [4, [4, 9], "many", True and "x"]),
        ("at_most", 5, [5, -1, [1, 5]], [6, [1, 6]]),
        ("is", "MR", ["MR", "mr", ["MR"]], ["CT", ["MR", "CT"]]),
        ("is", False, [False], [True]),
        ("one_of", ["A", "B"], ["a", ["A", "B"]], ["C", ["A", "C"]]),
        ("none_of", ["A", "B"], ["C", ["C", "D"]], ["a", ["C", "B"]]),
        ("has_all", ["A", "B"], [["A", "B", "C"]], ["A", ["A", "C"]]),
        ("present", None, ["A", 0, False], []),
        ("absent", None, [], ["A", 0, False]),
    ],
)
def test_comparisons(comparison: str, value: Any, holds: list[object], fails: list[object]) -> None:
    for found in holds:
        assert condition(comparison, value).holds({"x": found})
    for found in fails:
        assert not condition(comparison, value).holds({"x": found})
    unknown = {"x": None}
    assert condition(comparison, value).holds(unknown) is (comparison == "absent")
    assert condition(comparison, value, or_unknown=True).holds(unknown)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (3, "x is 3"),
        ([2.5, 1], "x is 1 to 2.5"),
        (["a", "b"], "x is a, b"),
        (None, "x is unknown"),
        (0.1 + 0.2, "x is 0.3"),
    ],
)
def test_complaints_read_well(found: object, words: str) -> None:
    assert condition("is", "z").complaint({"x": found}) == words


def test_the_first_rule_that_fits_wins_and_the_nearest_gives_the_reason() -> None:
    def rule(name: str, *conditions: Condition) -> Rule:
        return Rule(name=name, task=Task.SKIN, condition=list(conditions))

    far = rule("far", condition("is", 9), condition("at_least", 9))
    near = rule("near", condition("at_most", 7), condition("at_least", 6))
    fits = rule("fits", condition("is", 5))
    assert route(features(x=5), (far, near)).reason == "x is 5"
    assert route(features(x=5), (far, near, fits)).rule == fits
    assert route(features(x=5), (fits, near)).rule == fits
    assert route(features(x=5), ()).rule is None


GOOD = """
[[rule]]
name = "r"
task = "skin"
accept_per_instance_frame_of_reference = true
[[rule.condition]]
feature = "positions"
comparison = "at_least"
value = 5
words = "w"
"""


def test_a_file_of_rules_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD)
    (rule,) = load_rules(path)
    assert (rule.name, rule.task, rule.accept_per_instance_frame_of_reference) == ("r", Task.SKIN, True)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[[rule]]", "[[rule", "no TOML"),
        ('task = "skin"', 'task = "liver"', "rule.0.task"),
        ('task = "skin"', "", "rule.0.task"),
        ("at_least", "bigger", "bigger"),
        ("value = 5", 'value = "five"', "a number"),
        ("value = 5", "", "a number"),
        ("words", "word", "word"),
        ("= true", '= "yes"', "accept_per_instance"),
        (GOOD, "", "rule"),
        (GOOD, "rule = 3", "rule"),
    ],
)
def test_a_bad_file_of_rules_says_where(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(Usage, match=words) as caught:
        load_rules(path)
    assert caught.value.code == "bad_rules"


def test_a_missing_file_of_rules_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(Usage, match=r"none\.toml"):
        load_rules(tmp_path / "none.toml")


def test_every_comparison_is_in_use_or_tested() -> None:
    assert set(COMPARISONS) == {"at_least", "at_most", "is", "one_of", "none_of", "has_all", "absent", "present"}
