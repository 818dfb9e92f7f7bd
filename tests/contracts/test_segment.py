"""Laws of ``segment``: it finds the heart wherever it lies, and answers the same for the same input."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.errors import Broken, Refused
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare, prepare_for
from contracts.scores import dice
from contracts.segment import BATCH, segment
from contracts.tasks import Task

CONTRACT = draft_contract(Task.CARDIAC, Prepare())


def bright(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A network that calls bright cells left ventricle, half bright ones myocardium."""
    labels = np.select([images[:, 0] > 0.7, images[:, 0] > 0.35], [3, 2], 0).astype(np.uint8)
    return labels.repeat(2, axis=1).repeat(2, axis=2)


def cine(
    rows: int = 120, columns: int = 133, row: float = 60, column: float = 66, phases: int = 6, slices: int = 5
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """A ring that beats on a dim ground, and its labels."""
    labels = np.zeros((phases, slices, rows, columns), dtype=np.uint8)
    far = np.hypot(np.arange(rows)[:, None] - row, np.arange(columns)[None] - column)
    for phase in range(phases):
        labels[phase, :, far < 15] = 2
        labels[phase, :, far < 10 - 3 * np.sin(np.pi * phase / phases)] = 3
    return np.array([20, 0, 500, 1000], dtype=np.uint16)[labels], labels


def test_a_centred_heart_is_found() -> None:
    images, truth = cine()
    found = segment(images, CONTRACT, bright)
    assert found.found
    assert found.labels.dtype == np.uint8
    assert found.labels.shape == images.shape
    assert dice(found.labels == 3, truth == 3) > 0.95
    assert dice(found.labels > 0, truth > 0) > 0.95


@settings(max_examples=12, deadline=None)
@given(down=st.integers(-40, 40), across=st.integers(-45, 45))
def test_a_shifted_study_gives_the_shifted_mask(down: int, across: int) -> None:
    images, _ = cine(phases=2, slices=2)
    moved = np.roll(images, (down, across), axis=(2, 3))
    here, there = segment(images, CONTRACT, bright), segment(moved, CONTRACT, bright)
    shifted = np.roll(here.labels, (down, across), axis=(2, 3))
    assert dice(there.labels == 3, shifted == 3) > 0.97
    assert dice(there.labels > 0, shifted > 0) > 0.97


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(81, 259), columns=st.integers(81, 259), off=st.floats(0.3, 0.7))
def test_any_size_and_place_comes_out_right(rows: int, columns: int, off: float) -> None:
    images, truth = cine(rows, columns, off * rows, (1 - off) * columns, phases=1, slices=2)
    assert dice(segment(images, CONTRACT, bright).labels == 3, truth == 3) > 0.93


