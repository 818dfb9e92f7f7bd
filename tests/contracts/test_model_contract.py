"""The contract survives the way through its file and says what the task says."""

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.errors import Broken, Missing
from contracts.model_contract import ModelContract, draft_contract, file_sha256, read_contract
from contracts.prepare import Prepare, prepare_for
from contracts.tasks import LABELS, Task


@pytest.mark.parametrize("task", list(Task))
def test_json_round_trip(task: Task) -> None:
    contract = draft_contract(task, Prepare(margin=1.7), version=3)
    assert ModelContract.from_json(contract.to_json()) == contract
    assert contract.to_json() == ModelContract.from_json(contract.to_json()).to_json()


@pytest.mark.parametrize("task", list(Task))
def test_labels_are_the_tasks(task: Task) -> None:
    contract = draft_contract(task, Prepare())
    assert [(entry.value, entry.name, entry.code) for entry in contract.labels] == [
        (label.value, label.name, label.type.value) for label in LABELS[task]
    ]


def test_shapes_follow_from_prepare() -> None:
    contract = draft_contract(Task.CARDIAC, Prepare(input_side=96, output_side=288))
    assert contract.input.shape == (1, 96, 96)
    assert contract.output.shape == (288, 288)
    assert (contract.input.dtype, contract.output.dtype) == ("float32", "uint8")


@pytest.mark.parametrize(("task", "channels"), [(Task.CARDIAC, 1), (Task.PROSTATE, 1), (Task.SKIN, 3)])
def test_a_student_of_photographs_takes_colours(task: Task, channels: int) -> None:
    contract = draft_contract(task, prepare_for(task))
    assert contract.input.shape == (channels, 128, 128)
    assert contract.output.shape == (256, 256)


def test_a_contract_written_before_there_were_other_views_is_one_of_hearts() -> None:
    contract = draft_contract(Task.CARDIAC, Prepare())
    plain = json.loads(contract.to_json())
    del plain["prepare"]["view"], plain["prepare"]["centre_mm"]
    assert ModelContract.from_json(json.dumps(plain)) == contract


def test_a_contract_cannot_be_changed() -> None:
    contract = draft_contract(Task.CARDIAC, Prepare())
    with pytest.raises(ValidationError):
        contract.version = 4  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"task": "cardiac"}'])
def test_what_is_no_contract_is_broken(text: str) -> None:
    with pytest.raises(Broken) as caught:
        ModelContract.from_json(text)
    assert caught.value.code == "bad_contract"


def test_an_unknown_field_is_not_ignored() -> None:
    text = draft_contract(Task.CARDIAC, Prepare()).to_json().replace('"variant"', '"variante"')
    with pytest.raises(Broken):
        ModelContract.from_json(text)


def test_reading_from_a_file(tmp_path: Path) -> None:
    contract = draft_contract(Task.CARDIAC, Prepare())
    (tmp_path / "contract.json").write_text(contract.to_json(), "utf-8")
    assert read_contract(tmp_path / "contract.json") == contract
    with pytest.raises(Missing):
        read_contract(tmp_path / "none.json")


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights" * 1000)
    assert file_sha256(path) == hashlib.sha256(b"weights" * 1000).hexdigest()
