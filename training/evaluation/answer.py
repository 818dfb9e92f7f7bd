"""What ``python -m training evaluate`` does: choose a model, score a list, answer in the agreed JSON."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from contracts.cases import Case, check_cases, names_of, phases_of, read_cases, read_list
from contracts.errors import Usage
from contracts.model_contract import ModelContract, file_sha256
from contracts.model_repository import read_model
from contracts.prepare import Masks
from contracts.segment import Run
from contracts.tasks import Task, label_names
from training.evaluation.benchmark import ssl4mis_labels
from training.evaluation.volumes import VolumeScore, evaluate_cases, score_volume, summary

Chosen = tuple[str, str, ModelContract, Run]
"""Name of a model for people, digest of its file, its contract, and how to run it."""


def chosen_model(repository: Path, model: str, threads: int) -> Chosen:
    """Return an exported model ``NAME[:VERSION]``, by default the version that serves; needs no torch."""
    from training.networks.exported import exported_runner

    name, _, version = model.partition(":")
    if version and not version.isdecimal():
        raise Usage("bad_model_name", f"'{model}' is not NAME or NAME:VERSION.")
    found = read_model(repository, name, int(version) if version else None)
    run = exported_runner(found.file, found.contract, threads)
    return f"{name}:{found.version}", found.contract.model_sha256, found.contract, run


def chosen_checkpoint(path: Path, threads: int) -> Chosen:
    """Return the student of a checkpoint, run by torch."""
    import torch

    from training.networks.student import runner
    from training.networks.trained import read_trained

    if threads:
        torch.set_num_threads(threads)
    trained = read_trained(path)
    contract = trained.contract
    return f"checkpoint {path.name}", file_sha256(path), contract, runner(trained.network, contract.output.shape[0])


def evaluation(
    task: Task, folder: Path, list_file: Path, chosen: Chosen, people: Console | None = None
) -> dict[str, Any]:
    """Run a task's protocol over a list and return the JSON answer; ``people`` see how far it has come.

    ``mean_dice`` is that of the serving path; ``protocols`` holds the means under other people's protocols. Raises
    ``Usage`` for a task without protocol or another model's task, and what ``read_list`` and ``check_cases`` raise.
    """
    name, digest, contract, run = chosen
    if task is Task.GLAND:
        raise Usage("no_protocol", f"There is no evaluation protocol of the task {task.value} yet.")
    if contract.task is not task:
        raise Usage("other_task", f"{name} is a model of the task {contract.task.value}.")
    entries = read_list(task, list_file)
    names = names_of(entries)
    check_cases(task, folder, names)
    cases = track(
        read_cases(task, folder, names),
        f"{name} on {list_file.name}",
        total=len(names),
        console=people,
        transient=True,
        disable=people is None,
    )
    benchmark: list[VolumeScore] = []

    def also_whole_slices(case: Case, _: Masks) -> None:
        benchmark.extend(_ssl4mis(case, phases_of(entries, case), contract, run))

    benchmarked = task is Task.CARDIAC
    scores = evaluate_cases(cases, contract, run, entries, also_whole_slices if benchmarked else None)
    answer = {"task": task.value, "model": name, "digest": digest, "list": list_file.name, **summary(scores)}
    if not benchmarked:
        return answer
    whole = summary(benchmark)
    ssl4mis = {figure: whole[figure] for figure in ("mean_dice", "dice", "mean_hd95_vox", "hd95_vox", "missed")}
    return {**answer, "protocols": {"ssl4mis": ssl4mis}}


def _ssl4mis(case: Case, phases: tuple[int, ...], contract: ModelContract, run: Run) -> list[VolumeScore]:
    found = ssl4mis_labels(case.images[list(phases)], contract, run)
    names = label_names(contract.task)
    return [score_volume(case, phase, labels, labels, names) for phase, labels in zip(phases, found, strict=True)]
