"""The one way from a volume to a mask: prepare, the network passes through ``run``, restore.

Gateway, evaluation, parity and gate all come through here, for every task. Source of the recipe: trials on ACDC, where
the largest component of the *union* of the structures was worth up to 2.5 points of Dice and a filter per structure was
not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Broken, Refused
from contracts.instances import Cosines
from contracts.model_contract import ModelContract
from contracts.prepare import (
    FloatImages,
    Masks,
    Prepare,
    Square,
    answer_square,
    grey_ends,
    largest_component,
    pixel_aspect,
    prepare_slices,
    restore_slices,
    whole_square,
)
from contracts.upright import Turn, turn_of

BATCH = 16
"""Most slices that are prepared and handed to ``run`` at once: bounds memory whatever the study's size."""

Run = Callable[[FloatImages], Masks]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pieces:
    """What the structures of one phase looked like before the component filter.

    ``count`` components of their union; ``largest_share`` voxels of the largest over all (1 where nothing was found).
    """

    count: int
    largest_share: float


@dataclass(frozen=True, eq=False)
class Segmented:
    """A mask and how it came about.

    ``labels`` uint8 [phase, slice, row, column]; ``square`` of the pass that answered in pixel indices of the slices as
    the network saw them, one for all phases; ``found`` by the coarse pass where there is one, else at all; ``pieces``
    one entry a phase. What the component filter changed is kept as flat indices into ``labels`` (``changed_at``) and
    the labels that stood there before (``changed_from``).
    """

    labels: Masks
    square: Square
    found: bool
    pieces: tuple[Pieces, ...]
    changed_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    changed_from: Masks = field(default_factory=lambda: np.empty(0, dtype=np.uint8))

    def raw(self) -> Masks:
        """Return the labels before the component filter, uint8 [phase, slice, row, column]."""
        labels = self.labels.copy()
        labels.reshape(-1)[self.changed_at] = self.changed_from
        return labels


def segment(
    images: NDArray[np.generic],
    contract: ModelContract,
    run: Run,
    progress: Progress | None = None,
    pixel_mm: tuple[float, float] | None = None,
    orientation: Cosines | None = None,
) -> Segmented:
    """Segment a stack.

    ``images`` [phase, slice, row, column], for a network of three channels [phase, slice, row, column, channel] in red,
    green and blue from 0 to 255; any real dtype, slices in order along their normal, photographs as phases of one slice
    each. ``run`` takes float32 [n, channel, input_side, input_side] in 0..1, n <= 16, and returns uint8
    [n, output_side, output_side]. ``progress`` hears (slices done, slices in all) of all passes. ``pixel_mm`` is the
    distance (between rows, between columns), None where it is not known or invented. ``orientation`` holds the cosines
    of the directions along a row and down a column in the patient (LPS), None where they are not known: a network of
    the view ``centre`` sees the slices upright (:mod:`contracts.upright`). The window of the answer is the same for all
    phases.

    Raises ``Refused`` ``not_a_volume`` for other axes than the contract's, an empty one or values that are not finite,
    and ``Broken`` ``bad_output`` where ``run`` answers in another shape, dtype or label than the contract's.
    """
    _check_axes(images.shape, contract.prepare)
    turn = turn_of(orientation if contract.prepare.view == "centre" else None)
    found = _segment(turn.upright(images), contract, run, progress, turn.spacing(pixel_mm))
    if turn == Turn():
        return found
    labels, raw = (np.ascontiguousarray(turn.stored(each)) for each in (found.labels, found.raw()))
    changed = np.flatnonzero(labels != raw)
    return replace(found, labels=labels, changed_at=changed, changed_from=raw.reshape(-1)[changed])


def _segment(
    images: NDArray[np.generic],
    contract: ModelContract,
    run: Run,
    progress: Progress | None,
    pixel_mm: tuple[float, float] | None,
) -> Segmented:
    phases, slices = images.shape[:2]
    looked_at = _spread(phases, contract.prepare.coarse_phases) if contract.prepare.view == "heart" else []
    work = _Pass(contract, run, progress, total=slices * (len(looked_at) + phases))
    rows, columns = images.shape[2:4]
    whole = whole_square(rows, columns, pixel_aspect(pixel_mm))
    coarse = np.zeros(images.shape[1:4], dtype=bool)
    for phase in looked_at:
        coarse |= work.volume(images[phase], whole) > 0
    heart, _ = largest_component(coarse)
    square = answer_square(heart, contract.prepare, pixel_mm)
    labels = np.empty(images.shape[:4], dtype=np.uint8)
    pieces, places, values = [], [], []
    for phase in range(phases):
        raw = work.volume(images[phase], square)
        labels[phase], left = keep_largest(raw)
        changed = np.flatnonzero(raw != labels[phase])
        pieces.append(left)
        places.append(changed + phase * raw.size)
        values.append(raw.reshape(-1)[changed])
    found = bool(heart.any() if looked_at else labels.any())
    return Segmented(labels, square, found, tuple(pieces), np.concatenate(places), np.concatenate(values))


def keep_largest(labels: Masks) -> tuple[Masks, Pieces]:
    """Keep of labels [slice, row, column] what lies in the largest 26-connected component of their union."""
    kept, sizes = largest_component(labels > 0)
    share = sizes[0] / sum(sizes) if sizes else 1.0
    return np.where(kept, labels, 0).astype(np.uint8), Pieces(len(sizes), share)


@dataclass
class _Pass:
    """Runs volumes through the network in batches and counts slices."""

    contract: ModelContract
    run: Run
    progress: Progress | None
    total: int
    done: int = 0

    def volume(self, volume: NDArray[np.generic], square: Square) -> Masks:
        """Return labels uint8 [slice, row, column] of one volume of that shape, seen through ``square``."""
        if not all(np.isfinite(plane).all() for plane in volume):
            raise Refused("not_a_volume", "The images hold values that are not finite numbers.")
        labels = np.empty(volume.shape[:3], dtype=np.uint8)
        ends = grey_ends(volume, square, self.contract.prepare)
        for start in range(0, len(volume), BATCH):
            part = volume[start : start + BATCH]
            answer = self.run(prepare_slices(part, square, self.contract.prepare, ends))
            self._check(answer, len(part))
            labels[start : start + BATCH] = restore_slices(answer, square, *volume.shape[1:3])
            self.done += len(part)
            if self.progress:
                self.progress(self.done, self.total)
        return labels

    def _check(self, answer: Masks, count: int) -> None:
        expected = (count, *self.contract.output.shape)
        if answer.shape != expected or answer.dtype != np.uint8:
            raise Broken("bad_output", f"The model answered {answer.dtype} {answer.shape}, not uint8 {expected}.")
        if answer.size and int(answer.max()) > len(self.contract.labels):
            raise Broken("bad_output", "The model answered a label that its contract does not name.")


def _check_axes(shape: tuple[int, ...], prepare: Prepare) -> None:
    grey = prepare.channels == 1
    if 0 in shape or len(shape) != (4 if grey else 5) or (not grey and shape[4] != prepare.channels):
        pixels = "pixels in grey" if grey else "pixels in red, green and blue"
        raise Refused("not_a_volume", f"The images are not a stack of phases and slices with {pixels}.")


def _spread(phases: int, most: int) -> list[int]:
    """Return at most ``most`` phase indices, equally spaced over the cycle, starting with the first."""
    return [phase * phases // min(most, phases) for phase in range(min(most, phases))]
