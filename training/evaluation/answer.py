"""What ``python -m training evaluate`` does: choose a model, score a list, answer in the agreed JSON."""

from pathlib import Path
from typing import Any

from contracts.cases import names_of, read_cases, read_list
from contracts.errors import Usage
from contracts.model_contract import ModelContract, file_sha256
from contracts.model_repository import read_model
from contracts.segment import Run
from contracts.tasks import Task
from training.evaluation.cardiac import evaluate_cardiac, summary

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


def evaluation(task: Task, folder: Path, list_file: Path, chosen: Chosen) -> dict[str, Any]:
    """Run a task's protocol over a list and return the JSON answer. Raises ``Usage`` for a task without protocol."""
    name, digest, contract, run = chosen
    if task is not Task.CARDIAC:
        raise Usage("no_protocol", f"There is no evaluation protocol of the task {task.value} yet.")
    if contract.task is not task:
        raise Usage("other_task", f"{name} is a model of the task {contract.task.value}.")
    entries = read_list(task, list_file)
    cases = read_cases(task, folder, names_of(entries))
    scores = evaluate_cardiac(cases, contract, run, entries)
    return {"task": task.value, "model": name, "digest": digest, "list": list_file.name, **summary(scores)}
