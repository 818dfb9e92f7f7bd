"""What is held for a person, and what is not."""

import numpy as np
import pytest

from contracts.measurements import measure
from contracts.prepare import Square
from contracts.segment import Pieces, Segmented
from contracts.tasks import LABELS, Task
from serving.pipeline.quality import LEAST_SHARE, LEAST_VOXELS, doubt


def heart(phases: int = 3) -> np.ndarray:
    labels = np.zeros((phases, 4, 40, 40), np.uint8)
    labels[..., 10:20, 5:12] = 1
    labels[..., 8:24, 12:28] = 2
    labels[..., 12:20, 16:24] = 3
    return labels


def found(labels: np.ndarray, share: float = 1.0) -> Segmented:
    pieces = tuple(Pieces(1 if share == 1 else 3, share) for _ in labels)
    return Segmented(labels, Square(20.0, 20.0, 40.0), True, pieces)


def code(segmented: Segmented) -> str:
    reason = doubt(segmented, Task.CARDIAC)
    return reason.code if reason else ""


def test_a_whole_heart_goes_out():
    assert code(found(heart())) == ""


def test_nothing_is_held():
    assert code(found(np.zeros_like(heart()))) == "nothing_found"


@pytest.mark.parametrize("value", [label.value for label in LABELS[Task.CARDIAC]])
@pytest.mark.parametrize("phase", [0, 2])
def test_a_structure_missing_in_one_phase_is_held_and_named(value, phase):
    labels = heart()
    labels[phase][labels[phase] == value] = 0
    reason = doubt(found(labels), Task.CARDIAC)
    assert reason is not None
    assert reason.code == "structure_missing"
    assert f"phase {phase + 1}" in reason.sentence
    assert LABELS[Task.CARDIAC][value - 1].title in reason.sentence


def test_a_few_voxels_are_not_a_structure():
    labels = heart()
    labels[1][labels[1] == 3] = 0
    labels[1, 0, 15, 16 : 16 + LEAST_VOXELS - 1] = 3
    assert code(found(labels)) == "structure_missing"


@pytest.mark.parametrize(("share", "expected"), [(LEAST_SHARE - 0.01, "in_pieces"), (LEAST_SHARE, "")])
def test_pieces_are_judged_before_the_filter(share, expected):
    assert code(found(heart(), share)) == expected


@pytest.mark.parametrize("edge", [np.s_[..., 0, :], np.s_[..., -1, :], np.s_[..., :, 0], np.s_[..., :, -1]])
def test_a_mask_at_the_border_is_held(edge):
    labels = heart()
    labels[edge] = 2
    assert code(found(labels)) == "at_the_border"


def test_a_task_of_one_label_is_judged_by_its_own_labels():
    labels = (heart() > 0).astype(np.uint8)
    assert doubt(found(labels), Task.PROSTATE) is None


@pytest.mark.parametrize(("task", "expected"), [(Task.PROSTATE, "at_the_border"), (Task.SKIN, "")])
def test_of_one_label_only_a_lesion_may_reach_the_border(task, expected):
    labels = (heart() > 0).astype(np.uint8)
    labels[..., 20:, 20] = 1
    reason = doubt(found(labels), task)
    assert (reason.code if reason else "") == expected


def test_implausible_figures_are_held_and_told_with_their_limits():
    labels = heart()
    labels[1, ..., 12:20, 16:18] = 2
    assert doubt(found(labels), Task.CARDIAC, measure(labels, 250.0)) is None
    still = measure(heart(), 250.0)
    reason = doubt(found(heart()), Task.CARDIAC, still)
    assert reason is not None
    assert reason.code == "implausible_measurements"
    assert "ejection fraction 0.0 % (5 to 90); stroke volume 0.0 mL (5 to 300)" in reason.sentence


def test_a_reason_names_few_figures_and_fits_its_column():
    reason = doubt(found(heart()), Task.CARDIAC, measure(heart(), 0.1))
    assert reason is not None
    assert "and 2 more" in reason.sentence
    assert len(reason.sentence) < 500


def test_what_is_seen_in_the_mask_is_said_before_its_figures():
    labels = heart()
    labels[..., 0, :] = 2
    assert doubt(found(labels), Task.CARDIAC, measure(labels, 0.1)) == doubt(found(labels), Task.CARDIAC)
