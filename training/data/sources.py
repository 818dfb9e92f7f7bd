"""From a preset's lists to cases: labelled ones, ones of which only the images are used, and those of validation."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contracts.cases import Case, names_of, read_cases, read_list
from contracts.tasks import Task
from training.data.synthetic import synthetic_cases
from training.preset import Preset

SYNTHETIC = "synthetic"


@dataclass(frozen=True, eq=False)
class Source:
    """What a run learns from. The labels of ``unlabelled`` are all 0, whatever the files hold."""

    labelled: list[Case]
    unlabelled: list[Case]
    validation: list[Case]

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of all cases that a student of this run has seen, labelled or not."""
        return tuple(case.name for case in (*self.labelled, *self.unlabelled))


def read_source(preset: Preset, folder: Path | None) -> Source:
    """Read all data of a preset into memory; ``folder`` may be None where all lists are ``synthetic``."""
    labelled = _cases(preset.task, preset.train_list, folder, count=6, seed=preset.seed)
    validation = _cases(preset.task, preset.validation_list, folder, count=2, seed=preset.seed + 1)
    names = {case.name for case in labelled} if preset.unlabelled_list != SYNTHETIC else set()
    others = _cases(preset.task, preset.unlabelled_list, folder, count=6, seed=preset.seed + 2)
    unlabelled = [replace(case, labels=np.zeros_like(case.labels)) for case in others if case.name not in names]
    return Source(labelled, unlabelled[: preset.unlabelled_limit], validation)


def _cases(task: Task, name: str, folder: Path | None, count: int, seed: int) -> list[Case]:
    if not name:
        return []
    if name == SYNTHETIC or folder is None:
        return synthetic_cases(count, seed)
    return list(read_cases(task, folder, names_of(read_list(task, folder / name))))
