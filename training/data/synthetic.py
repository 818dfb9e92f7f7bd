"""Drawn hearts: enough of an anatomy to show that a training run learns, where no data set is at hand."""

import numpy as np
from numpy.typing import NDArray

from contracts.cases import Case, cardiac_frames


def synthetic_cases(count: int, seed: int = 0, slices: int = 4, side: int = 96) -> list[Case]:
    """Return ``count`` patients of two phases, ``slices`` planes of about ``side`` pixels, with noise in their greys.

    A ring of myocardium around a bright cavity, a bright crescent at its left, a body around them.
    """
    random = np.random.default_rng((seed, 2))
    return [_case(f"patient{number:03d}", slices, side, random) for number in range(1, count + 1)]


def _case(name: str, slices: int, side: int, random: np.random.Generator) -> Case:
    rows, columns = side + 2 * int(random.integers(6)), side - 2 * int(random.integers(6))
    centre = np.array([rows, columns]) / 2 + random.uniform(-0.08, 0.08, 2) * side
    size = side * random.uniform(0.13, 0.17)
    labels = np.zeros((2, slices, rows, columns), dtype=np.uint8)
    for phase, squeeze in enumerate((1.0, 0.75)):
        for index in range(slices):
            labels[phase, index] = _labels(rows, columns, centre, size * (1 - 0.35 * index / slices), squeeze)
    greys = np.array([180, 700, 260, 800])[labels] + _body(rows, columns)
    images = np.clip(greys + random.normal(0, 40, labels.shape), 0, 1000).astype(np.uint16)
    return Case(name, images, labels, cardiac_frames(name))


def _labels(rows: int, columns: int, centre: NDArray[np.float64], size: float, squeeze: float) -> NDArray[np.uint8]:
    down = np.arange(rows)[:, None] - centre[0]
    across = np.arange(columns)[None] - centre[1]
    from_left = np.hypot(down, across)
    from_right = np.hypot(down / 1.1, across + 1.1 * size)
    inner = 0.62 * size * squeeze
    labels = np.zeros((rows, columns), dtype=np.uint8)
    labels[from_right < size * squeeze] = 1
    labels[from_left < size] = 2
    labels[from_left < inner] = 3
    return labels


def _body(rows: int, columns: int) -> NDArray[np.float64]:
    down = (np.arange(rows)[:, None] - rows / 2) / (0.48 * rows)
    across = (np.arange(columns)[None] - columns / 2) / (0.45 * columns)
    return np.where(down**2 + across**2 < 1, 0.0, -180.0)
