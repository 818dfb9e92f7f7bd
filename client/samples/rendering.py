"""From a made-up chest to images as a scanner gives them: blur, coil shading, noise; and the true labels."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client.samples.anatomy import Body, Field, contraction, label, paint_heart, section
from client.samples.chest import paint_chest

FINER = 2
"""Everything is painted on pixels this many times finer and averaged, so that borders share pixels as they do in MR."""

BLOOD_VALUE = 620.0
NOISE = 0.022
MOTTLE = ((6.0, 0.2), (3.0, 0.22))
"""Sizes in mm and strengths of the unevenness of tissue; smooth organs would look like nothing that a scanner shows."""

FAT_SHARE, HEART_SHARE = 0.3, 0.2
"""How much of it shows in fat and in the heart."""

FIRST_DEPTH, LAST_DEPTH = 0.06, 0.95
HEART_BOX_MM = 78.0


def plane(rows: int, columns: int, spacing: float, finer: int = 1) -> tuple[Field, Field]:
    """Return (u, v) [row, column] in mm of the pixel centres of a picture, ``finer`` times finer than its pixels."""
    v = ((np.arange(rows * finer) + 0.5) / finer - rows / 2) * spacing
    u = ((np.arange(columns * finer) + 0.5) / finer - columns / 2) * spacing
    across, down = np.meshgrid(u, v)
    return across.astype(np.float32), down.astype(np.float32)


def render(
    body: Body,
    *,
    slices: int,
    phases: int,
    rows: int,
    columns: int,
    spacing: float,
    centre: tuple[float, float],
    seed: int,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Return images uint16 and true labels uint8, both [phase, slice, row, column]; slices from apex to base.

    ``centre`` (u, v) in mm is the middle of the left ventricle at the base, from the middle of the picture. The chest
    moves with the heart, as it does when a technician centres a picture badly.
    """
    noise = np.random.default_rng([seed, 1])
    images = np.empty((phases, slices, rows, columns), dtype=np.uint16)
    labels = np.zeros(images.shape, dtype=np.uint8)
    fine_u, fine_v = plane(rows, columns, spacing, FINER)
    u, v = plane(rows, columns, spacing)
    shading = _coil(u, v)
    box, fine_box = _box(u, v, centre), _box(fine_u, fine_v, centre)
    for index, depth in enumerate(np.linspace(LAST_DEPTH, FIRST_DEPTH, slices)):
        chest = paint_chest(body, float(depth), fine_u - centre[0], fine_v - centre[1])
        mottle = _mottle(chest.shape, spacing / FINER, noise)
        chest *= np.clip(1 + mottle * np.where(chest > 0.9, FAT_SHARE, 1), 0.2, None)
        heart_mottle = 1 + HEART_SHARE * mottle[fine_box]
        for phase in range(phases):
            part = section(body, float(depth), contraction(phase / phases), centre)
            labels[phase, index][box] = label(body, part, u[box], v[box])
            fine = chest.copy()
            around = chest[fine_box]
            heart = paint_heart(body, part, fine_u[fine_box], fine_v[fine_box], around)
            fine[fine_box] = np.where(heart == around, around, heart * heart_mottle)
            images[phase, index] = _scan(fine, shading, noise)
    return images, labels


def _box(u: Field, v: Field, centre: tuple[float, float]) -> tuple[slice, slice]:
    """Return the part of a picture that the heart can reach."""
    columns = np.flatnonzero(np.abs(u[0] - centre[0]) < HEART_BOX_MM)
    rows = np.flatnonzero(np.abs(v[:, 0] - centre[1]) < HEART_BOX_MM)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _mottle(shape: tuple[int, ...], spacing: float, noise: np.random.Generator) -> Field:
    """Return the unevenness of tissue: soft spots of two sizes, about 0 on average."""
    mottle = np.zeros(shape, dtype=np.float32)
    for size_mm, strength in MOTTLE:
        spots = ndimage.gaussian_filter(noise.standard_normal(shape, dtype=np.float32), size_mm / spacing, truncate=2.5)
        mottle += strength * spots / spots.std()
    return mottle


def _coil(u: Field, v: Field) -> Field:
    """Return the sensitivity of coils on the chest: higher towards the top and the left of the picture."""
    return 0.82 + 0.42 * np.exp(-np.hypot(u + 90, v + 130) / 110) + 0.18 * np.exp(-np.hypot(u - 120, v + 40) / 70)


def _scan(fine: Field, shading: Field, noise: np.random.Generator) -> NDArray[np.uint16]:
    rows, columns = fine.shape[0] // FINER, fine.shape[1] // FINER
    coarse = fine.reshape(rows, FINER, columns, FINER).mean(axis=(1, 3))
    signal = ndimage.gaussian_filter(coarse, 0.55) * shading
    real, imaginary = NOISE * noise.standard_normal((2, rows, columns), dtype=np.float32)
    values: NDArray[np.uint16] = np.round(BLOOD_VALUE * np.hypot(signal + real, imaginary)).astype(np.uint16)
    return values
