"""What is shipped is what its papers say: whole, unchanged, with terms, and trained on nobody who judges it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contracts.cases import Case, names_of, read_case, read_list
from contracts.model_contract import ModelContract, label_entries
from contracts.model_repository import Model, model_names, read_history, read_model, versions
from contracts.scores import dice, dice_by_label
from contracts.segment import Run, segment
from contracts.tasks import Task, label_names
from export.data_sets import DATA_SETS
from export.metadata import inner_contract
from export.record import snapshot_sha256
from export.triton import config_text
from training.networks.exported import exported_runner

SHIPPED = Path(__file__).resolve().parents[2] / "model_repository"


@pytest.fixture(scope="module")
def model() -> Model:
    return read_model(SHIPPED, "cardiac")


@pytest.fixture(scope="module")
def run(model: Model) -> Run:
    return exported_runner(model.file, model.contract, threads=1)


@pytest.fixture(scope="module")
def case(acdc: Path) -> Case:
    return read_case(Task.CARDIAC, acdc, names_of(read_list(Task.CARDIAC, acdc / "lists" / "val_patients.txt"))[0])


@pytest.mark.parametrize("name", model_names(SHIPPED))
def test_every_version_is_whole(name: str) -> None:
    history = read_history(SHIPPED / name)
    assert not history.torn
    for version in versions(SHIPPED, name):
        found = read_model(SHIPPED, name, version)
        assert history.state(version)
        assert inner_contract(found.file) == found.contract.inside()
        record = json.loads((found.folder / "training.json").read_text("utf-8"))
        assert snapshot_sha256(record) == found.contract.snapshot_sha256
    current = read_model(SHIPPED, name)
    assert (SHIPPED / name / "config.pbtxt").read_text("utf-8") == config_text(current.contract, [current.version])
    assert DATA_SETS[current.contract.task].licence in (SHIPPED / name / "TERMS.md").read_text("utf-8")
    assert "Research use only" in (SHIPPED / name / "card.md").read_text("utf-8")


def test_the_contract_is_that_of_the_task(model: Model) -> None:
    contract: ModelContract = model.contract
    assert contract.labels == label_entries(contract.task)
    assert contract.output.shape[0] >= 256
    assert contract.scores["mean_dice"] >= 0.82


def test_nobody_who_judges_was_learned_from(model: Model, data: Callable[[str], Path]) -> None:
    folder = data("acdc")
    seen = set(json.loads((model.folder / "training.json").read_text("utf-8"))["data"]["patients"])
    judges = [
        read_list(Task.CARDIAC, folder / "gate.list"),
        read_list(Task.CARDIAC, folder / "lists" / "val_patients.txt"),
    ]
    assert len(seen) == 60
    assert not seen & {patient for entries in judges for patient in names_of(entries)}
    assert not {"patient074", "patient076"} & {patient for entries in judges for patient in names_of(entries)}


def test_it_is_right_on_a_heart_that_it_has_not_seen(model: Model, run: Run, case: Case) -> None:
    found = segment(case.images, model.contract, run)
    scores = [
        dice_by_label(*pair, label_names(model.contract.task)) for pair in zip(found.labels, case.labels, strict=True)
    ]
    assert np.mean([value for score in scores for value in score.values()]) >= 0.82


def test_a_heart_off_the_centre_comes_out_as_the_same_heart(model: Model, run: Run, case: Case) -> None:
    """The study is shifted by a quarter of its size, with zeros where nothing was scanned."""
    images = case.images[:1]
    down, across = (side // 5 for side in images.shape[2:])
    moved = np.zeros_like(images)
    moved[:, :, down:, across:] = images[:, :, :-down, :-across]
    here, there = segment(images, model.contract, run).labels, segment(moved, model.contract, run).labels
    expected = np.zeros_like(here)
    expected[:, :, down:, across:] = here[:, :, :-down, :-across]
    for value in (1, 2, 3):
        assert dice(there == value, expected == value) > 0.9


def test_the_same_study_gives_the_same_bytes(model: Model, run: Run, case: Case) -> None:
    again = exported_runner(model.file, model.contract, threads=1)
    part = case.images[:, 2:5]
    one, two = segment(part, model.contract, run), segment(part, model.contract, again)
    assert one.labels.tobytes() == two.labels.tobytes()
    assert one.square == two.square
