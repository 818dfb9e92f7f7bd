"""Every task that trains a UNet goes the whole way: network, file, parity, publication, test inference."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim.swa_utils import AveragedModel
from typer.testing import CliRunner

from contracts.cases import read_case
from contracts.known_answer import agrees
from contracts.model_contract import read_contract
from contracts.model_repository import read_model
from contracts.prepare import prepare_for
from contracts.segment import segment
from contracts.tasks import LABELS, Task
from export.__main__ import app
from export.repository import known_answer, promote, publish
from export.slices import parity_slices
from training.methods.supervised import Supervised
from training.networks.exported import exported_runner
from training.networks.trained import build_network, read_trained, write_atomically

TASKS = (Task.CARDIAC, Task.PROSTATE, Task.SKIN)
DATA = {
    Task.CARDIAC: ("acdc", "patient010"),
    Task.PROSTATE: ("prostate", "RUNMC_Case06"),
    Task.SKIN: ("isic", "ISIC_0000003"),
}
LISTS = {Task.CARDIAC: "lists/val_patients.txt", Task.PROSTATE: "lists/val.txt", Task.SKIN: "lists/val.txt"}


def untrained(task: Task, path: Path) -> Path:
    """A checkpoint of a student of a task that learned nothing, on a small grid."""
    torch.manual_seed(7)
    prepare = prepare_for(task, input_side=32, output_side=64).model_dump(mode="json")
    preset = {"name": "t", "task": task.value, "seed": 0, "ema": 0.9, "train_list": "l", "prepare": prepare}
    state = {
        "average": AveragedModel(Supervised(build_network(task))).state_dict(),
        "preset": json.dumps({**preset, "validation_list": LISTS[task]}),
        "patients": ["a"],
        "iteration": 1,
        "scores": {"mean_dice": 0.5},
        "code_version": "abc",
    }
    write_atomically(path, state)
    return path


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    """Each task in turn."""
    return Task(request.param)


@pytest.fixture(scope="module")
def exported(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of its exported student."""
    folder = tmp_path_factory.mktemp(task.value)
    checkpoint = untrained(task, folder / "last.ckpt")
    result = CliRunner().invoke(app, ["onnx", "--checkpoint", str(checkpoint), "--out", str(folder / "out")])
    assert result.exit_code == 0, (result.output, result.exception)
    return folder


def test_the_file_takes_and_gives_what_the_contract_says(task: Task, exported: Path) -> None:
    contract = read_contract(exported / "out" / "contract.json")
    channels = 3 if task is Task.SKIN else 1
    assert (contract.task, contract.input.shape, contract.output.shape) == (task, (channels, 32, 32), (64, 64))
    labels = exported_runner(exported / "out" / "model.onnx", contract, 1)(
        np.random.default_rng(0).random((3, channels, 32, 32)).astype(np.float32)
    )
    assert (labels.shape, labels.dtype) == ((3, 64, 64), np.uint8)
    assert labels.max() <= len(LABELS[task])


def test_its_record_names_the_data_set(task: Task, exported: Path) -> None:
    record = json.loads((exported / "out" / "training.json").read_text("utf-8"))
    assert record["data"] == {"set": DATA[task][0], "list": "l", "patients": ["a"]}


def test_it_is_published_with_card_terms_and_a_known_answer(task: Task, exported: Path, tmp_path: Path) -> None:
    publish(exported / "out", tmp_path, who="t", why="w")
    promote(tmp_path, task.value, 1, who="t", why="w")
    model = read_model(tmp_path, task.value)
    assert model.contract.known_answer is not None
    assert agrees(known_answer(model.file, model.contract), model.contract.known_answer)
    card = (tmp_path / task.value / "card.md").read_text("utf-8")
    assert "Research use only" in card
    assert all(label.type.value in card for label in LABELS[task])
    assert ("photographs" if task is Task.SKIN else "patients") in card
    assert "non-commercial" in (tmp_path / task.value / "TERMS.md").read_text("utf-8")
    assert model.contract.terms


def test_noise_stands_in_for_data_in_the_range_of_a_picture(task: Task, exported: Path) -> None:
    prepare = read_trained(exported / "last.ckpt").contract.prepare
    noise = parity_slices(None, {}, prepare)
    assert noise.shape == (8, prepare.channels, 32, 32)
    assert 0 <= noise.min() < 0.2
    assert 0.8 < noise.max() <= 1


def test_real_cases_go_through_it(task: Task, exported: Path, data: Callable[[str], Path]) -> None:
    """Parity on what the network really sees, and a mask on the pixels of the case."""
    trained = read_trained(exported / "last.ckpt")
    folder = data(DATA[task][0])
    seen: list[NDArray[np.float32]] = []
    images = parity_slices(folder, trained.preset, trained.contract.prepare, cases=1)
    run = exported_runner(exported / "out" / "model.onnx", trained.contract, 1)
    case = read_case(task, folder, DATA[task][1])
    found = segment(
        case.images, trained.contract, lambda batch: (seen.append(batch), run(batch))[1], pixel_mm=case.pixel_mm
    )
    assert found.labels.shape == case.labels.shape
    assert {batch.shape[1:] for batch in seen} == {images.shape[1:]}
    assert 0 <= images.min() < images.max() <= 1
