"""Laws of Dice and of the bootstrap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.scores import bootstrap_mean, dice, dice_by_label

masks = st.lists(st.booleans(), min_size=12, max_size=12).map(np.array)


@given(one=masks, two=masks)
def test_dice_is_symmetric_and_a_fraction(one: np.ndarray, two: np.ndarray) -> None:
    assert dice(one, two) == dice(two, one)
    assert 0 <= dice(one, two) <= 1
    assert dice(one, one) == 1


def test_empty_masks() -> None:
    none, some = np.zeros(5, dtype=bool), np.array([True, False, False, True, False])
    assert dice(none, none) == 1
    assert dice(none, some) == dice(some, none) == 0


def test_half_of_a_mask() -> None:
    assert dice(np.array([True, True, False]), np.array([True, False, False])) == pytest.approx(2 / 3)


def test_labels_are_scored_apart() -> None:
    truth = np.array([0, 1, 1, 2, 3], dtype=np.uint8)
    found = np.array([0, 1, 0, 2, 0], dtype=np.uint8)
    assert dice_by_label(found, truth, ("rv", "myo", "lv")) == {"rv": pytest.approx(2 / 3), "myo": 1, "lv": 0}


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_interval_holds_the_mean_and_repeats(values: list[float]) -> None:
    first = bootstrap_mean(values, draws=200)
    assert first.mean == pytest.approx(np.mean(values))
    assert first.low - 1e-9 <= first.mean <= first.high + 1e-9
    assert first == bootstrap_mean(values, draws=200)


def test_equal_values_leave_no_doubt() -> None:
    assert bootstrap_mean([0.5] * 7, draws=50) == bootstrap_mean([0.5] * 3, draws=50)


def test_values_of_one_patient_are_drawn_together() -> None:
    """Two volumes that always come together say no more than one: the interval stays as wide."""
    values = [0.1, 0.5, 0.9, 0.4]
    doubled = [value for value in values for _ in range(2)]
    groups = [name for name in "abcd" for _ in range(2)]
    apart, together = bootstrap_mean(doubled), bootstrap_mean(doubled, groups)
    assert together.high - together.low > apart.high - apart.low
    assert together == bootstrap_mean(values)


def test_no_values_no_mean() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_mean([])
