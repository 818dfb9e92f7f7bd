"""What lies around a made-up heart: chest wall, lung, diaphragm, liver, stomach. Units as in ``anatomy``."""

import numpy as np
from numpy.typing import NDArray

from client.samples.anatomy import BLOOD, FAT, LIVER, LUNG, MUSCLE, SPLEEN, STOMACH, Body, Field

AIR = 0.02


def paint_chest(body: Body, depth: float, u: Field, v: Field) -> Field:
    """Return the brightness of everything but the heart, which lies on the diaphragm with lung above and beside it."""
    skin = _outline(body, u, v, (13, 18), (140, 168), 3)
    ribs = _outline(body, u, v, (18, 6), (86, 96), 5)
    angle = np.arctan2(v - 6, u - 18)
    uneven = np.cos(2 * angle + body.ripples[10]) + 0.5 * np.cos(5 * angle + body.ripples[7] + depth)
    picture = np.where(skin < 1, FAT, AIR)
    picture = np.where((ribs < 1.42 + 0.06 * uneven) & (skin < 0.96), MUSCLE * 0.85, picture)
    for radius, thick in ((1.13, 0.008), (1.26, 0.007)):
        seam = np.abs(ribs - radius - 0.02 * uneven) < thick * (1 + np.cos(3 * angle + body.ripples[8] + 9 * radius))
        picture = np.where(seam & (skin < 0.96), 0.75 * FAT, picture)
    bone = np.abs(ribs - 1.06) < 0.03 * np.cos(5.5 * angle + body.ripples[11] + 0.8 * depth) ** 2
    picture = np.where(bone & (np.cos(11 * angle + 2 * body.ripples[11] + 1.6 * depth) > 0.1), 0.6, picture)
    picture = np.where(ribs < 1.0, LUNG, picture)
    picture = _lung_vessels(body, depth, u, v, picture, ribs < 0.96)
    return _belly(body, depth, u, v, picture, ribs)


def _outline(body: Body, u: Field, v: Field, middle: tuple[float, float], half: tuple[float, float], key: int) -> Field:
    """Return the relative radius of an uneven ellipse: 1 on its line."""
    x, y = (u - middle[0]) / half[0], (v - middle[1]) / half[1]
    angle = np.arctan2(y, x)
    ripples = sum(0.03 / k * np.cos(k * angle + body.ripples[(key + k) % 16]) for k in (2, 3, 4, 5))
    radius: Field = (np.abs(x) ** 2.3 + np.abs(y) ** 2.3) ** (1 / 2.3) / (1 + ripples)
    return radius


def _lung_vessels(body: Body, depth: float, u: Field, v: Field, picture: Field, inside: NDArray[np.bool_]) -> Field:
    spots = np.zeros_like(picture)
    for where, height, size, way in body.vessels[:45]:
        at = 14 + 170 * (where - 0.5) + 30 * (depth - 0.5) * (way - 0.5), -100 + 140 * height
        _add_spot(spots, u, v, at, 0.9 + 1.8 * size**3, 0.5 * (0.4 + 0.6 * way))
    return np.where(inside, picture + spots, picture)


def _add_spot(picture: Field, u: Field, v: Field, at: tuple[float, float], radius: float, height: float) -> None:
    """Add a soft round spot to a picture in place; only its neighbourhood is computed."""
    reach = 3 * radius
    columns = slice(*np.searchsorted(u[0], (at[0] - reach, at[0] + reach)))
    rows = slice(*np.searchsorted(v[:, 0], (at[1] - reach, at[1] + reach)))
    squared = (u[rows, columns] - at[0]) ** 2 + (v[rows, columns] - at[1]) ** 2
    picture[rows, columns] += height * np.exp(-squared / radius**2)


def _belly(body: Body, depth: float, u: Field, v: Field, picture: Field, ribs: Field) -> Field:
    """Liver over the left and the middle, stomach and spleen on the right under a dome, fat and great vessels below."""
    dome = 26 - 7 * depth + 0.0022 * (u + 8) ** 2 * (1 + 0.3 * depth) + 2 * np.cos(0.05 * u + body.ripples[12])
    below = v - dome
    inside = (ribs < 1.02) & (below > 0)
    picture = np.where(inside, STOMACH * (1 + 0.3 * np.cos(0.05 * u + 0.03 * v + body.ripples[13])), picture)
    liver = _outline(body, u, v, (-70, 60), (118 + 14 * depth, 74), 7)
    stomach = _outline(body, u, v, (60, 64 - 5 * depth), (30, 24 + 4 * depth), 9)
    spleen = _outline(body, u, v, (92, 84), (18, 34), 11)
    lower = _outline(body, u, v, (40, 112), (70, 34), 13)
    picture = np.where(inside & (lower < 1), 0.8 * FAT, picture)
    picture = np.where(inside & (spleen < 1), SPLEEN, picture)
    picture = np.where(inside & (np.abs(stomach - 1) < 0.05), 0.7 * FAT, picture)
    picture = np.where(inside & (np.abs(liver - 1) < 0.02), 0.7 * FAT, picture)
    spots = np.zeros_like(picture)
    for where, height, size, way in body.vessels[45:]:
        at = -30 + 140 * (where - 0.5), 74 + 90 * (height - 0.5)
        _add_spot(spots, u, v, at, 1 + 2.5 * size, 0.2 * (way - 0.25))
    picture = np.where(inside & (liver < 1), LIVER + spots, picture)
    aorta = np.hypot(u - 62 - 4 * depth, v - 96)
    picture = np.where(aorta < 11.5, MUSCLE, picture)
    picture = np.where(aorta < 10, BLOOD * 0.95, picture)
    return np.where((ribs < 1.02) & (np.abs(below) < 1.2), MUSCLE * 0.9, picture)