def test_the_network_sees_few_slices_at_once_and_few_phases_in_the_coarse_pass() -> None:
    images, _ = cine(phases=9, slices=7)
    calls: list[int] = []
    steps: list[tuple[int, int]] = []

    def run(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        assert batch.dtype == np.float32
        assert batch.shape[1:] == (1, 128, 128)
        calls.append(len(batch))
        return bright(batch)

    segment(images, CONTRACT, run, lambda done, total: steps.append((done, total)))
    assert max(calls) <= BATCH
    assert sum(calls) == 7 * (4 + 9)
    assert steps[-1] == (7 * 13, 7 * 13)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_many_slices_are_cut_into_batches() -> None:
    images, _ = cine(phases=1, slices=37)
    calls: list[int] = []

    def run(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        calls.append(len(batch))
        return bright(batch)

    segment(images, CONTRACT, run)
    assert calls == [16, 16, 5] * 2


def test_what_does_not_hang_together_with_the_heart_is_dropped_and_counted() -> None:
    images, truth = cine(phases=2)
    images[:, :, 80:84, 64:70] = 1000
    found = segment(images, CONTRACT, bright)
    assert dice(found.labels > 0, truth > 0) > 0.95
    assert [piece.count for piece in found.pieces] == [2, 2]
    assert all(0.9 < piece.largest_share < 1 for piece in found.pieces)


def test_the_filter_takes_each_phase_by_itself() -> None:
    """A piece that moves from phase to phase never becomes part of the heart by that."""
    images, _ = cine(phases=2, slices=3)
    images[0, :, 80:84, 64:70] = 1000
    found = segment(images, CONTRACT, bright)
    assert [piece.count for piece in found.pieces] == [2, 1]
    assert found.pieces[1].largest_share == 1


def test_the_labels_before_the_filter_can_be_had_again() -> None:
    images, _ = cine(phases=3, slices=3)
    alone = segment(images, CONTRACT, bright)
    np.testing.assert_array_equal(alone.raw(), alone.labels)
    images[1:, :, 80:84, 64:70] = 1000
    images[2, 1, 80:84, 64:70] = 500
    found = segment(images, CONTRACT, bright)
    raw = found.raw()
    np.testing.assert_array_equal(found.labels, alone.labels)
    np.testing.assert_array_equal(raw[0], alone.labels[0])
    assert (raw[1, :, 81:83, 66:68] == 3).all()
    assert (raw[2, 1, 81:83, 66:68] == 2).all()
    np.testing.assert_array_equal(np.where(found.labels > 0, raw, 0), found.labels)


def test_nothing_found_is_said() -> None:
    found = segment(np.zeros((2, 3, 50, 60)), CONTRACT, bright)
    assert not found.found
    assert not found.labels.any()
    assert [(piece.count, piece.largest_share) for piece in found.pieces] == [(0, 1.0), (0, 1.0)]


def test_the_same_input_gives_the_same_bytes() -> None:
    images, _ = cine()
    assert segment(images, CONTRACT, bright).labels.tobytes() == segment(images, CONTRACT, bright).labels.tobytes()


def test_a_heart_that_stands_still_looks_the_same_in_every_phase() -> None:
    images, _ = cine(phases=1)
    alone, often = segment(images, CONTRACT, bright), segment(images.repeat(7, axis=0), CONTRACT, bright)
    assert often.square == alone.square
    for labels in often.labels:
        np.testing.assert_array_equal(labels, alone.labels[0])


@pytest.mark.parametrize("shape", [(3, 40, 40), (0, 3, 40, 40), (2, 0, 40, 40), (2, 3, 40, 0), (1, 2, 3, 40, 40)])
def test_what_is_no_stack_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(Refused, match="not a stack") as caught:
        segment(np.zeros(shape), CONTRACT, bright)
    assert caught.value.code == "not_a_volume"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    images = cine(phases=1)[0].astype(np.float32)
    images[0, 2, 3, 4] = value
    with pytest.raises(Refused, match="not finite"):
        segment(images, CONTRACT, bright)


@pytest.mark.parametrize(
    "answer",
    [
        np.zeros((5, 128, 128), dtype=np.uint8),
        np.zeros((4, 256, 256), dtype=np.uint8),
        np.zeros((5, 256, 256), dtype=np.int64),
        np.full((5, 256, 256), 4, dtype=np.uint8),
    ],
    ids=["grid", "batch", "dtype", "label"],
)
def test_an_answer_against_the_contract_is_ours_to_mend(answer: NDArray[np.uint8]) -> None:
    with pytest.raises(Broken) as caught:
        segment(cine(phases=1)[0], CONTRACT, lambda _: answer)
    assert caught.value.code == "bad_output"


def test_memory_does_not_grow_with_the_number_of_phases_but_for_the_answer() -> None:
    """What is held at once are the labels and one batch, never all prepared slices."""
    peaks = []
    for phases in (4, 24):
        images = np.broadcast_to(cine(phases=1, slices=8)[0], (phases, 8, 120, 133))
        tracemalloc.start()
        segment(images, CONTRACT, bright)
        peaks.append(tracemalloc.get_traced_memory()[1] - images.nbytes // images.itemsize)
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_the_coarse_pass_looks_at_phases_spread_over_the_cycle() -> None:
    """A heart that shows only in one quarter of the cycle is still found."""
    images, _ = cine(phases=20, slices=2)
    for phase in range(20):
        if not 10 <= phase < 15:
            images[phase] = 0
    found = segment(images, CONTRACT, bright)
    assert found.found
    assert (found.labels[10:15] == 3).any(axis=(1, 2, 3)).all()
    assert not found.labels[:10].any()


def test_a_prostate_is_looked_at_once_in_the_centre() -> None:
    contract = draft_contract(Task.PROSTATE, prepare_for(Task.PROSTATE))
    images, truth = cine(150, 160, 75, 80, phases=1, slices=5)
    images[:, 2] //= 2
    shown: list[NDArray[np.float32]] = []

    def run(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        shown.append(batch)
        return (batch[:, 0] > 0.2).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)

    found = segment(images, contract, run, pixel_mm=(1.0, 1.0))
    assert sum(len(batch) for batch in shown) == 5
    assert (found.square.side, found.found) == (135, True)
    assert dice(found.labels == 1, truth > 0) > 0.95
    assert shown[0][2].max() == pytest.approx(0.5, abs=0.05)


def test_photographs_are_phases_of_one_slice_and_each_keeps_its_largest_lesion() -> None:
    contract = draft_contract(Task.SKIN, prepare_for(Task.SKIN))
    photographs = np.full((3, 1, 90, 140, 3), 200, dtype=np.uint8)
    photographs[:, :, 20:60, 30:90] = (90, 40, 30)
    photographs[1, :, 70:80, 110:120] = (90, 40, 30)

    def run(batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        assert batch.shape == (1, 3, 128, 128)
        return (batch[:, 1] < 0.5).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)

    found = segment(photographs, contract, run)
    assert found.labels.shape == (3, 1, 90, 140)
    assert [piece.count for piece in found.pieces] == [1, 2, 1]
    for labels in found.labels[:, 0]:
        assert dice(labels[20:60, 30:90] == 1, np.ones((40, 60), bool)) > 0.97
        assert labels.sum() == labels[19:61, 29:91].sum()
    assert found.raw()[1, 0, 75, 115] == 1


@pytest.mark.parametrize(
    ("task", "shape"), [(Task.SKIN, (1, 1, 9, 9)), (Task.SKIN, (1, 1, 9, 9, 4)), (Task.PROSTATE, (1, 1, 9, 9, 3))]
)
def test_grey_for_colour_and_colour_for_grey_are_refused(task: Task, shape: tuple[int, ...]) -> None:
    with pytest.raises(Refused, match="red, green" if task is Task.SKIN else "grey") as caught:
        segment(np.zeros(shape), draft_contract(task, prepare_for(task)), bright)
    assert caught.value.code == "not_a_volume"


def test_a_prostate_with_values_that_are_no_numbers_is_refused() -> None:
    images = np.zeros((1, 2, 9, 9))
    images[0, 1, 4, 4] = np.nan
    with pytest.raises(Refused, match="not finite"):
        segment(images, draft_contract(Task.PROSTATE, prepare_for(Task.PROSTATE)), bright)


@pytest.mark.parametrize("times", [2, 3])
def test_pixels_that_are_not_square_give_the_same_answer(times: int) -> None:
    images, truth = cine(phases=2, slices=2)
    wide = images.repeat(times, axis=3)
    plain = segment(images, CONTRACT, bright)
    found = segment(wide, CONTRACT, bright, pixel_mm=(1.5, 1.5 / times))
    assert found.square.side == pytest.approx(plain.square.side, rel=0.05)
    for value in (2, 3):
        assert dice(found.labels == value, truth.repeat(times, axis=3) == value) > 0.93
