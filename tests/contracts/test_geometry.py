"""Normals, distances and what counts as the same."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.describe import describe
from contracts.geometry import group_by_position, in_plane_offset, normal_of, same_orientation, same_spacing
from contracts.instances import Plane
from tests.builders import AXIAL, SHORT_AXIS, Exam, axis_aligned

REAL: Any = st.floats(-200, 200)


def plane_at(distance: float) -> Plane:
    """An axial plane at a height."""
    exam = Exam()
    (plane,) = describe(exam.image(exam.next_series(), 1, (0, 0, 0), np.zeros((4, 4), np.uint16), AXIAL)).planes
    return replace(plane, position=(0.0, 0.0, distance))


def test_there_are_24_axis_aligned_orientations_with_unit_normals() -> None:
    orientations = list(axis_aligned())
    assert len(set(orientations)) == 24
    for orientation in orientations:
        row, column = np.array(orientation[:3]), np.array(orientation[3:])
        np.testing.assert_array_equal(normal_of(orientation), np.cross(row, column))


def test_the_normal_of_short_axis_planes_lies_along_the_heart() -> None:
    left, behind, up = normal_of(SHORT_AXIS)
    assert left < 0
    assert behind > 0
    assert up > 0


@given(st.integers(0, 5))
def test_orientations_are_compared_by_difference(index: int) -> None:
    near, far = list(SHORT_AXIS), list(SHORT_AXIS)
    near[index] += 9.9e-5
    far[index] -= 1.1e-4
    assert same_orientation(SHORT_AXIS, tuple(near))  # type: ignore[arg-type]
    assert not same_orientation(SHORT_AXIS, tuple(far))  # type: ignore[arg-type]


def test_spacings_are_compared_by_their_share() -> None:
    assert same_spacing((1.3672, 1.3672), (1.367188, 1.367188))
    assert not same_spacing((1.3672, 1.3672), (1.3672, 1.38))


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_planes_are_grouped_by_slice_in_ascending_order(heights: list[int], seed: Any) -> None:
    planes = [plane_at(5.0 * height + seed.uniform(-0.05, 0.05)) for height in heights]
    groups = group_by_position(planes, (0.0, 0.0, 1.0))
    assert [round(distance / 5) for distance, _ in groups] == sorted(set(heights))
    assert sum(len(group) for _, group in groups) == len(planes)
    for _, group in groups:
        assert group == [plane for plane in planes if plane in group]


@given(st.tuples(REAL, REAL, REAL), st.floats(-100, 100), st.floats(0, 20))
def test_the_offset_is_the_distance_from_the_line(
    origin: tuple[float, float, float], along: float, aside: float
) -> None:
    normal = np.array(normal_of(SHORT_AXIS))
    position = np.array(origin) + along * normal + aside * np.array(SHORT_AXIS[:3])
    assert in_plane_offset(tuple(position), origin, tuple(normal)) == pytest.approx(aside, abs=1e-6)
