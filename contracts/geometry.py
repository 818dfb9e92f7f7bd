"""Planes in the patient: normals, distances along them, and what counts as the same (LPS, mm)."""

import math
from collections.abc import Sequence

from contracts.instances import Cosines, Plane, Vector

ORIENTATION_TOLERANCE = 1e-4
"""Largest difference of a direction cosine within one stack; scanners write six digits and round each by itself."""
SPACING_TOLERANCE = 1e-3
"""Largest relative difference of pixel spacings within one stack."""
POSITION_TOLERANCE_MM = 0.2
"""Positions closer than this along the normal are one slice: finer than any slice distance, coarser than rounding."""


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Inner product of two vectors."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def normal_of(orientation: Cosines) -> Vector:
    """Unit normal of a plane: row direction x column direction (PS3.3 section C.7.6.2.1.1)."""
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    return (normal[0] / length, normal[1] / length, normal[2] / length)


def same_orientation(a: Cosines, b: Cosines) -> bool:
    """Whether two orientations are one, by differences and not by rounding, which would cut between near values."""
    return all(abs(x - y) <= ORIENTATION_TOLERANCE for x, y in zip(a, b, strict=True))


def same_spacing(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Whether two pixel spacings are one."""
    return all(abs(x - y) <= SPACING_TOLERANCE * max(x, y) for x, y in zip(a, b, strict=True))


def group_by_position(planes: Sequence[Plane], normal: Vector) -> list[tuple[float, list[Plane]]]:
    """Group planes by their distance along ``normal``, ascending: (mean distance in mm, planes) of each slice.

    The order of planes within a slice is that of ``planes``.
    """
    placed = sorted(((dot(plane.position, normal), index) for index, plane in enumerate(planes)))
    groups: list[list[tuple[float, int]]] = []
    for distance, index in placed:
        if groups and distance - groups[-1][0][0] <= POSITION_TOLERANCE_MM:
            groups[-1].append((distance, index))
        else:
            groups.append([(distance, index)])
    return [(sum(d for d, _ in g) / len(g), [planes[i] for _, i in sorted(g, key=lambda p: p[1])]) for g in groups]


def in_plane_offset(position: Vector, origin: Vector, normal: Vector) -> float:
    """How far a position lies, in mm, from the straight line through ``origin`` along ``normal``."""
    step = (position[0] - origin[0], position[1] - origin[1], position[2] - origin[2])
    along = dot(step, normal)
    return math.hypot(*(s - along * n for s, n in zip(step, normal, strict=True)))
