"""The life of a version: publish puts it into the repository, promote makes it serve. Needs no torch."""

import json
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from contracts.errors import Missing, Refused, Usage
from contracts.known_answer import count_labels, known_slice
from contracts.model_contract import ModelContract, file_sha256, read_contract
from contracts.model_repository import (
    CONTRACT,
    MODEL,
    TRAINING,
    append,
    model_names,
    move_in,
    read_history,
    read_model,
    stage_of,
    versions,
)
from export.cards import card_text, terms_line, terms_text
from export.metadata import write_with_contract
from export.triton import config_text


@dataclass(frozen=True)
class Row:
    """A version in ``list``."""

    name: str
    version: int
    state: str
    variant: str
    digest: str
    scores: dict[str, float]


def publish(exported: Path, repository: Path, *, who: str, why: str, when: datetime | None = None) -> int:
    """Put an exported model (a folder with model, contract and training record) into a repository; return its version.

    The version is the next free number; it is written into the contract and the model file. The folder appears whole:
    it is staged beside its place and renamed. Nothing serves by this. Raises ``Missing`` ``not_exported`` and
    ``Refused`` ``no_training_record`` (whom a model has seen must be known).
    """
    contract = _exported_contract(exported)
    folder = repository / contract.name
    history = read_history(folder)
    taken = (*versions(repository, contract.name), *(entry.version for entry in history.entries))
    version = max(taken, default=0) + 1
    final = contract.model_copy(update={"version": version, "terms": terms_line(contract.task)})
    final = _place(exported, folder, final)
    _describe(repository, final)
    append(folder, version, "published", who=who, why=why, when=when, figures=final.scores)
    return version


def promote(repository: Path, name: str, version: int, *, who: str, why: str, when: datetime | None = None) -> None:
    """Make a published version serve: one durable append to the history; the one before is thereby retired.

    Raises ``Missing`` ``no_model`` for a version that is not there, ``Usage`` ``not_published`` for one that was never
    published, ``Usage`` ``already_serving`` for the one that serves.
    """
    model = read_model(repository, name, version)
    history = read_history(repository / name)
    if not history.state(version):
        raise Usage("not_published", f"{name}:{version} was never published.")
    if history.serving == version:
        raise Usage("already_serving", f"{name}:{version} serves already.")
    append(repository / name, version, "serving", who=who, why=why, when=when, figures=model.contract.scores)
    _describe(repository, model.contract)


def rows(repository: Path) -> list[Row]:
    """Return all versions of all models in a repository."""
    found: list[Row] = []
    for name in model_names(repository):
        history = read_history(repository / name)
        for version in versions(repository, name):
            contract = read_contract(repository / name / str(version) / CONTRACT)
            found.append(
                Row(name, version, history.state(version), contract.variant, contract.model_sha256, contract.scores)
            )
    return found


def _exported_contract(exported: Path) -> ModelContract:
    if not (exported / MODEL).is_file() or not (exported / CONTRACT).is_file():
        raise Missing("not_exported", f"{exported} holds no exported model; 'export onnx' makes one.")
    if not (exported / TRAINING).is_file():
        raise Refused("no_training_record", f"{exported} does not say what the model was trained on.")
    return read_contract(exported / CONTRACT)


def _place(exported: Path, folder: Path, contract: ModelContract) -> ModelContract:
    """Write a version's folder and return its contract with the digest of the file as it now stands."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / str(contract.version)
    stage = stage_of(place)
    stage.mkdir()
    write_with_contract(exported / MODEL, contract, stage / MODEL)
    facts = {"model_sha256": file_sha256(stage / MODEL), "known_answer": known_answer(stage / MODEL, contract)}
    final = contract.model_copy(update=facts)
    (stage / CONTRACT).write_text(final.to_json(), "utf-8")
    shutil.copyfile(exported / TRAINING, stage / TRAINING)
    move_in(stage, place)
    return final


def known_answer(model: Path, contract: ModelContract) -> dict[str, int]:
    """Return what a model file answers to the test inference, pixels by label name."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (labels,) = session.run([contract.output.name], {contract.input.name: known_slice(contract)})
    return count_labels(np.asarray(labels), contract)


def _describe(repository: Path, contract: ModelContract) -> None:
    """Write what stands beside the versions: card of the one that serves (else the newest), terms, Triton's file."""
    folder = repository / contract.name
    shown = read_history(folder).serving or max(versions(repository, contract.name))
    current = read_contract(folder / str(shown) / CONTRACT)
    record: dict[str, Any] = json.loads((folder / str(shown) / TRAINING).read_text("utf-8"))
    texts = {
        "card.md": card_text(current, len(record["data"]["patients"])),
        "TERMS.md": terms_text(current.task),
        "config.pbtxt": config_text(current, [shown]),
    }
    for name, text in texts.items():
        part = folder / f".{name}.part"
        part.write_text(text, "utf-8")
        part.replace(folder / name)
