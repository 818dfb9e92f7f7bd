"""Slices in memory, and the order in which a training run sees them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.cases import Case
from contracts.prepare import Ends, Masks, Prepare, Square, answer_square, grey_ends


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice with a label for every pixel.

    ``image`` [row, column] of grey values or [row, column, channel] of colours, any dtype; ``label`` uint8 [row,
    column]: an expert's, a frozen teacher's, or all 0 where nobody labelled it and no method asks; ``region`` is where
    serving looks for its answer, ``ends`` the grey scale that it takes (None: each view its own).
    """

    image: NDArray[Any]
    label: Masks
    region: Square
    ends: Ends | None = None


def slices_of(case: Case, prepare: Prepare, labels: Masks | None = None, region: Square | None = None) -> list[Slice]:
    """Return the slices of one case, phase by phase.

    ``labels`` [phase, slice, row, column] and ``region`` are what a teacher saw. Without them the case's own labels
    stand, and the region is what serving would take if its coarse pass were right.
    """
    labels = case.labels if labels is None else labels
    region = region or answer_square(np.logical_or.reduce(labels > 0), prepare, case.pixel_mm)
    return [
        Slice(image, label, region, ends)
        for volume, masks in zip(case.images, labels, strict=True)
        for ends in (grey_ends(volume, region, prepare),)
        for image, label in zip(volume, masks, strict=True)
    ]


def drawn(count: int, batch: int, step: int, key: tuple[int, ...]) -> list[int]:
    """Return which of ``count`` slices step number ``step`` takes: every epoch is a permutation of its own.

    A function of its arguments only, so that a resumed run draws what the uninterrupted one would have drawn. ``key``
    tells streams and seeds apart.
    """
    positions = range(step * batch, (step + 1) * batch)
    orders = {
        epoch: np.random.default_rng((*key, epoch)).permutation(count) for epoch in {p // count for p in positions}
    }
    return [int(orders[position // count][position % count]) for position in positions]
