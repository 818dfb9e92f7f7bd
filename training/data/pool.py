"""What trained networks make of the cases that nobody labelled: looked at once, before a run, the way serving looks.

The answer of :func:`contracts.segment.segment` (unrotated, coarse and fine pass, cleaned by the component filter) gives
each case its region, and a frozen teacher its labels. It is kept beside the run, so that a resumed run learns the same.
"""

import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contracts.cases import Case
from contracts.errors import Usage
from contracts.model_contract import draft_contract
from contracts.prepare import Masks, Square
from contracts.segment import segment
from training.data.slices import Slice, slices_of
from training.networks.ensemble import Ensemble
from training.networks.student import runner
from training.networks.trained import read_trained
from training.preset import Preset

FILE = "pool.npz"


@dataclass(frozen=True, eq=False)
class Seen:
    """One case as its teachers saw it: ``labels`` uint8 [phase, slice, row, column] and the fine pass's region."""

    labels: Masks
    region: Square


def unlabelled_slices(preset: Preset, cases: list[Case], out: Path) -> list[Slice]:
    """Return the slices of the unlabelled cases, with what the preset's ``pool`` (else ``init``) makes of them.

    Raises ``Usage`` ``no_teacher`` where a frozen teacher is asked for and neither is named. Without teachers the
    region is the whole slice's centre, as serving falls back to it.
    """
    names = preset.pool or ((preset.init,) if preset.init else ())
    if not cases:
        return []
    if not names:
        if preset.consistency.teacher == "frozen":
            raise Usage("no_teacher", "A frozen teacher needs a checkpoint: name it with pool or init.")
        return [piece for case in cases for piece in slices_of(case, preset.prepare)]
    path = out / FILE
    if path.is_file():
        seen = _read(path, cases)
    else:
        seen = _look(preset, cases, names)
        _write(path, cases, seen)
    return [
        piece
        for case, found in zip(cases, seen, strict=True)
        for piece in slices_of(case, preset.prepare, found.labels, found.region)
    ]


def _look(preset: Preset, cases: list[Case], names: Iterable[str]) -> list[Seen]:
    contract = draft_contract(preset.task, preset.prepare)
    teachers = Ensemble([read_trained(Path(name)).network for name in names])
    run = runner(teachers, contract.output.shape[0])
    answers = (segment(case.images, contract, run, pixel_mm=case.pixel_mm) for case in cases)
    return [Seen(answer.labels, answer.square) for answer in answers]


def _write(path: Path, cases: list[Case], seen: list[Seen]) -> None:
    arrays: dict[str, Any] = {}
    for case, found in zip(cases, seen, strict=True):
        arrays[f"{case.name}/labels"] = found.labels
        arrays[f"{case.name}/region"] = np.array(astuple(found.region))
    part = path.with_suffix(f".{os.getpid()}.npz")  # processes that train together each look
    np.savez_compressed(part, **arrays)
    part.replace(path)


def _read(path: Path, cases: list[Case]) -> list[Seen]:
    with np.load(path) as arrays:
        return [
            Seen(arrays[f"{case.name}/labels"], Square(*map(float, arrays[f"{case.name}/region"]))) for case in cases
        ]
