"""``python -m training``: what people type, what they get, and which exit code."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.errors import Missing
from training.__main__ import app, main
from training.networks.trained import LAST

QUICK = ("--set", "iterations=2", "--set", "prepare.input_side=32", "--set", "batch=2", "--set", "evaluate_every=2")


@pytest.fixture(scope="module")
def run_folder(acdc_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on a folder in the ACDC layout."""
    out = tmp_path_factory.mktemp("run")
    lists = ("--set", "train_list=lists/train.txt", "--set", "validation_list=lists/val.txt")
    result = CliRunner().invoke(app, ["train", "ci", "--data", str(acdc_layout), "--out", str(out), *QUICK, *lists])
    assert result.exit_code == 0, result.output
    return out


def test_training_learns_on_drawn_hearts(tmp_path: Path) -> None:
    """The preset of continuous integration, whole: a student that is right on hearts that it has not seen."""
    result = CliRunner().invoke(app, ["train", "ci", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    from training.networks.trained import read_trained

    assert read_trained(tmp_path / LAST).scores["mean_dice"] > 0.85


def test_evaluation_answers_one_json_document(run_folder: Path, acdc_layout: Path) -> None:
    arguments = ["--task", "cardiac", "--data", str(acdc_layout), "--list", str(acdc_layout / "lists" / "val.txt")]
    chosen = ["--checkpoint", str(run_folder / LAST), "--json", "--threads", "1"]
    result = CliRunner().invoke(app, ["evaluate", *arguments, *chosen])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert set(answer) >= {"task", "model", "digest", "list", "cases", "mean_dice", "dice"}
    assert [case["id"] for case in answer["cases"]] == ["patient003_frame01", "patient003_frame02"]


def test_each_task_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --data a prostate student is not measured on hearts."""
    monkeypatch.setenv("SEGLOOP_DATA", str(tmp_path))
    (tmp_path / "acdc").mkdir()
    arguments = ["evaluate", "--task", "prostate", "--list", str(tmp_path / "some.list"), "--model", "prostate"]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, Missing)
    assert str(tmp_path / "prostate") in str(result.exception)


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, acdc_layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SEGLOOP_DATA", raising=False)
    listed = ("--list", str(acdc_layout / "lists" / "val.txt"))
    base = ("evaluate", "--task", "cardiac", "--data", str(acdc_layout))
    assert exit_code(monkeypatch, "train", "none") == 5
    assert exit_code(monkeypatch, "train", "ci", "--set", "iterations=0") == 2
    assert exit_code(monkeypatch, "train", "cardiac-supervised") == 5
    assert exit_code(monkeypatch, *base, *listed) == 2
    assert exit_code(monkeypatch, *base, *listed, "--model", "cardiac", "--repository", str(tmp_path)) == 5
    (tmp_path / "bad").write_text("what\n", "utf-8")
    (tmp_path / "last.ckpt").write_bytes(b"x")
    assert exit_code(monkeypatch, *base, *listed, "--checkpoint", str(tmp_path / "last.ckpt")) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "is not a checkpoint" in " ".join(captured.err.split())


def test_evaluating_an_exported_model_needs_no_torch() -> None:
    """Neither the command nor what runs the model imports torch."""
    code = (
        "import sys; import training.__main__, training.evaluation.answer, training.networks.exported;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("split", ["train_minus_gate.txt", "val_patients.txt"])
def test_the_real_data_can_be_read(data: Callable[[str], Path], split: str) -> None:
    from contracts.cases import names_of, read_cases, read_list
    from contracts.tasks import Task

    folder = data("acdc")
    patients = names_of(read_list(Task.CARDIAC, folder / "lists" / split))
    gate = names_of(read_list(Task.CARDIAC, folder / "gate.list"))
    assert not set(patients) & set(gate)
    case = next(read_cases(Task.CARDIAC, folder, patients))
    assert (case.labels[0] == 3).sum() > (case.labels[1] == 3).sum()
