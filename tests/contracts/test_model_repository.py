"""Laws of the model repository: an append holds, a torn line is nothing, a seed is whole or not there."""

import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import Broken, Missing
from contracts.model_contract import draft_contract, file_sha256
from contracts.model_repository import (
    append,
    model_names,
    read_history,
    read_model,
    seed,
    serving_version,
    stage_of,
    versions,
)
from contracts.prepare import Prepare
from contracts.tasks import Task


def put(repository: Path, name: str = "cardiac", version: int = 1) -> Path:
    """Place a version with a made-up model file and its history, serving."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(f"weights {version}".encode())
    contract = draft_contract(Task.CARDIAC, Prepare(), version)
    contract = contract.model_copy(update={"model_sha256": file_sha256(folder / "model.onnx")})
    (folder / "contract.json").write_text(contract.to_json(), "utf-8")
    append(folder.parent, version, "published", who="t", why="test")
    append(folder.parent, version, "serving", who="t", why="test")
    return folder


def test_an_entry_comes_back_as_it_was_written(tmp_path: Path) -> None:
    when = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    written = append(tmp_path, 2, "published", who="Ä", why="why\nnot", figures={"mean_dice": 0.87}, when=when)
    assert read_history(tmp_path).entries == (written,)
    assert written.when == "2026-03-01T12:30:00+00:00"
    assert (written.before, written.after) == ("", "published")


def test_each_change_names_the_state_before(tmp_path: Path) -> None:
    for state in ("published", "shadow", "gated", "serving", "retired"):
        append(tmp_path, 1, state, who="t", why="w")  # type: ignore[arg-type]
    history = read_history(tmp_path)
    assert [entry.before for entry in history.entries] == ["", "published", "shadow", "gated", "serving"]
    assert history.serving is None


@settings(max_examples=12, deadline=None)
@given(order=st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_the_last_one_promoted_serves_and_the_others_are_retired(
    order: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models") / "cardiac"
    for version in order:
        append(folder, version, "serving", who="t", why="w")
    history = read_history(folder)
    assert history.serving == order[-1] == serving_version(folder.parent, "cardiac")
    assert {history.state(version) for version in set(order) - {order[-1]}} <= {"retired"}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_torn_last_line_is_ignored_reported_and_written_over(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("models")
    first = append(folder, 1, "serving", who="t", why="w")
    whole = (folder / "history.jsonl").read_bytes()
    append(folder, 2, "serving", who="t", why="w")
    both = (folder / "history.jsonl").read_bytes()
    cut = data.draw(st.integers(len(whole) + 1, len(both) - 1))
    (folder / "history.jsonl").write_bytes(both[:cut])
    history = read_history(folder)
    assert history.entries == (first,)
    assert history.torn
    assert history.serving == 1
    append(folder, 3, "serving", who="t", why="w")
    mended = read_history(folder)
    assert [entry.version for entry in mended.entries] == [1, 3]
    assert not mended.torn


def test_a_changed_last_line_does_not_count(tmp_path: Path) -> None:
    append(tmp_path, 1, "serving", who="t", why="w")
    append(tmp_path, 2, "serving", who="t", why="w")
    path = tmp_path / "history.jsonl"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace('"version": 2', '"version": 9')]) + "\n", "utf-8")
    assert read_history(tmp_path).serving == 1


def test_damage_before_the_last_line_is_an_error(tmp_path: Path) -> None:
    for version in (1, 2):
        append(tmp_path, version, "serving", who="t", why="w")
    path = tmp_path / "history.jsonl"
    path.write_text(path.read_text("utf-8").replace('"version": 1', '"version": 7'), "utf-8")
    with pytest.raises(Broken) as caught:
        read_history(tmp_path)
    assert caught.value.code == "bad_history"


def test_lines_are_json_with_a_checksum(tmp_path: Path) -> None:
    append(tmp_path, 1, "published", who="t", why="w")
    line = json.loads((tmp_path / "history.jsonl").read_text("utf-8"))
    assert set(line) == {"version", "from", "to", "when", "who", "why", "figures", "checksum"}


def append_some(folder: Path, version: int) -> None:
    for _ in range(10):
        append(folder, version, "shadow", who="t", why="w")


def test_writers_in_many_processes_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_some, args=(tmp_path, version)) for version in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert all(writer.exitcode == 0 for writer in writers)
    history = read_history(tmp_path)
    assert sorted(entry.version for entry in history.entries) == [1] * 10 + [2] * 10 + [3] * 10


def test_reading_what_serves(tmp_path: Path) -> None:
    put(tmp_path, version=1)
    put(tmp_path, version=12)
    assert model_names(tmp_path) == ("cardiac",)
    assert versions(tmp_path, "cardiac") == (1, 12)
    assert read_model(tmp_path, "cardiac").version == 12
    assert read_model(tmp_path, "cardiac", 1).file.read_bytes() == b"weights 1"
    assert read_model(tmp_path, "cardiac").contract.version == 12


@pytest.mark.parametrize(("name", "version"), [("prostate", None), ("cardiac", 7)])
def test_a_model_that_is_not_there_is_missing(tmp_path: Path, name: str, version: int | None) -> None:
    put(tmp_path)
    with pytest.raises(Missing) as caught:
        read_model(tmp_path, name, version)
    assert caught.value.code == "no_model"


def test_nothing_serves_in_an_absent_repository(tmp_path: Path) -> None:
    assert model_names(tmp_path / "none") == ()
    assert versions(tmp_path / "none", "cardiac") == ()
    assert serving_version(tmp_path / "none", "cardiac") is None


def test_another_file_than_the_contracts_is_not_loaded(tmp_path: Path) -> None:
    folder = put(tmp_path)
    (folder / "model.onnx").write_bytes(b"other weights")
    with pytest.raises(Broken) as caught:
        read_model(tmp_path, "cardiac")
    assert caught.value.code == "other_model"


def test_a_seed_brings_what_is_missing_and_touches_nothing_else(tmp_path: Path) -> None:
    shipped, target = tmp_path / "shipped", tmp_path / "home" / "models"
    put(shipped, "cardiac")
    put(shipped, "prostate")
    put(target, "cardiac", version=4)
    before = (target / "cardiac" / "history.jsonl").read_bytes()
    assert seed(shipped, target) == ("prostate",)
    assert seed(shipped, target) == ()
    assert (target / "cardiac" / "history.jsonl").read_bytes() == before
    assert versions(target, "cardiac") == (4,)
    assert read_model(target, "prostate").version == 1
    assert model_names(target) == ("cardiac", "prostate")


def test_a_seed_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    shipped, target = tmp_path / "shipped", tmp_path / "models"
    put(shipped, "cardiac")
    half = target / ".stage-cardiac"
    half.mkdir(parents=True)
    (half / "history.jsonl").write_bytes(b"half")
    assert model_names(target) == ()
    assert seed(shipped, target) == ("cardiac",)
    assert not half.exists()
    assert read_model(target, "cardiac").version == 1


def test_nothing_shipped_and_nothing_there_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="SEGLOOP_MODEL_REPOSITORY"):
        seed(tmp_path / "none", tmp_path / "models")
    put(tmp_path / "models")
    assert seed(tmp_path / "none", tmp_path / "models") == ()


def test_a_stage_begins_empty(tmp_path: Path) -> None:
    stage = stage_of(tmp_path / "3")
    stage.mkdir()
    (stage / "rest").write_text("x", "utf-8")
    assert stage_of(tmp_path / "3") == stage
    assert not stage.exists()
