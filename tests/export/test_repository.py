"""The life of a version: published, serving, retired, and never half there."""

import json
import os
import shutil
from pathlib import Path

import pytest

from contracts.errors import Missing, Refused, Usage
from contracts.model_contract import file_sha256, read_contract
from contracts.model_repository import read_history, read_model, serving_version, versions
from export import repository as module
from export.metadata import inner_contract
from export.repository import promote, publish, rows
from export.triton import config_text


def test_a_published_version_is_whole_and_does_not_serve(exported: Path, tmp_path: Path) -> None:
    assert publish(exported, tmp_path, who="t", why="first") == 1
    assert serving_version(tmp_path, "cardiac") is None
    model = read_model(tmp_path, "cardiac", 1)
    assert model.contract.version == 1
    assert model.contract.model_sha256 == file_sha256(model.file)
    assert inner_contract(model.file) == model.contract.inside()
    assert sorted(path.name for path in model.folder.iterdir()) == ["contract.json", "model.onnx", "training.json"]
    beside = {path.name for path in model.folder.parent.iterdir()}
    assert beside == {"1", "config.pbtxt", "card.md", "TERMS.md", "history.jsonl"}


def test_promotion_is_one_line_and_retires_the_one_before(exported: Path, tmp_path: Path) -> None:
    for version in (1, 2):
        assert publish(exported, tmp_path, who="t", why="w") == version
        promote(tmp_path, "cardiac", version, who="t", why="w")
    history = read_history(tmp_path / "cardiac")
    assert [entry.after for entry in history.entries] == ["published", "serving"] * 2
    assert [(row.version, row.state) for row in rows(tmp_path)] == [(1, "retired"), (2, "serving")]
    promote(tmp_path, "cardiac", 1, who="t", why="back")
    assert [(row.version, row.state) for row in rows(tmp_path)] == [(1, "serving"), (2, "retired")]


def test_triton_is_told_what_serves(exported: Path, tmp_path: Path) -> None:
    for _ in range(2):
        publish(exported, tmp_path, who="t", why="w")
    for version in (2, 1):
        promote(tmp_path, "cardiac", version, who="t", why="w")
        model = read_model(tmp_path, "cardiac")
        written = (tmp_path / "cardiac" / "config.pbtxt").read_text("utf-8")
        assert written == config_text(model.contract, [version])
        assert f"version {version}" in (tmp_path / "cardiac" / "card.md").read_text("utf-8")


def test_what_was_never_published_or_serves_already_is_not_promoted(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing):
        promote(tmp_path, "cardiac", 1, who="t", why="w")
    publish(exported, tmp_path, who="t", why="w")
    promote(tmp_path, "cardiac", 1, who="t", why="w")
    with pytest.raises(Usage) as caught:
        promote(tmp_path, "cardiac", 1, who="t", why="w")
    assert caught.value.code == "already_serving"
    shutil.copytree(tmp_path / "cardiac" / "1", tmp_path / "cardiac" / "5")
    with pytest.raises(Usage) as caught:
        promote(tmp_path, "cardiac", 5, who="t", why="w")
    assert caught.value.code == "not_published"


def test_a_number_is_never_given_twice(exported: Path, tmp_path: Path) -> None:
    publish(exported, tmp_path, who="t", why="w")
    shutil.rmtree(tmp_path / "cardiac" / "1")
    assert publish(exported, tmp_path, who="t", why="w") == 2


def test_a_publication_that_breaks_off_leaves_no_version(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "move_in", full)
    with pytest.raises(OSError, match="No space"):
        publish(exported, tmp_path, who="t", why="w")
    assert versions(tmp_path, "cardiac") == ()
    monkeypatch.undo()
    assert publish(exported, tmp_path, who="t", why="w") == 1
    assert not [name for name in os.listdir(tmp_path / "cardiac") if name.startswith(".")]


def test_an_export_must_be_whole_and_say_whom_it_has_seen(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(Missing):
        publish(tmp_path, tmp_path / "models", who="t", why="w")
    for name in ("model.onnx", "contract.json"):
        shutil.copyfile(exported / name, tmp_path / name)
    with pytest.raises(Refused) as caught:
        publish(tmp_path, tmp_path / "models", who="t", why="w")
    assert caught.value.code == "no_training_record"


def test_the_record_names_every_patient_and_the_snapshot_is_its_digest(exported: Path) -> None:
    record = json.loads((exported / "training.json").read_text("utf-8"))
    assert record["data"]["patients"] == ["patient001", "patient002"]
    assert (record["seed"], record["iterations"], record["code_version"]) == (5, 7, "abc")
    assert len(read_contract(exported / "contract.json").snapshot_sha256) == 64


def test_terms_and_card_stand_beside_the_weights(exported: Path, tmp_path: Path) -> None:
    publish(exported, tmp_path, who="t", why="w")
    terms = (tmp_path / "cardiac" / "TERMS.md").read_text("utf-8")
    card = (tmp_path / "cardiac" / "card.md").read_text("utf-8")
    for words in ("CC BY-NC-SA 4.0", "Bernard", "10.1109/TMI.2018.2837502"):
        assert words in terms
        assert words in card
    assert "Research use only" in card
    assert "2 patients" in card
    assert "CC BY-NC-SA 4.0" in read_model(tmp_path, "cardiac", 1).contract.terms
