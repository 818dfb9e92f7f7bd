"""A made-up heart that beats, seen along its long axis: what lies where, and how bright it is.

Coordinates are millimetres in the image plane, from its middle: ``u`` to the right, ``v`` down; ``depth``
runs from 0 at the base to 1 near the apex. Brightness is relative to the blood of the left ventricle, as in balanced
steady-state cine MR: fat brightest, blood bright, muscle a third of it, lung nearly black. Sizes, proportions and
contrasts follow the middle of what is seen in healthy adults; nothing here comes from a patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]

BLOOD, RIGHT_BLOOD, MUSCLE, FAT, LUNG, LIVER, SPLEEN, STOMACH = 1.0, 0.84, 0.34, 1.15, 0.11, 0.27, 0.36, 0.45
PERICARDIUM, RIGHT_WALL = 0.14, 2.4
RIM, RIM_MM = 0.55, 1.6
EJECTED_RADIUS = 0.66
"""Radius of the cavity at end systole in units of that at end diastole: with the walls' thickening an EF of 56 %."""

WALL_GAIN = 1.22
"""Area of the wall in a slice at end systole in units of that at end diastole: the heart also shortens."""


@dataclass(frozen=True)
class Body:
    """One made-up person: sizes in mm, angles in radians; drawn from a seed."""

    cavity: float
    wall: float
    turn: float
    flat: float
    ripples: NDArray[np.float64]
    vessels: NDArray[np.float64]


def person(seed: int) -> Body:
    """Return a person; the seed changes sizes by a few per cent, the heart's rotation and the small structures."""
    draw = np.random.default_rng(seed)
    return Body(
        cavity=26.0 * draw.uniform(0.96, 1.04),
        wall=7.8 * draw.uniform(0.96, 1.04),
        turn=draw.uniform(-0.35, 0.1),
        flat=draw.uniform(0.95, 1.0),
        ripples=draw.uniform(0, 2 * np.pi, size=16),
        vessels=draw.uniform(0, 1, size=(90, 4)),
    )


def contraction(moment: float) -> float:
    """Return how far the heart has contracted, 0 at end diastole to 1 at end systole, at a fraction of the cycle.

    Systole takes 0.36 of the cycle, then fast filling to 85 %, rest, and the push of the atria.
    """
    if moment < 0.36:
        return float(0.5 - 0.5 * np.cos(np.pi * moment / 0.36))
    if moment < 0.68:
        return float(0.15 + 0.85 * (0.5 + 0.5 * np.cos(np.pi * (moment - 0.36) / 0.32)))
    if moment < 0.85:
        return 0.15
    return float(0.15 * (0.5 + 0.5 * np.cos(np.pi * (moment - 0.85) / 0.15)))


@dataclass(frozen=True)
class Section:
    """The heart in one slice at one moment, in mm: centre of the left ventricle, radii, and the right ventricle."""

    u: float
    v: float
    inner: float
    outer: float
    right_wide: float
    right_high: float
    right_reach: float


def section(body: Body, depth: float, contracted: float, centre: tuple[float, float]) -> Section:
    """Return the heart at ``depth`` for a contraction 0..1; ``centre`` (u, v) of the left ventricle at the base."""
    taper = np.sqrt(max(1 - 0.9 * depth**2.2, 0.0))
    inner = body.cavity * taper * (1 - 0.12 * depth)
    wall = body.wall * (1 - 0.2 * depth)
    area = ((inner + wall) ** 2 - inner**2) * (1 + (WALL_GAIN - 1) * contracted)
    inner *= 1 - (1 - EJECTED_RADIUS) * contracted * (1 + 0.15 * depth)
    outer = float(np.sqrt(inner**2 + area))
    right = max(1 - 0.5 * depth - 0.35 * depth**4, 0.0) * (1 - 0.2 * contracted)
    size = body.cavity + body.wall
    return Section(
        u=centre[0] + 5 * depth,
        v=centre[1] - 3 * depth + 1.5 * contracted,
        inner=float(inner),
        outer=outer,
        right_wide=0.98 * size * right * (1 - 0.1 * contracted),
        right_high=1.12 * size * right,
        right_reach=float(outer * 0.98),
    )


def heart_frame(body: Body, part: Section, u: Field, v: Field) -> tuple[Field, Field]:
    """Return coordinates (along the septum's normal, along the septum) of the left ventricle's centre."""
    x, y = u - part.u, v - part.v
    return x * np.cos(body.turn) + y * np.sin(body.turn), -x * np.sin(body.turn) + y * np.cos(body.turn)


def left_radius(body: Body, part: Section, u: Field, v: Field) -> Field:
    """Return the distance from the left ventricle's centre in mm, on slightly flattened and uneven circles."""
    x, y = heart_frame(body, part, u, v)
    angle = np.arctan2(y, x)
    uneven = 1 + 0.02 * np.cos(3 * angle + body.ripples[0]) + 0.015 * np.cos(5 * angle + body.ripples[1])
    radius: Field = np.hypot(x / body.flat, y) / uneven
    return radius


