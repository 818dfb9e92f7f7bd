"""Agreement of masks with the truth, what is ragged about them, and how sure a mean is (numpy and scipy)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from contracts.prepare import Masks


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of one shape; both empty: 1, one empty: 0."""
    total = int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(predicted & truth)) / total if total else 1.0


def dice_by_label(predicted: Masks, truth: Masks, names: Sequence[str]) -> dict[str, float]:
    """Return the Dice coefficient of each label over whole arrays of one shape; ``names[0]`` is the label 1."""
    return {name: dice(predicted == value, truth == value) for value, name in enumerate(names, start=1)}


def hd95(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: Sequence[float] | None = None) -> float:
    """Return the 95th percentile of the distances between the surfaces of two masks of one shape, both ways pooled.

    A surface is a mask less its erosion by direct neighbours; what lies outside the array counts as outside the mask.
    ``spacing`` per axis gives the unit; without it distances are in voxels. Both empty: 0; one empty: the diagonal of
    the array, since a structure that was missed must not look good. Source: the evaluation of SSL4MIS (medpy's hd95),
    which counts 0 there.
    """
    steps = np.ones(truth.ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    if predicted.any() != truth.any():
        return float(np.linalg.norm(np.array(truth.shape) * steps))
    if not truth.any():
        return 0.0
    box = _box(predicted | truth)
    one, other = _surface(predicted[box]), _surface(truth[box])
    there = ndimage.distance_transform_edt(~other, sampling=steps)[one]
    back = ndimage.distance_transform_edt(~one, sampling=steps)[other]
    return float(np.percentile(np.concatenate([there, back]), 95))


def hd95_by_label(predicted: Masks, truth: Masks, names: Sequence[str]) -> dict[str, float]:
    """Return ``hd95`` in voxels of each label over whole arrays of one shape; ``names[0]`` is the label 1."""
    return {name: hd95(predicted == value, truth == value) for value, name in enumerate(names, start=1)}


def stray_components(labels: Masks, names: Sequence[str]) -> int:
    """Return how many pieces of labels [slice, row, column] stand apart from the largest piece of their structure.

    Pieces are components of one structure, connected over faces, edges and corners; ``names[0]`` is the label 1.
    """
    every = np.ones((3,) * labels.ndim, dtype=bool)
    counts = [ndimage.label(labels == value, structure=every)[1] for value in range(1, len(names) + 1)]
    return sum(max(count - 1, 0) for count in counts)


def holes(labels: Masks) -> int:
    """Return how many patches of background the structures of labels [slice, row, column] enclose within their slice.

    A patch is connected over edges; one that reaches the border of the slice is no hole. The cavity of the left
    ventricle is none, since it has a label.
    """
    return sum(ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)[1] for plane in labels > 0)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(mask & ~ndimage.binary_erosion(mask))


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    return tuple(slice(int(where.min()), int(where.max()) + 1) for where in mask.nonzero())


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
