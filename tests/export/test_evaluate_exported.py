"""``evaluate --model`` on what ``publish`` and ``promote`` left in a repository."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contracts.model_repository import read_model
from export.repository import promote, publish
from training.__main__ import app
from training.data.synthetic import synthetic_cases
from training.evaluation.answer import chosen_checkpoint, chosen_model


@pytest.fixture(scope="module")
def repository(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for _ in range(2):
        publish(exported, folder, who="t", why="w")
    promote(folder, "cardiac", 1, who="t", why="w")
    return folder


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acdc")
    (folder / "patients").mkdir()
    (case,) = synthetic_cases(1)
    (ed, es), (ed_label, es_label) = case.images, case.labels
    path = folder / "patients" / "patient001.npz"
    np.savez(path, ed_image=ed, es_image=es, ed_label=ed_label, es_label=es_label)
    (folder / "one.list").write_text("patient001_frame02\n", "utf-8")
    return folder


@pytest.mark.parametrize(("name", "version"), [("cardiac", 1), ("cardiac:2", 2)])
def test_the_version_that_serves_or_the_one_that_is_named(
    name: str, version: int, repository: Path, layout: Path
) -> None:
    where = ["--data", str(layout), "--list", str(layout / "one.list"), "--repository", str(repository)]
    result = CliRunner().invoke(app, ["evaluate", "--task", "cardiac", "--model", name, *where, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["model"] == f"cardiac:{version}"
    assert answer["digest"] == read_model(repository, "cardiac", version).contract.model_sha256
    assert [case["id"] for case in answer["cases"]] == ["patient001_frame02"]
    assert answer["mean_dice"] == pytest.approx(np.mean(list(answer["dice"].values())))


def test_checkpoint_and_exported_model_answer_alike(repository: Path, checkpoint: Path) -> None:
    images = np.random.default_rng(0).random((3, 1, 32, 32)).astype(np.float32)
    _, _, contract, torchs = chosen_checkpoint(checkpoint, 1)
    _, _, exported_contract, ours = chosen_model(repository, "cardiac", 1)
    assert contract.prepare == exported_contract.prepare
    assert (torchs(images) != ours(images)).mean() < 1e-3
