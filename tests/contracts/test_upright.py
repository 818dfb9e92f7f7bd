"""Slices are turned upright for a network and its labels back, without moving a pixel in the patient."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.instances import Cosines
from contracts.model_contract import draft_contract
from contracts.prepare import prepare_for
from contracts.segment import segment
from contracts.tasks import Task
from contracts.upright import Turn, turn_of
from tests.builders import AXIAL, PROSTATE, axis_aligned, unit_cosines
from tests.patient_space import Placed, mirrored_columns, mirrored_rows, rotated

TURNS = [Turn(*flags) for flags in product([False, True], repeat=3)]


@pytest.mark.parametrize("turn", TURNS)
def test_turning_back_undoes_it(turn: Turn) -> None:
    slices = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert np.array_equal(turn.stored(turn.upright(slices)), slices)
    assert turn.spacing(turn.spacing((1.5, 2.0))) == ((1.5, 2.0))
    assert turn.upright(slices).shape[2:] == ((5, 4) if turn.swap else (4, 5))


@pytest.mark.parametrize("orientation", [AXIAL, PROSTATE, None, (1, 0, 0, 0, 0, -1)])
def test_what_is_upright_stays(orientation: Cosines | None) -> None:
    assert turn_of(orientation) == Turn()


def in_lps(orientation: Sequence[float], swap: bool, flip_rows: bool, flip_columns: bool) -> tuple[float, float]:
    """How far to the left a row of the turned slices runs, and how far to the back a column."""
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    if swap:
        along, down = down, along
    return float(along[0] * (-1 if flip_columns else 1)), float(down[1] * (-1 if flip_rows else 1))


@given(
    tilt=st.tuples(*[st.floats(-0.5, 0.5)] * 6), base=st.sampled_from([o for o in axis_aligned() if o[2] == o[5] == 0])
)
def test_no_other_turn_brings_transverse_slices_nearer_to_upright(tilt: Sequence[float], base: Cosines) -> None:
    orientation = unit_cosines(np.add(base[:3], tilt[:3]), np.add(base[3:], tilt[3:]))
    chosen = turn_of(orientation)
    scores = {turn: sum(in_lps(orientation, turn.swap, turn.flip_rows, turn.flip_columns)) for turn in TURNS}
    assert scores[chosen] == pytest.approx(max(scores.values()))


CHANGES = [
    rotated(1),
    rotated(2),
    rotated(3),
    mirrored_columns,
    mirrored_rows,
    lambda image: rotated(1)(mirrored_rows(image)),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.8, 1.1)])
def test_a_network_sees_the_same_however_a_patient_is_stored(change, spacing) -> None:  # type: ignore[no-untyped-def]
    """A network that knows up from down and left from right marks the same place of the patient."""
    rng = np.random.default_rng(0)
    plain = Placed(rng.integers(0, 900, (120, 150)), np.zeros(3), np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), spacing)
    contract = draft_contract(Task.PROSTATE, prepare_for(Task.PROSTATE, input_side=64, output_side=64))
    seen = []

    def run(batch):  # type: ignore[no-untyped-def]
        seen.append(batch)
        labels = np.zeros((len(batch), 64, 64), np.uint8)
        labels[:, 10:30, 35:60] = 1
        labels[:, 45:49, 12:16] = 1  # a stray piece, that the filter takes away
        return labels

    def answer(image: Placed):  # type: ignore[no-untyped-def]
        orientation: Cosines = (*image.across.tolist(), *image.down.tolist())  # type: ignore[assignment]
        return segment(image.pixels[None, None], contract, run, None, image.spacing, orientation)

    first, stored = answer(plain), change(plain)
    second = answer(stored)
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-6)
    for one, other in ((first.labels, second.labels), (first.raw(), second.raw())):
        assert one.any()
        turned = change(Placed(one[0, 0], plain.position, plain.across, plain.down, plain.spacing))
        assert np.array_equal(turned.pixels, other[0, 0])
    assert first.pieces == second.pieces
    assert not np.array_equal(first.labels, first.raw())


@pytest.mark.parametrize("task", [Task.CARDIAC, Task.SKIN])
def test_other_views_are_not_turned(task: Task) -> None:
    """A heart has no upright that its students know of, and a photograph none at all."""
    contract = draft_contract(task, prepare_for(task, input_side=32, output_side=32))
    shape = (1, 1, 40, 50, 3) if task is Task.SKIN else (1, 1, 40, 50)
    images = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)

    def run(batch):  # type: ignore[no-untyped-def]
        return (batch.mean(axis=1) > 0.5).astype(np.uint8)

    plain, turned = (segment(images, contract, run, None, None, each) for each in (None, (-1, 0, 0, 0, -1, 0)))
    assert np.array_equal(plain.labels, turned.labels)
