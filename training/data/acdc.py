"""The ACDC slices in memory, and the order in which a training run sees them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.cases import Case
from contracts.prepare import Masks, Prepare, Square, heart_square


@dataclass(frozen=True, eq=False)
class Slice:
    """One labelled slice: ``image`` uint16 and ``label`` uint8 [row, column]; ``heart`` is its patient's square."""

    image: NDArray[np.uint16]
    label: Masks
    heart: Square


def slices_of(case: Case, prepare: Prepare) -> list[Slice]:
    """Return the slices of one patient, phase by phase.

    Its square is what the coarse pass would give if it were right: that of its labels of both phases.
    """
    heart = heart_square(np.logical_or.reduce(case.labels > 0), prepare)
    planes = zip(
        case.images.reshape(-1, *case.images.shape[2:]), case.labels.reshape(-1, *case.labels.shape[2:]), strict=True
    )
    return [Slice(image, label, heart) for image, label in planes]


def drawn(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Return which of ``count`` slices step number ``step`` takes: every epoch is a permutation of its own.

    A function of its arguments only, so that a resumed run draws what the uninterrupted one would have drawn.
    """
    positions = range(step * batch, (step + 1) * batch)
    orders = {
        epoch: np.random.default_rng((seed, 1, epoch)).permutation(count) for epoch in {p // count for p in positions}
    }
    return [int(orders[position // count][position % count]) for position in positions]
