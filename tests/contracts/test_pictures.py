"""Pictures outline what is labelled, fill nothing, and say that they are for research."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from contracts.pictures import BACKGROUND, MARK, overlay_sheet, thumbnail, tile
from contracts.tasks import LABELS, Task
from tests.photographs import skin, spot

COLOURS = [label.rgb for label in LABELS[Task.CARDIAC]]


def grey_heart(
    phases: int = 3, slices: int = 2, rows: int = 60, columns: int = 50
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return images of noise and labels of a right ventricle beside a ring around a cavity."""
    down, along = np.mgrid[0:rows, 0:columns]
    images = np.random.default_rng(0).uniform(0, 900, (phases, slices, rows, columns)).astype(np.float32)
    labels = np.zeros(images.shape, dtype=np.uint8)
    labels[..., np.hypot(down - 30, along - 16) < 9] = 1
    labels[..., np.hypot(down - 30, along - 30) < 11] = 2
    labels[..., np.hypot(down - 30, along - 30) < 6] = 3
    return images, labels


def coloured(picture: Image.Image, rgb: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return where a picture [row, column] has a colour."""
    same: NDArray[np.bool_] = (np.asarray(picture) == rgb).all(axis=-1)
    return same


def test_each_structure_is_outlined_in_its_colour_and_none_is_filled() -> None:
    images, labels = grey_heart()
    picture = tile(images, labels, Task.CARDIAC, 0, 0, side=600)
    assert picture.size == (500, 600)
    for label in LABELS[Task.CARDIAC]:
        lines = coloured(picture, label.rgb)
        inside = np.asarray(Image.fromarray(labels[0, 0] == label.value).resize(picture.size))
        assert lines.sum() > 60
        assert lines.sum() < 0.1 * inside.sum() + 400
    x, y = 300 + 5, 300 + 5
    assert len(set(np.asarray(picture)[y, x].tolist())) == 1, "grey inside of the cavity"


def test_lines_run_around_the_structure_not_through_it() -> None:
    images, labels = grey_heart()
    cavity = np.zeros_like(labels)
    cavity[labels == 3] = 3
    where = np.argwhere(coloured(tile(images, cavity, Task.CARDIAC, 0, 0, side=600), COLOURS[2])) / 10 - 0.5
    distance = np.hypot(where[:, 0] - 30, where[:, 1] - 30)
    assert distance.min() > 5
    assert distance.max() < 7


def test_where_two_structures_meet_there_is_one_line() -> None:
    images, labels = grey_heart()
    picture = tile(images, labels, Task.CARDIAC, 0, 0, side=600)
    middle_row = np.asarray(picture)[300, :, :]
    seen = [COLOURS.index(tuple(pixel)) for pixel in middle_row.tolist() if tuple(pixel) in COLOURS]
    runs = [value for place, value in enumerate(seen) if place == 0 or seen[place - 1] != value]
    assert runs == [0, 1, 2, 1]


def test_the_sheet_has_a_row_a_slice_and_a_column_a_phase() -> None:
    images, labels = grey_heart(phases=5, slices=3)
    one, other = (
        overlay_sheet(images, labels, Task.CARDIAC, side=100),
        overlay_sheet(images[:, :2], labels[:, :2], Task.CARDIAC, side=100),
    )
    assert one.height - other.height == 104
    assert overlay_sheet(images, labels, Task.CARDIAC, side=100, phases=[0, 1, 2, 3, 4, 0]).width - one.width == 104


def test_marked_phases_are_always_shown_and_marked() -> None:
    images, labels = grey_heart(phases=30)
    plain = overlay_sheet(images, labels, Task.CARDIAC)
    marked = overlay_sheet(images, labels, Task.CARDIAC, marked={"ED": 2, "ES": 12})
    nothing = overlay_sheet(images, labels, Task.CARDIAC, marked={"ED": None, "ES": None})
    below_the_title = slice(60, 84)
    assert not coloured(plain, MARK)[below_the_title].any()
    columns = np.flatnonzero(coloured(marked, MARK)[below_the_title].any(axis=0))
    assert np.ptp(columns) > 152
    assert marked.width <= plain.width
    assert np.array_equal(np.asarray(nothing), np.asarray(plain))


@pytest.mark.parametrize("task", list(Task))
def test_every_picture_names_its_use_and_every_sheet_its_structures(task: Task) -> None:
    images, labels = grey_heart()
    labels[labels > len(LABELS[task])] = 0
    sheet = overlay_sheet(images, labels, task)
    assert coloured(sheet, MARK)[:30].any()
    for label in LABELS[task]:
        assert coloured(sheet, label.rgb)[30:60].any()
    for picture in (tile(images, labels, task, 0, 0), thumbnail(images, labels, task)):
        assert coloured(picture, BACKGROUND)[-20:].any()


def test_slices_of_a_single_phase_fill_several_columns() -> None:
    images, labels = grey_heart(phases=1, slices=10)
    sheet = overlay_sheet(images, labels, Task.CARDIAC, side=100)
    assert sheet.width > 8 * 100
    assert sheet.height < 4 * 104


def test_the_thumbnail_shows_where_most_is_labelled() -> None:
    images, labels = grey_heart(phases=2, slices=3)
    few = np.zeros_like(labels)
    few[1, 2] = labels[1, 2]
    images[:] = 0
    images[1, 2] = 800
    images[1, 2, :5] = 0
    assert np.asarray(thumbnail(images, few, Task.CARDIAC)).mean() > 100


def test_nothing_labelled_still_gives_pictures() -> None:
    images, labels = grey_heart()
    labels[:] = 0
    for picture in (
        overlay_sheet(images, labels, Task.CARDIAC),
        tile(images, labels, Task.CARDIAC, 0, 0),
        thumbnail(images, labels, Task.CARDIAC),
    ):
        assert not any(coloured(picture, rgb)[90:].any() for rgb in COLOURS)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_any_shape_gives_pictures_and_changes_no_input(
    phases: int, slices: int, rows: int, columns: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 2 + 300 * seed, (phases, slices, rows, columns)).astype(np.int16)
    labels = draw.integers(0, 4, images.shape, dtype=np.uint8)
    before = images.copy(), labels.copy()
    overlay_sheet(images, labels, Task.CARDIAC, side=40)
    thumbnail(images, labels, Task.CARDIAC)
    tile(images, labels, Task.CARDIAC, phases - 1, slices - 1, side=100)
    assert np.array_equal(before[0], images)
    assert np.array_equal(before[1], labels)


def photographs(frames: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return photographs [frame, 1, row, column, 3] of a lesion and the labels of it."""
    where = spot(60, 80)
    images = np.stack([skin(where)[None]] * frames)
    return images, np.stack([where[None].astype(np.uint8)] * frames)


def test_a_photograph_is_shown_in_its_own_colours() -> None:
    images, labels = photographs()
    picture = np.asarray(tile(images, labels, Task.SKIN, 0, 0, side=800)).astype(int)
    assert picture.shape == (600, 800, 3)
    for row, column in ((5, 5), (24, 50)):
        assert np.abs(picture[10 * row + 5, 10 * column + 5] - images[0, 0, row, column]).max() < 4


def test_the_outline_of_a_lesion_lies_between_skin_and_lesion_on_a_dark_line() -> None:
    images, labels = photographs()
    picture = tile(images, labels, Task.SKIN, 0, 0, side=800)
    lines, dark = coloured(picture, LABELS[Task.SKIN][0].rgb), coloured(picture, BACKGROUND)
    where = np.argwhere(lines) / 10
    distance = np.hypot(where[:, 0] / 60 - 0.4, where[:, 1] / 80 - 0.65)
    assert lines.sum() > 100
    assert distance.max() < 0.18 + 2 / 60
    beside = lines.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside |= np.roll(lines, step, axis)
    assert (dark[beside].sum() + lines.sum()) / beside.sum() > 0.5, "on its outer side it is dark"


def test_the_only_tile_of_a_sheet_is_large_and_frames_stand_side_by_side() -> None:
    images, labels = photographs()
    alone = overlay_sheet(images, labels, Task.SKIN, side=148)
    assert alone.width > 3 * 148
    assert coloured(alone, LABELS[Task.SKIN][0].rgb).sum() > 100
    several = overlay_sheet(*photographs(4), Task.SKIN, side=148)
    assert several.width > 4 * 148 > alone.width
    assert several.height < 300


def test_a_thumbnail_of_a_photograph_without_a_lesion_shows_all_of_it() -> None:
    images, labels = photographs()
    picture = np.asarray(thumbnail(images, np.zeros_like(labels), Task.SKIN, side=80)).astype(int)
    assert np.abs(picture[40, 52] - images[0, 0, 30, 52]).max() < 20
