"""The protocol of every task: each case as one stack through ``segment``, scored per volume (phase) and structure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.cases import Case, Listed, phases_of
from contracts.model_contract import ModelContract
from contracts.prepare import Masks
from contracts.scores import bootstrap_mean, dice, dice_by_label, hd95_by_label, holes, stray_components
from contracts.segment import Run, segment
from contracts.tasks import label_names

Seen = Callable[[Case, Masks], None]


@dataclass(frozen=True)
class VolumeScore:
    """What one volume scored; ``case`` is its case's name, ``name`` its own: ``patient010`` and ``patient010_frame01``.

    ``dice`` (fractions) and ``hd95_vox`` (voxels) of each structure are those of the mask that is served; ``dice_raw``,
    ``components`` (pieces apart from the largest of their structure) and ``holes`` (patches of background that the
    structures enclose) are those before the component filter. ``dice_within`` is over the slices in which the truth has
    the structure: what is missing from 1 there are outlines, what ``dice`` lacks besides was drawn in other slices.
    ``missed`` counts structures that are in one of prediction and truth only: their distance is the diagonal of the
    volume.
    """

    case: str
    name: str
    dice: dict[str, float]
    dice_raw: dict[str, float]
    dice_within: dict[str, float]
    hd95_vox: dict[str, float]
    components: int
    holes: int
    missed: int

    @property
    def mean(self) -> float:
        """Mean Dice over the structures."""
        return float(np.mean(list(self.dice.values())))


def score_volume(case: Case, phase: int, labels: Masks, raw: Masks, structures: Sequence[str]) -> VolumeScore:
    """Score labels uint8 [slice, row, column] of a phase, after and before the component filter, against the case's.

    ``structures[0]`` is the label 1. See ``contracts.scores`` for empty masks.
    """
    values, truth = range(1, len(structures) + 1), case.labels[phase]
    return VolumeScore(
        case=case.name,
        name=case.frames[phase],
        dice=dice_by_label(labels, truth, structures),
        dice_raw=dice_by_label(raw, truth, structures),
        dice_within={name: _within(labels == value, truth == value) for value, name in enumerate(structures, start=1)},
        hd95_vox=hd95_by_label(labels, truth, structures),
        components=stray_components(raw, structures),
        holes=holes(raw),
        missed=sum(bool((labels == value).any() != (truth == value).any()) for value in values),
    )


def evaluate_cases(
    cases: Iterable[Case],
    contract: ModelContract,
    run: Run,
    entries: tuple[Listed, ...] | None = None,
    seen: Seen | None = None,
) -> list[VolumeScore]:
    """Segment cases one after the other and score the phases that ``entries`` lists (None: all phases of all).

    ``seen`` is shown each case with its predicted labels uint8 [phase, slice, row, column].
    """
    scores: list[VolumeScore] = []
    names = label_names(contract.task)
    for case in cases:
        segmented = segment(case.images, contract, run, pixel_mm=case.pixel_mm)
        labels, raw = segmented.labels, segmented.raw()
        if seen:
            seen(case, labels)
        scored = range(len(labels)) if entries is None else phases_of(entries, case)
        scores += [score_volume(case, phase, labels[phase], raw[phase], names) for phase in scored]
    return scores


def summary(scores: list[VolumeScore]) -> dict[str, object]:
    """Return the figures of the JSON answer: cases, means per structure, means over all, intervals of Dice.

    Intervals are a bootstrap over cases, since the two volumes of one heart are not independent.
    """
    drawn = [s.case for s in scores]
    interval = bootstrap_mean([s.mean for s in scores], drawn)
    each = {name: bootstrap_mean([s.dice[name] for s in scores], drawn) for name in scores[0].dice}
    raw, within = _means([s.dice_raw for s in scores]), _means([s.dice_within for s in scores])
    distances = _means([s.hd95_vox for s in scores])
    return {
        "cases": [_case(score) for score in scores],
        "mean_dice": interval.mean,
        "mean_dice_95": [interval.low, interval.high],
        "dice": {name: structure.mean for name, structure in each.items()},
        "dice_95": {name: [structure.low, structure.high] for name, structure in each.items()},
        "mean_dice_raw": float(np.mean(list(raw.values()))),
        "dice_raw": raw,
        "mean_dice_within": float(np.mean(list(within.values()))),
        "dice_within": within,
        "mean_hd95_vox": float(np.mean(list(distances.values()))),
        "hd95_vox": distances,
        "components": float(np.mean([s.components for s in scores])),
        "holes": float(np.mean([s.holes for s in scores])),
        "missed": sum(s.missed for s in scores),
    }


def _within(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    slices = truth.any(axis=(1, 2))
    return dice(predicted[slices], truth[slices])


def _case(score: VolumeScore) -> dict[str, Any]:
    return {
        "id": score.name,
        "dice": score.dice,
        "dice_raw": score.dice_raw,
        "dice_within": score.dice_within,
        "hd95_vox": score.hd95_vox,
        "components": score.components,
        "holes": score.holes,
        "missed": score.missed,
    }


def _means(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]}
