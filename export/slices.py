"""Prepared slices on which an exported model is compared with the one it came from."""

from pathlib import Path
from typing import Any

import numpy as np

from contracts.cases import names_of, read_case, read_list
from contracts.prepare import FloatImages, Prepare, prepare_slices, whole_square
from contracts.tasks import Task


def parity_slices(folder: Path | None, preset: dict[str, Any], prepare: Prepare, patients: int = 3) -> FloatImages:
    """Return the whole-slice views of some validation patients, float32 [n, 1, input_side, input_side].

    Without a data set smoothed noise takes their place: it decides less, so its parity says less.
    """
    if folder is None:
        random = np.random.default_rng(0)
        noise = random.normal(size=(8, 40, 40)).cumsum(axis=1).cumsum(axis=2)
        return prepare_slices(noise, whole_square(40, 40), prepare)
    views = []
    for patient in names_of(read_list(Task.CARDIAC, folder / preset["validation_list"]))[:patients]:
        images = read_case(Task.CARDIAC, folder, patient).images
        flat = images.reshape(-1, *images.shape[2:])
        views.append(prepare_slices(flat, whole_square(*images.shape[2:]), prepare))
    return np.concatenate(views)
