"""Prepared slices on which an exported model is compared with the one it came from."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.cases import Case, names_of, read_cases, read_list
from contracts.prepare import FloatImages, Prepare, answer_square, grey_ends, prepare_slices
from contracts.tasks import Task


def parity_slices(folder: Path | None, preset: dict[str, Any], prepare: Prepare, cases: int = 3) -> FloatImages:
    """Return what the network sees of some validation cases, float32 [n, channel, input_side, input_side].

    Without a data set smoothed noise takes their place: it decides less, so its parity says less.
    """
    if folder is None:
        return _noise(prepare)
    task = Task(preset["task"])
    names = names_of(read_list(task, folder / preset["validation_list"]))[:cases]
    return np.concatenate([_seen(case, prepare) for case in read_cases(task, folder, names)])


def _seen(case: Case, prepare: Prepare) -> FloatImages:
    """All phases and slices of a case, through the window that its labels lead to."""
    square = answer_square(np.logical_or.reduce(case.labels > 0), prepare, case.pixel_mm)
    return np.concatenate(
        [prepare_slices(volume, square, prepare, grey_ends(volume, square, prepare)) for volume in case.images]
    )


def _noise(prepare: Prepare) -> FloatImages:
    random = np.random.default_rng(0)
    shape = (8, 40, 40) if prepare.channels == 1 else (8, 40, 40, prepare.channels)
    noise: NDArray[np.float64] = random.normal(size=shape).cumsum(axis=1).cumsum(axis=2)
    noise = 255 * (noise - noise.min()) / np.ptp(noise)
    square = answer_square(np.zeros((8, 40, 40), dtype=bool), prepare)
    return prepare_slices(noise, square, prepare, grey_ends(noise, square, prepare))
