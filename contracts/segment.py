"""The one way from a volume to a mask: prepare, the network passes through ``run``, restore.

Gateway, evaluation, parity and gate all come through here. Source of the recipe: trials on ACDC, where the largest
component of the *union* of the structures was worth up to 2.5 points of Dice and a filter per structure was not.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Broken, Refused
from contracts.model_contract import ModelContract
from contracts.prepare import (
    FloatImages,
    Masks,
    Square,
    heart_square,
    largest_component,
    prepare_slices,
    restore_slices,
    whole_square,
)

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

    ``labels`` uint8 [phase, slice, row, column]; ``square`` of the fine pass in pixel indices, one for all phases;
    ``heart_found`` by the coarse pass; ``pieces`` one entry a phase. What the component filter changed is kept as flat
    indices into ``labels`` (``changed_at``) and the labels that stood there before (``changed_from``).
    """

    labels: Masks
    square: Square
    heart_found: bool
    pieces: tuple[Pieces, ...]
    changed_at: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    changed_from: Masks = field(default_factory=lambda: np.empty(0, dtype=np.uint8))

    def raw(self) -> Masks:
        """Return the labels before the component filter, uint8 [phase, slice, row, column]."""
        labels = self.labels.copy()
        labels.reshape(-1)[self.changed_at] = self.changed_from
        return labels


def segment(
    images: NDArray[np.generic], contract: ModelContract, run: Run, progress: Progress | None = None
) -> Segmented:
    """Segment a stack.

    ``images`` [phase, slice, row, column], any real dtype, slices in order along their normal. ``run`` takes float32
    [n, 1, input_side, input_side] in 0..1, n <= 16, and returns uint8 [n, output_side, output_side]. ``progress`` hears
    (slices done, slices in all) of both passes. The square of the fine pass is the same for all phases.

    Raises ``Refused`` ``not_a_volume`` for another number of axes, an empty one or values that are not finite, and
    ``Broken`` ``bad_output`` where ``run`` answers in another shape, dtype or label than the contract's.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise Refused("not_a_volume", "The images are not a stack of phases and slices with pixels.")
    phases, slices = images.shape[:2]
    chosen = _spread(phases, contract.prepare.coarse_phases)
    work = _Pass(contract, run, progress, total=slices * (len(chosen) + phases))
    coarse = np.zeros(images.shape[1:], dtype=bool)
    for phase in chosen:
        coarse |= work.volume(images[phase], whole_square(*images.shape[2:])) > 0
    heart, _ = largest_component(coarse)
    square = heart_square(heart, contract.prepare)
    labels = np.empty(images.shape, dtype=np.uint8)
    pieces, places, values = [], [], []
    for phase in range(phases):
        raw = work.volume(images[phase], square)
        labels[phase], found = keep_heart(raw)
        changed = np.flatnonzero(raw != labels[phase])
        pieces.append(found)
        places.append(changed + phase * raw.size)
        values.append(raw.reshape(-1)[changed])
    return Segmented(labels, square, bool(heart.any()), tuple(pieces), np.concatenate(places), np.concatenate(values))


def keep_heart(labels: Masks) -> tuple[Masks, Pieces]:
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
        labels = np.empty(volume.shape, dtype=np.uint8)
        for start in range(0, len(volume), BATCH):
            part = volume[start : start + BATCH]
            if not np.isfinite(part).all():
                raise Refused("not_a_volume", "The images hold values that are not finite numbers.")
            answer = self.run(prepare_slices(part, square, self.contract.prepare))
            self._check(answer, len(part))
            labels[start : start + BATCH] = restore_slices(answer, square, *volume.shape[1:])
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


def _spread(phases: int, most: int) -> list[int]:
    """Return at most ``most`` phase indices, equally spaced over the cycle, starting with the first."""
    return [phase * phases // min(most, phases) for phase in range(min(most, phases))]
