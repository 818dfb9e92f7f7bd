"""Whether a mask may leave by itself, or waits for a person to look at it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.measurements import Measurements
from contracts.segment import Segmented
from contracts.sizes import Sizes
from contracts.tasks import LABELS, Task

LEAST_SHARE = 0.75
"""Share of the found voxels that must lie in one piece in the middle phase of all phases, before the filter."""

MOST_FIGURES = 3
"""Implausible figures that a reason names; the others stand with the measurements."""

LEAST_VOXELS = 20
"""Fewer voxels than this of a structure in a phase count as none: a few pixels are noise, not anatomy."""


@dataclass(frozen=True)
class Doubt:
    """Why a result is held: a stable code and a sentence for the person who decides."""

    code: str
    sentence: str


def doubt(segmented: Segmented, task: Task, figures: Measurements | Sizes | None = None) -> Doubt | None:
    """Return the first reason not to deliver a mask by itself, ``None`` where there is none.

    ``figures`` are those of the mask, where its task has some.
    """
    labels = segmented.labels
    if not (labels > 0).any():
        return Doubt("nothing_found", "No structure was found in any image.")
    for check in (_missing_structures, _in_pieces, _at_the_border):
        found = check(segmented, labels, task)
        if found is not None:
            return found
    return _implausible(figures) if isinstance(figures, Measurements) else None


def _missing_structures(segmented: Segmented, labels: NDArray[np.uint8], task: Task) -> Doubt | None:
    for label in LABELS[task]:
        voxels = (labels == label.value).sum(axis=(1, 2, 3))
        empty = np.flatnonzero(voxels < LEAST_VOXELS)
        if empty.size:
            return Doubt("structure_missing", f"{label.title}: not found in {_phases(empty.tolist(), len(voxels))}.")
    return None


def _in_pieces(segmented: Segmented, labels: NDArray[np.uint8], task: Task) -> Doubt | None:
    share = float(np.median([piece.largest_share for piece in segmented.pieces]))
    if share < LEAST_SHARE:
        return Doubt(
            "in_pieces", f"The structures lie in pieces: the largest holds only {share:.0%} of what was found."
        )
    return None


def _at_the_border(segmented: Segmented, labels: NDArray[np.uint8], task: Task) -> Doubt | None:
    if task is Task.SKIN:  # a lesion larger than the field of a dermoscope is cut off in a good photograph, too
        return None
    edges = (labels[..., 0, :], labels[..., -1, :], labels[..., :, 0], labels[..., :, -1])
    if any((edge > 0).any() for edge in edges):
        return Doubt("at_the_border", "The mask reaches the border of the image: part of the organ lies outside it.")
    return None


def _implausible(figures: Measurements) -> Doubt | None:
    found = [one.words for one in figures.implausible]
    if not found:
        return None
    more = f" and {len(found) - MOST_FIGURES} more" if len(found) > MOST_FIGURES else ""
    return Doubt(
        "implausible_measurements",
        f"No heart measures like this, so the mask is probably wrong: {'; '.join(found[:MOST_FIGURES])}{more}. Compare "
        "the outlines with the images at end-diastole and end-systole.",
    )


def _phases(empty: Sequence[int], total: int) -> str:
    if len(empty) == total:
        return "any phase" if total > 1 else "the images"
    return "phase " + ", ".join(str(phase + 1) for phase in empty[:5]) + (" and more" if len(empty) > 5 else "")