def right_depth(body: Body, part: Section, u: Field, v: Field) -> Field:
    """Return how deep a point lies in the right ventricle's outline: 0 at its edge, 1 in its middle, negative outside.

    The outline is an egg beside the left ventricle, pointed towards the two lines where it meets the septum.
    """
    if part.right_wide < 4:
        return np.full(u.shape, -1.0)
    x, y = heart_frame(body, part, u, v)
    x = x + part.right_reach - 0.10 * y
    y = y - 0.08 * part.outer
    angle = np.arctan2(y / part.right_high, x / part.right_wide)
    uneven = 1 + 0.04 * np.cos(2 * angle + body.ripples[2]) + 0.03 * np.cos(4 * angle + body.ripples[3])
    depth: Field = 1 - np.hypot(x / part.right_wide, y / part.right_high) / uneven
    return depth


def label(body: Body, part: Section, u: Field, v: Field) -> NDArray[np.uint8]:
    """Return the true labels: 1 right ventricle, 2 myocardium of the left one, 3 its cavity with its muscles."""
    radius = left_radius(body, part, u, v)
    labels = np.where(right_depth(body, part, u, v) > 0, 1, 0)
    labels = np.where(radius < part.outer, 2, labels)
    return np.where(radius < part.inner, 3, labels).astype(np.uint8)


def paint_heart(body: Body, part: Section, u: Field, v: Field, around: Field) -> Field:
    """Return the brightness of heart and pericardial fat on top of what is ``around`` them."""
    radius, right = left_radius(body, part, u, v), right_depth(body, part, u, v)
    right_mm = right * min(part.right_wide, part.right_high) if part.right_wide >= 4 else np.full(u.shape, -99.0)
    x, y = heart_frame(body, part, u, v)
    gap = np.minimum(radius - part.outer, -right_mm - RIGHT_WALL)  # mm from the nearest wall outwards
    fat = _fat_thickness(body, part, x, y)
    picture = np.where(gap < fat + 0.9, PERICARDIUM, around)
    picture = np.where(gap < fat, 0.85 * FAT, picture)
    picture = np.where(right_mm > -RIGHT_WALL, MUSCLE, picture)
    texture = 1 + 0.05 * np.cos(0.21 * u + body.ripples[5]) * np.cos(0.17 * v + body.ripples[6])
    picture = np.where(
        right_mm > 0, RIGHT_BLOOD * texture * (1 - _right_trabeculae(body, part, x, y, right_mm)), picture
    )
    picture = np.where(radius < part.outer, MUSCLE * (1 + 0.04 * np.cos(0.3 * u - 0.2 * v)), picture)
    cavity = BLOOD * texture * (1 - _papillaries(body, part, x, y)) * (1 - _rim(body, part, radius, x, y))
    return np.where(radius < part.inner, cavity, picture)


def _fat_thickness(body: Body, part: Section, x: Field, y: Field) -> Field:
    """Return how much fat lies on the heart in mm: most in the grooves where the ventricles meet, hardly any beside."""
    groove = np.exp(-(((x + part.outer * 0.5) / 9) ** 2)) * np.exp(-(((np.abs(y) - part.outer * 1.02) / 5) ** 2))
    thickness: Field = np.maximum(0.4 + 5.5 * groove + 1.2 * np.cos(np.arctan2(y, x) * 2 + body.ripples[4]), 0)
    return thickness


def _right_trabeculae(body: Body, part: Section, x: Field, y: Field, right_mm: Field) -> Field:
    """Return how much darker muscle strands make the right ventricle near its free wall, 0..1."""
    strands = 0.5 + 0.5 * np.cos(0.9 * x + 0.6 * y + body.ripples[7]) * np.cos(0.5 * x - 0.8 * y + body.ripples[8])
    free_wall = np.hypot(x, y) > part.outer + 3
    darker: Field = 0.45 * strands * np.exp(-np.maximum(right_mm, 0) / 3.5) * free_wall
    return darker


def _rim(body: Body, part: Section, radius: Field, x: Field, y: Field) -> Field:
    """Return how much darker the fine trabeculae at the wall make the cavity, to which readers count them, 0..1."""
    angle = np.arctan2(y, x)
    uneven = 0.6 + 0.4 * np.cos(9 * angle + body.ripples[15]) * np.cos(4 * angle + body.ripples[9])
    darker: Field = RIM * uneven * np.exp(-(((part.inner - radius) / RIM_MM) ** 2))
    return darker


def _papillaries(body: Body, part: Section, x: Field, y: Field) -> Field:
    """Return how much darker the two papillary muscles and the trabeculae beside them make the cavity, 0..1."""
    darker = np.zeros(x.shape)
    for angle, size in ((0.75, 0.17), (2.2, 0.15)):
        at_x, at_y = part.inner * 0.74 * np.cos(angle), part.inner * 0.74 * np.sin(angle)
        spread = max(part.inner * size, 1.5)
        darker += 0.5 * np.exp(-((((x - at_x) ** 2 + (y - at_y) ** 2) / spread**2) ** 2))
    return np.clip(darker, 0, 0.55)
