"""Laws of ``prepare`` and ``restore``: where a pixel goes it comes back from, whatever the size of the slice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from contracts.prepare import (
    Prepare,
    Square,
    answer_square,
    grey_ends,
    heart_square,
    largest_component,
    pixel_aspect,
    prepare_for,
    prepare_slices,
    restore_slices,
    scale_grey,
    whole_square,
)
from contracts.scores import dice
from contracts.tasks import Task

LINEAR = Prepare(low_percentile=0, high_percentile=100, high_value=1)
sizes = st.integers(61, 301)


def enlarged(prepared: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """What an exported graph does with its probabilities: bilinear to the label grid, then a decision."""
    finer = LINEAR.model_copy(update={"input_side": side})
    return (prepare_slices(prepared[:, 0], whole_square(*prepared.shape[2:]), finer)[:, 0] > 0.5).astype(np.uint8)


def ellipse(rows: int, columns: int, row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
    down = (np.arange(rows)[:, None] - row) / height
    across = (np.arange(columns)[None] - column) / width
    return down**2 + across**2 < 1


@settings(max_examples=30, deadline=None)
@given(rows=sizes, columns=sizes, turn=st.floats(0.3, 0.7), size=st.floats(0.14, 0.3), stretch=st.floats(0.75, 1.3))
def test_labels_survive_the_way_there_and_back(
    rows: int, columns: int, turn: float, size: float, stretch: float
) -> None:
    shorter = min(rows, columns)
    truth = ellipse(rows, columns, turn * rows, (1 - turn) * columns, size * shorter, size * stretch * shorter)
    passes = ((whole_square(rows, columns), 0.88), (heart_square(truth[None], Prepare()), 0.95))
    for square, floor in passes:  # the coarse pass only has to find the heart
        prepared = prepare_slices(truth[None].astype(np.float32), square, LINEAR)
        found = restore_slices(enlarged(prepared, 256), square, rows, columns)[0]
        assert dice(found == 1, truth) >= floor


@settings(max_examples=40, deadline=None)
@given(row=st.floats(70, 90), column=st.floats(80, 120), off=st.floats(-12, 12), side=st.floats(80, 400))
def test_a_spot_is_seen_in_the_cell_of_the_convention(row: float, column: float, off: float, side: float) -> None:
    """The centre of a spot, found in cells and brought back to pixels, is where it was drawn: to a tenth of a pixel."""
    far = np.hypot(np.arange(161)[:, None] - row, np.arange(203)[None] - column)
    spot = np.exp(-((far / 5) ** 2))[None].astype(np.float32)
    square = Square(row + off, column - off, side)
    seen = prepare_slices(spot, square, LINEAR)[0, 0]
    cells = np.arange(128)
    for axis, centre, truth in ((1, square.row, row), (0, square.column, column)):
        cell = float((seen.sum(axis=axis) * cells).sum() / seen.sum())
        assert centre + ((cell + 0.5) / 128 - 0.5) * side == pytest.approx(truth, abs=0.1)


@settings(max_examples=40, deadline=None)
@given(down=st.integers(-25, 25), across=st.integers(-25, 25), side=st.floats(40, 90), seed=st.integers(0, 99))
def test_a_shifted_picture_under_a_shifted_square(down: int, across: int, side: float, seed: int) -> None:
    picture = np.zeros((1, 181, 173), dtype=np.float32)
    picture[:, 60:120, 55:115] = np.random.default_rng(seed).random((60, 60))
    moved = np.roll(picture, (down, across), axis=(1, 2))
    here = prepare_slices(picture, Square(90, 85, side), Prepare())
    there = prepare_slices(moved, Square(90 + down, 85 + across, side), Prepare())
    np.testing.assert_allclose(here, there, atol=1e-5)


@given(seed=st.integers(0, 999), gain=st.floats(0.01, 50), offset=st.floats(-500, 500))
def test_grey_scaling_forgets_gain_and_offset(seed: int, gain: float, offset: float) -> None:
    picture = np.random.default_rng(seed).random((2, 16, 16)).astype(np.float32)
    changed = (picture * gain + offset).astype(np.float32)
    scaled = scale_grey(picture, Prepare())
    assert scaled.dtype == np.float32
    assert scaled.min() >= 0
    assert scaled.max() <= 1
    np.testing.assert_allclose(scale_grey(changed, Prepare()), scaled, atol=2e-2 if gain < 1 else 2e-3)


def test_each_slice_is_scaled_by_itself() -> None:
    random = np.random.default_rng(0)
    one, two = random.random((1, 40, 40)), 100 * random.random((1, 40, 40))
    both = prepare_slices(np.concatenate([one, two]), whole_square(40, 40), Prepare())
    np.testing.assert_array_equal(both[:1], prepare_slices(one, whole_square(40, 40), Prepare()))


@settings(deadline=None)
@given(value=st.integers(-3000, 30000), row=st.floats(20, 30), side=st.floats(5, 30))
def test_a_flat_slice_becomes_black(value: int, row: float, side: float) -> None:
    """Also where resampling leaves it flat but for rounding."""
    flat = np.full((1, 51, 50), value, dtype=np.int16)
    assert not prepare_slices(flat, Square(row, 24.7, side), Prepare()).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_any_real_dtype_gives_the_same_picture(dtype: type) -> None:
    picture = np.random.default_rng(1).integers(0, 200, (2, 33, 47))
    reference = prepare_slices(picture, whole_square(33, 47), Prepare())
    np.testing.assert_array_equal(prepare_slices(picture.astype(dtype), whole_square(33, 47), Prepare()), reference)


def test_a_coarse_grid_averages_instead_of_aliasing() -> None:
    stripes = np.zeros((1, 512, 512), dtype=np.float32)
    stripes[:, :, ::2] = 1
    seen = prepare_slices(stripes, whole_square(512, 512), LINEAR.model_copy(update={"input_side": 64}))[
        0, 0, 2:-2, 2:-2
    ]
    assert np.ptp(seen) < 0.02


def test_the_outside_of_the_square_is_background() -> None:
    labels = np.full((1, 256, 256), 3, dtype=np.uint8)
    restored = restore_slices(labels, Square(50, 60, 20), 101, 119)[0]
    rows, columns = restored.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 59, 50, 69)
    assert restored.sum() == 3 * 20 * 20


def test_a_square_that_reaches_beyond_the_slice_is_allowed() -> None:
    labels = np.ones((2, 256, 256), dtype=np.uint8)
    assert restore_slices(labels, Square(0, 0, 500), 31, 17).all()
    assert prepare_slices(np.ones((2, 31, 17)), Square(-100, -100, 20), Prepare()).shape == (2, 1, 128, 128)


@settings(max_examples=50, deadline=None)
@given(rows=sizes, columns=sizes, row=st.floats(0.1, 0.9), column=st.floats(0.1, 0.9), size=st.floats(0.02, 0.45))
def test_the_fine_square_holds_the_heart(rows: int, columns: int, row: float, column: float, size: float) -> None:
    heart = np.stack([ellipse(rows, columns, row * rows, column * columns, size * rows, size * rows)] * 2)
    heart[:, int(row * rows), int(column * columns)] = True
    square = heart_square(heart, Prepare())
    for centre, axis in ((square.row, (0, 2)), (square.column, (0, 1))):
        where = np.flatnonzero(heart.any(axis=axis))
        assert centre - square.side / 2 <= where[0] + 0.5
        assert centre + square.side / 2 >= where[-1] - 0.5
    assert 0.3 * min(rows, columns) <= square.side <= max(rows, columns)


def test_nothing_found_gives_the_centre_square() -> None:
    assert heart_square(np.zeros((3, 100, 141), dtype=bool), Prepare()) == Square(49.5, 70, 70)


def test_the_largest_component_joins_over_corners_and_reports_all_sizes() -> None:
    mask = np.zeros((3, 10, 10), dtype=bool)
    mask[0, 2, 2] = mask[1, 3, 3] = mask[2, 4, 4] = True
    mask[0, 8, 8:10] = True
    kept, found = largest_component(mask)
    assert found == (3, 2)
    assert kept.sum() == 3
    assert not kept[0, 8].any()


def test_no_component_in_an_empty_mask() -> None:
    kept, found = largest_component(np.zeros((2, 4, 4), dtype=bool))
    assert not kept.any()
    assert found == ()


CENTRE, PHOTOGRAPH = prepare_for(Task.PROSTATE), prepare_for(Task.SKIN)


def test_each_task_has_its_decision_and_takes_changes() -> None:
    assert prepare_for(Task.CARDIAC) == Prepare()
    assert (CENTRE.view, CENTRE.channels, CENTRE.centre_mm) == ("centre", 1, 135)
    assert (PHOTOGRAPH.view, PHOTOGRAPH.channels) == ("photograph", 3)
    assert prepare_for(Task.SKIN, input_side=96) == PHOTOGRAPH.model_copy(update={"input_side": 96})
    with pytest.raises(ValidationError):
        prepare_for(Task.SKIN, input_sides=96)


@given(rows=sizes, columns=sizes, row_mm=st.floats(0.3, 2), column_mm=st.floats(0.3, 2))
def test_the_centre_square_is_one_in_millimetres(rows: int, columns: int, row_mm: float, column_mm: float) -> None:
    square = answer_square(np.zeros((1, rows, columns), bool), CENTRE, (row_mm, column_mm))
    assert (square.row, square.column) == ((rows - 1) / 2, (columns - 1) / 2)
    assert square.side * row_mm == pytest.approx(135)
    assert square.width * column_mm == pytest.approx(135)


def test_without_a_spacing_the_centre_square_is_a_share_of_the_slice() -> None:
    """192 mm is what a prostate is scanned with as a rule: 0.7 of it is the same square."""
    assert answer_square(np.zeros((1, 320, 384), bool), CENTRE) == Square(159.5, 191.5, 0.7 * 320)


def test_the_photograph_is_squashed_as_a_whole() -> None:
    """Its four quarters become the four quarters of what the network sees, whatever its shape and pixel spacing."""
    photograph = np.zeros((1, 60, 101, 3), dtype=np.uint8)
    photograph[:, 30:, :51, 0] = photograph[:, :30, 51:, 1] = photograph[:, 30:, 51:, 2] = 255
    square = answer_square(np.zeros((1, 60, 101), bool), PHOTOGRAPH, (0.1, 0.3))
    assert square.side == 60
    assert square.width == pytest.approx(101)
    seen = prepare_slices(photograph, square, PHOTOGRAPH, grey_ends(photograph, square, PHOTOGRAPH))
    assert seen.shape == (1, 3, 128, 128)
    assert seen.dtype == np.float32
    quarters = seen.reshape(3, 2, 64, 2, 64)[:, :, 8:-8, :, 8:-8]
    np.testing.assert_allclose(quarters[0], np.array([[0, 0], [1, 0]])[:, None, :, None] * np.ones(quarters[0].shape))
    np.testing.assert_allclose(quarters[1], np.array([[0, 1], [0, 0]])[:, None, :, None] * np.ones(quarters[1].shape))
    np.testing.assert_allclose(quarters[2], np.array([[0, 0], [0, 1]])[:, None, :, None] * np.ones(quarters[2].shape))


@settings(max_examples=30, deadline=None)
@given(rows=sizes, columns=sizes, turn=st.floats(0.3, 0.7), size=st.floats(0.14, 0.3), stretch=st.floats(0.75, 1.3))
def test_a_lesion_survives_being_squashed(rows: int, columns: int, turn: float, size: float, stretch: float) -> None:
    truth = ellipse(rows, columns, turn * rows, (1 - turn) * columns, size * rows, size * stretch * columns)
    square = answer_square(truth[None], PHOTOGRAPH)
    photograph = np.repeat(truth[None, :, :, None] * np.uint8(255), 3, axis=3)
    prepared = prepare_slices(photograph, square, PHOTOGRAPH, grey_ends(photograph, square, PHOTOGRAPH))
    found = restore_slices(enlarged(prepared[:, :1], 256), square, rows, columns)[0]
    assert dice(found == 1, truth) >= 0.95


@settings(max_examples=20, deadline=None)
@given(times=st.sampled_from([2, 3]), size=st.floats(0.05, 0.2), across=st.booleans())
def test_pixels_that_are_not_square_show_the_same_heart(times: int, size: float, across: bool) -> None:
    """A slice of which each row (or column) is written several times, with its spacing, is the same slice."""
    heart = ellipse(150, 150, 66, 81, 150 * size, 120 * size)
    picture = np.random.default_rng(0).random(heart.shape).astype(np.float32) + heart
    axis, pixel_mm = (1, (1.0, 1 / times)) if across else (0, (1 / times, 1.0))
    wide, wide_heart = picture.repeat(times, axis=axis), heart.repeat(times, axis=axis)
    plain, stretched = answer_square(heart[None], Prepare()), answer_square(wide_heart[None], Prepare(), pixel_mm)
    assert stretched.aspect == pytest.approx(times if across else 1 / times)
    here = prepare_slices(picture[None], plain, Prepare())
    there = prepare_slices(wide[None], stretched, Prepare())
    assert np.abs(here - there).mean() < 0.05
    rows, columns = wide.shape
    whole = whole_square(rows, columns, pixel_aspect(pixel_mm))
    assert whole.side * pixel_mm[0] == pytest.approx(150)
    assert whole.width * pixel_mm[1] == pytest.approx(150)


def test_one_grey_scale_for_a_volume_keeps_slices_apart_in_brightness() -> None:
    volume = np.random.default_rng(0).integers(0, 1000, (5, 40, 50)).astype(np.int16)
    volume[3] //= 2
    square = answer_square(np.zeros(volume.shape, bool), CENTRE)
    ends = grey_ends(volume, square, CENTRE)
    together = prepare_slices(volume, square, CENTRE, ends)
    assert together[3].mean() == pytest.approx(together[2].mean() / 2, rel=0.05)
    np.testing.assert_array_equal(together[3:4], prepare_slices(volume[3:4], square, CENTRE, ends))


@given(gain=st.floats(0.1, 50), offset=st.integers(-500, 500))
def test_the_grey_scale_of_a_volume_forgets_gain_and_offset(gain: float, offset: int) -> None:
    volume = np.random.default_rng(0).random((2, 30, 30)).astype(np.float32)
    changed = (volume * gain + offset).astype(np.float32)
    square = answer_square(np.zeros(volume.shape, bool), CENTRE)
    one, two = (prepare_slices(v, square, CENTRE, grey_ends(v, square, CENTRE)) for v in (volume, changed))
    np.testing.assert_allclose(one, two, atol=2e-3 if gain > 1 else 2e-2)


def test_the_grey_scale_is_that_of_the_square() -> None:
    """A crop of it, with the spacing, gives the same picture as the whole field of view with a bright arm in it."""
    whole = np.random.default_rng(0).integers(0, 800, (3, 320, 320)).astype(np.uint16)
    whole[:, :, :20] = 4000
    cut = whole[:, 47:-47, 47:-47]
    pixel_mm = (0.6, 0.6)
    squares = [answer_square(np.zeros(v.shape, bool), CENTRE, pixel_mm) for v in (whole, cut)]
    ends = [grey_ends(v, square, CENTRE) for v, square in zip((whole, cut), squares, strict=True)]
    assert ends[0] == ends[1]
    there, here = (prepare_slices(v, s, CENTRE, e) for v, s, e in zip((whole, cut), squares, ends, strict=True))
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_a_square_beside_the_slice_still_has_a_grey_scale() -> None:
    assert grey_ends(np.full((1, 9, 9), 3.0), Square(-50, 80, 4), CENTRE) == (3.0, 3.0)
