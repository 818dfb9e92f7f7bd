"""Laws of Dice and of the bootstrap."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contracts.scores import bootstrap_mean, dice, dice_by_label, hd95, hd95_by_label, holes, stray_components

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


def cube(*start: int, side: int = 4, shape: tuple[int, ...] = (12, 14, 16)) -> np.ndarray:
    """A cube of one volume."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, first + side) for first in start)] = True
    return mask


volumes = st.lists(st.booleans(), min_size=60, max_size=60).map(lambda values: np.reshape(values, (3, 4, 5)))
spacings = st.tuples(*[st.floats(0.5, 9)] * 3)


@pytest.mark.parametrize(("shift", "spacing", "expected"), [(3, None, 3), (3, (1, 2.5, 1), 7.5), (0, None, 0)])
def test_two_cubes_lie_as_far_apart_as_they_were_shifted(
    shift: int, spacing: tuple[float, ...] | None, expected: float
) -> None:
    """More than 5 % of the surface voxels are those of the two faces, which are a whole shift away."""
    assert hd95(cube(2, 3, 5), cube(2, 3 + shift, 5), spacing) == pytest.approx(expected)


def test_one_stray_voxel_in_a_hundred_is_forgiven_and_one_in_ten_is_not() -> None:
    truth = cube(0, 0, 0, side=3)
    spotted = truth.copy()
    spotted[11, 13, 15] = True
    assert hd95(spotted, truth) == 0
    assert hd95(np.array([[1, 1, 0, 0, 0, 1]], bool), np.array([[1, 1, 0, 0, 0, 0]], bool)) > 2


@given(one=volumes, two=volumes, axes=st.permutations(range(3)), spacing=spacings)
def test_surface_distance_is_symmetric_and_knows_no_axis(
    one: np.ndarray, two: np.ndarray, axes: list[int], spacing: tuple[float, ...]
) -> None:
    plain = hd95(one, two, spacing)
    assert hd95(two, one, spacing) == pytest.approx(plain)
    turned = hd95(one.transpose(axes), two.transpose(axes), [spacing[axis] for axis in axes])
    assert turned == pytest.approx(plain)
    assert hd95(one, one, spacing) == 0
    assert 0 <= plain <= np.linalg.norm(np.array(one.shape) * spacing) + 1e-9


@given(one=volumes, two=volumes, spacing=spacings)
def test_surface_distance_is_what_a_search_over_all_pairs_finds(
    one: np.ndarray, two: np.ndarray, spacing: tuple[float, ...]
) -> None:
    def surface(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        inner = np.logical_and.reduce([np.roll(padded, by, axis) for axis in range(3) for by in (1, -1)])
        return np.argwhere(padded & ~inner) * spacing

    assume(one.any() and two.any())
    away = np.linalg.norm(surface(one)[:, None] - surface(two)[None], axis=2)
    pooled = np.concatenate([away.min(axis=1), away.min(axis=0)])
    assert hd95(one, two, spacing) == pytest.approx(np.percentile(pooled, 95))


def test_a_structure_that_was_missed_is_as_far_as_can_be() -> None:
    none, some = np.zeros((3, 4, 12), dtype=bool), np.ones((3, 4, 12), dtype=bool)
    assert hd95(none, none) == 0
    assert hd95(none, some) == hd95(some, none) == 13
    truth = np.array([[[0, 1, 1, 2]]], dtype=np.uint8)
    assert hd95_by_label(truth, truth, ("rv", "myo", "lv")) == {"rv": 0, "myo": 0, "lv": 0}


@given(labels=st.lists(st.integers(0, 3), min_size=60, max_size=60))
def test_pieces_and_holes_do_not_depend_on_which_way_round_a_volume_is(labels: list[int]) -> None:
    volume = np.reshape(np.array(labels, np.uint8), (3, 4, 5))
    names = ("rv", "myo", "lv")
    for turned in (volume[::-1], volume[:, ::-1], volume.transpose(0, 2, 1)):
        assert stray_components(turned, names) == stray_components(volume, names)
        assert holes(turned) == holes(volume)


def test_pieces_are_counted_for_each_structure() -> None:
    labels = np.zeros((3, 9, 9), dtype=np.uint8)
    assert stray_components(labels, ("rv", "myo")) == 0
    labels[0, 1, 1] = labels[1, 2, 2] = 1  # one piece, over a corner
    assert stray_components(labels, ("rv", "myo")) == 0
    labels[0, 7, 7] = labels[2, 0, 8] = 1
    labels[0, 7, 6] = 2
    assert stray_components(labels, ("rv", "myo")) == 2


def test_a_ring_around_background_has_a_hole_and_one_around_a_cavity_has_none() -> None:
    labels = np.zeros((2, 7, 7), dtype=np.uint8)
    labels[0, 2:5, 2:5] = 2
    labels[0, 3, 3] = 3
    assert holes(labels) == 0
    labels[0, 3, 3] = 0
    assert holes(labels) == 1
    labels[0, 2, 2:5] = 0
    assert holes(labels) == 0
    labels[1] = 1
    labels[1, 3, 3] = labels[1, 4, 4] = labels[1, 0, 0] = 0
    assert holes(labels) == 2


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
