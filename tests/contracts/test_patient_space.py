"""What stands between the tests and the patient: no alteration moves a pixel, and a SEG answers from its own place."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import FileDataset

from contracts.segmentations import write_segmentation
from tests.builders import SHORT_AXIS, Exam
from tests.contracts.benches import PROVENANCE, bench
from tests.patient_space import (
    Change,
    Placed,
    asked,
    mirrored_columns,
    mirrored_rows,
    placed,
    planes_of,
    resampled,
    rotated,
    stored_anew,
    window,
)

IMAGE = Placed(
    np.arange(1, 31, dtype=np.uint16).reshape(5, 6) * 100,
    np.array([3.0, -20.0, 7.5]),
    np.array([0.8, 0.6, 0.0]),
    np.array([-0.36, 0.48, -0.8]),
    (1.5, 2.0),
)
KEPT = [rotated(1), rotated(2), rotated(3), mirrored_columns, mirrored_rows, window(-2, -3, 11, 13), window(1, 2, 3, 9)]


@pytest.mark.parametrize("change", KEPT)
def test_no_pixel_moves_in_the_patient(change: Change) -> None:
    """Every pixel that is still there has the value that the image had at its place; the rest is 0."""
    changed = change(IMAGE)
    row, column, away = IMAGE.index(changed.points())
    assert away.max() < 1e-9
    nearest = np.rint([row, column])
    np.testing.assert_allclose([row, column], nearest, atol=1e-9)
    inside = ((nearest >= 0) & (nearest < np.array(IMAGE.pixels.shape)[:, None, None])).all(axis=0)
    there = tuple(np.where(inside, nearest, 0).astype(int))
    np.testing.assert_array_equal(changed.pixels, np.where(inside, IMAGE.pixels[there], 0))
    assert inside.any()


@given(quarters=st.integers(0, 7))
def test_four_quarters_are_none_and_two_mirrors_half_a_turn(quarters: int) -> None:
    same, turned = rotated(4)(IMAGE), rotated(2)(IMAGE)
    both = mirrored_rows(mirrored_columns(IMAGE))
    for one, other in ((same, IMAGE), (both, turned), (rotated(quarters)(IMAGE), rotated(quarters % 4)(IMAGE))):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_allclose(one.points(), other.points(), atol=1e-9)


def test_a_mirrored_plane_looks_the_other_way_and_a_turned_one_the_same() -> None:
    normal = np.cross(IMAGE.across, IMAGE.down)
    for change, sign in ((mirrored_columns, -1), (mirrored_rows, -1), (rotated(1), 1), (rotated(2), 1)):
        changed = change(IMAGE)
        np.testing.assert_allclose(np.cross(changed.across, changed.down), sign * normal, atol=1e-12)


@settings(deadline=None)
@given(factor=st.floats(0.4, 2.5))
def test_resampled_pixels_show_what_lies_at_their_place(factor: float) -> None:
    """On a gradient linear interpolation is exact but at the border, so the value names the place."""
    row, column = np.indices((40, 40))
    ramp = Placed((1000 + 20 * row + 7 * column).astype(np.uint16), IMAGE.position, IMAGE.across, IMAGE.down, (1.5, 2))
    changed = resampled(factor)(ramp)
    row, column, _ = ramp.index(changed.points())
    inner = (row > 4) & (row < 35) & (column > 4) & (column < 35)
    np.testing.assert_allclose(changed.pixels[inner], (1000 + 20 * row + 7 * column)[inner], atol=0.51)


@pytest.mark.parametrize("change", [*KEPT, resampled(1.3)])
def test_what_is_written_into_a_header_is_read_out_of_it(change: Change) -> None:
    made: FileDataset = Exam().image(("1.2", 1), 1, (1, 2, 3), IMAGE.pixels, SHORT_AXIS, (1.5, 1.25))
    expected = change(placed(made, IMAGE.pixels))
    stored = stored_anew(made, change)
    pixels = np.frombuffer(stored.PixelData, "<u2").reshape(stored.Rows, stored.Columns)
    np.testing.assert_array_equal(pixels, expected.pixels)
    np.testing.assert_allclose(placed(stored, pixels).points(), expected.points(), atol=1e-5)


def test_a_seg_answers_from_the_place_that_it_names() -> None:
    one = bench(rows=12, columns=10)
    labels = np.zeros((one.grid.slices, 12, 10), dtype=np.uint8)
    labels[1, 2:5, 3] = 1
    labels[1, 2:5, 4:6] = 2
    labels[3, 7, 8] = 3
    seg = dcmread(io.BytesIO(write_segmentation(labels, one.grid, 0, one.headers, PROVENANCE)))
    planes = planes_of(one.grid)
    np.testing.assert_array_equal(asked(seg, planes), labels)
    np.testing.assert_array_equal(asked(seg, planes[::-1]), labels[::-1])
    turned = [rotated(1)(plane) for plane in planes]
    np.testing.assert_array_equal(asked(seg, turned), np.rot90(labels, axes=(1, 2)))
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 1.25, *place.ImagePositionPatient[1:]]
    np.testing.assert_array_equal(asked(seg, planes)[:, :, 1:], labels[:, :, :-1])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        place = frame.PlanePositionSequence[0]
        place.ImagePositionPatient = [*place.ImagePositionPatient[:2], float(place.ImagePositionPatient[2]) + 4]
    assert not asked(seg, planes).any()
