"""Agreement of masks with the truth, and how sure a mean of it is (numpy only)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.prepare import Masks


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of one shape; both empty: 1, one empty: 0."""
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(predicted & truth)) / total if total else 1.0


def dice_by_label(predicted: Masks, truth: Masks, names: Sequence[str]) -> dict[str, float]:
    """Return the Dice coefficient of each label over whole arrays of one shape; ``names[0]`` is the label 1."""
    return {name: dice(predicted == value, truth == value) for value, name in enumerate(names, start=1)}


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def bootstrap_mean(
    values: Sequence[float], groups: Sequence[str] | None = None, draws: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of ``values`` with a percentile bootstrap interval of 95 %.

    ``groups`` names for each value what is drawn as a whole (the patient of a volume); without it each value is drawn
    on its own. The same arguments give the same interval.
    """
    if not len(values):
        raise ValueError("no values")
    names = list(groups) if groups is not None else [str(i) for i in range(len(values))]
    kinds, which = np.unique(names, return_inverse=True)
    sums = np.bincount(which, weights=np.asarray(values, dtype=np.float64))
    counts = np.bincount(which)
    drawn = np.random.default_rng(seed).integers(len(kinds), size=(draws, len(kinds)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high))
