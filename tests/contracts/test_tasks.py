"""The label sets against the dictionaries of DICOM PS3.16 that pydicom carries."""

import pytest
from pydicom.sr.codedict import codes

from contracts.tasks import LABELS, Code, Label, Task, label_names

EVERY_LABEL = [label for labels in LABELS.values() for label in labels]


def listed(code: Code, group: int) -> bool:
    """Whether a context group of PS3.16 lists a code with that very meaning."""
    concepts = getattr(codes, f"cid{group}").concepts.values()
    return (code.value, code.scheme, code.meaning) in [
        (one.value, one.scheme_designator, one.meaning) for one in concepts
    ]


@pytest.mark.parametrize("label", EVERY_LABEL, ids=lambda label: label.name)
def test_codes_stand_in_the_groups_that_the_module_names(label: Label) -> None:
    group = {"rv": 7152, "lv": 7152, "myo": 12305, "prostate": 7160, "lesion": 7159, "gland": 7151}[label.name]
    assert listed(label.type, group)
    assert listed(label.type, 7151) == (label.name != "myo")
    assert listed(label.category, 7150)


def test_cardiac_codes_are_those_of_the_code_dictionary() -> None:
    right, muscle, left = (label.type for label in LABELS[Task.CARDIAC])
    assert right.value == codes.cid7152.RightVentricle.value
    assert left.value == codes.cid7152.LeftVentricle.value
    assert muscle.value == codes.SCT.LeftVentricleMyocardium.value


@pytest.mark.parametrize("task", list(Task))
def test_values_count_from_one_and_nothing_repeats(task: Task) -> None:
    labels = LABELS[task]
    assert [label.value for label in labels] == list(range(1, len(labels) + 1))
    assert label_names(task) == tuple(label.name for label in labels)
    for what in ("name", "title", "type", "rgb"):
        assert len({getattr(label, what) for label in labels}) == len(labels)


@pytest.mark.parametrize("label", EVERY_LABEL, ids=lambda label: label.name)
def test_everything_fits_into_dicom(label: Label) -> None:
    for code in (label.category, label.type):
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
        assert code.scheme == "SCT"
    assert len(label.title) <= 64
    assert all(0 <= part <= 255 for part in label.rgb)
