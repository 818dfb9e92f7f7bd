"""The test inference: the same question everywhere, and an answer that may differ by rounding but not by more."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.known_answer import TOLERANCE, agrees, count_labels, known_slice
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare, prepare_for
from contracts.tasks import Task

CONTRACT = draft_contract(Task.CARDIAC, Prepare())


def test_the_known_slice_is_a_prepared_slice_and_the_same_each_time() -> None:
    first, second = known_slice(CONTRACT), known_slice(CONTRACT)
    assert (first.shape, first.dtype) == ((1, 1, 128, 128), np.float32)
    assert 0 <= first.min() < first.max() <= 1
    assert np.array_equal(first, second)


def test_a_photograph_is_asked_about_a_dark_spot_on_skin() -> None:
    contract = draft_contract(Task.SKIN, prepare_for(Task.SKIN, input_side=96))
    spot = known_slice(contract)
    assert (spot.shape, spot.dtype) == ((1, 3, 96, 96), np.float32)
    assert 0 <= spot.min() < spot.max() <= 1
    red, green, blue = spot[0]
    assert (red > green).all()
    assert (green > blue).all()
    assert (spot[0, :, 48, 48] < 0.6 * spot[0, :, 0, 0]).all()
    assert np.array_equal(spot, known_slice(contract))


def test_every_label_is_counted_and_nothing_else() -> None:
    labels = np.zeros((1, 256, 256), np.uint8)
    labels[0, :3, :5], labels[0, 10, :7] = 1, 3
    assert count_labels(labels, CONTRACT) == {"rv": 15, "myo": 0, "lv": 7}


@given(st.lists(st.integers(0, 5000), min_size=3, max_size=3), st.floats(-3, 3))
def test_rounding_passes_and_more_does_not(known: list[int], shift: float) -> None:
    names = ("rv", "myo", "lv")
    answer = dict(zip(names, known, strict=True))
    allowed = TOLERANCE * max(sum(known), 1)
    moved = {**answer, "lv": answer["lv"] + int(shift * allowed)}
    assert agrees(moved, answer) == (abs(int(shift * allowed)) <= allowed)


def test_another_set_of_labels_never_agrees() -> None:
    assert not agrees({"rv": 1}, {"rv": 1, "lv": 0})
