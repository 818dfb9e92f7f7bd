"""From a preset's lists to slices for training and cases for validation."""

from dataclasses import dataclass
from pathlib import Path

from contracts.cases import Case, names_of, read_cases, read_list
from contracts.tasks import Task
from training.data.acdc import Slice, slices_of
from training.data.synthetic import synthetic_cases
from training.preset import Preset

SYNTHETIC = "synthetic"


@dataclass(frozen=True, eq=False)
class Source:
    """What a run learns from: ``patients`` seen (all of them, labelled or not), their slices, validation cases."""

    patients: tuple[str, ...]
    slices: list[Slice]
    validation: list[Case]


def read_source(preset: Preset, folder: Path | None) -> Source:
    """Read all data of a preset into memory; ``folder`` may be None where both lists are ``synthetic``."""
    training = _cases(preset.task, preset.train_list, folder, count=6, seed=preset.seed)
    validation = _cases(preset.task, preset.validation_list, folder, count=2, seed=preset.seed + 1)
    slices = [piece for case in training for piece in slices_of(case, preset.prepare)]
    return Source(tuple(case.name for case in training), slices, validation)


def _cases(task: Task, name: str, folder: Path | None, count: int, seed: int) -> list[Case]:
    if name == SYNTHETIC or folder is None:
        return synthetic_cases(count, seed)
    return list(read_cases(task, folder, names_of(read_list(task, folder / name))))
