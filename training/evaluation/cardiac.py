"""The cardiac protocol: each patient's two phases as one stack through ``segment``, Dice per volume and structure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from contracts.cases import Case, Listed, phases_of
from contracts.model_contract import ModelContract
from contracts.prepare import Masks
from contracts.scores import bootstrap_mean, dice_by_label
from contracts.segment import Run, segment
from contracts.tasks import label_names

Seen = Callable[[Case, Masks], None]


@dataclass(frozen=True)
class VolumeScore:
    """Dice of each structure over one volume (fractions); ``name`` is the frame's, ``patient010_frame01``."""

    name: str
    dice: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean over the structures."""
        return float(np.mean(list(self.dice.values())))


def evaluate_cardiac(
    cases: Iterable[Case],
    contract: ModelContract,
    run: Run,
    entries: tuple[Listed, ...] | None = None,
    seen: Seen | None = None,
) -> list[VolumeScore]:
    """Segment patients one after the other and score the phases that ``entries`` lists (None: both phases of all).

    ``seen`` is shown each patient with its predicted labels uint8 [phase, slice, row, column].
    """
    scores: list[VolumeScore] = []
    names = label_names(contract.task)
    for case in cases:
        labels = segment(case.images, contract, run).labels
        if seen:
            seen(case, labels)
        scored = range(len(labels)) if entries is None else phases_of(entries, case)
        scores += [
            VolumeScore(case.frames[phase], dice_by_label(labels[phase], case.labels[phase], names)) for phase in scored
        ]
    return scores


def summary(scores: list[VolumeScore]) -> dict[str, object]:
    """Return the figures of the JSON answer: cases, mean per structure, mean over both with its interval.

    The interval is a bootstrap over patients, since the two volumes of one heart are not independent.
    """
    names = list(scores[0].dice)
    interval = bootstrap_mean([s.mean for s in scores], [s.name.split("_")[0] for s in scores])
    return {
        "cases": [{"id": s.name, "dice": s.dice} for s in scores],
        "mean_dice": interval.mean,
        "mean_dice_95": [interval.low, interval.high],
        "dice": {name: float(np.mean([s.dice[name] for s in scores])) for name in names},
    }
