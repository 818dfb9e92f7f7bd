"""A test inference with a known answer: does a model still say, here, what it said when it was published?

The answer is kept as pixels per label and compared with a tolerance, because processors round differently and a few
pixels at an outline may fall to the other side.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from contracts.model_contract import ModelContract

TOLERANCE = 0.02
"""Largest difference of a label's pixels, as a share of all labelled pixels of the known answer."""
_BROWN, _SKIN = (0.40, 0.24, 0.18), (0.82, 0.62, 0.54)


def known_slice(contract: ModelContract) -> NDArray[np.float32]:
    """Return the slice of the test inference, float32 [1, channel, row, column], the same in every process.

    It looks enough like the real thing that a mask of some size comes out: for grey values a bright disc in a darker
    ring, for colours a brown spot on skin.
    """
    rows, columns = contract.input.shape[-2:]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    radius = np.hypot(x, y)
    if contract.prepare.channels == 3:
        spot = 1 / (1 + np.exp(30 * (radius - 0.4)))
        brown, skin = np.array(_BROWN)[:, None, None], np.array(_SKIN)[:, None, None]
        return np.ascontiguousarray((skin + (brown - skin) * spot)[None], dtype=np.float32)
    plane = np.where(radius < 0.25, 0.8, np.where(radius < 0.4, 0.2, 0.35 + 0.1 * np.cos(9 * radius)))
    return np.ascontiguousarray(np.broadcast_to(plane, (1, *contract.input.shape)), dtype=np.float32)


def count_labels(labels: NDArray[np.uint8], contract: ModelContract) -> dict[str, int]:
    """Return the pixels of each label of the contract in an answer uint8 [n, row, column], by label name."""
    return {label.name: int(np.count_nonzero(labels == label.value)) for label in contract.labels}


def agrees(counts: Mapping[str, int], known: Mapping[str, int]) -> bool:
    """Return whether an answer's counts are those of the known one, within ``TOLERANCE``."""
    allowed = TOLERANCE * max(sum(known.values()), 1)
    return counts.keys() == known.keys() and all(abs(counts[name] - known[name]) <= allowed for name in known)
