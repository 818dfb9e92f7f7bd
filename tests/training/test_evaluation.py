"""The protocol through ``segment``: a network that is right scores 1, and each phase is scored by itself."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from contracts.cases import Case, Listed, cardiac_frames, read_list
from contracts.errors import Missing, Usage
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.tasks import Task
from training.evaluation.answer import chosen_model, evaluation
from training.evaluation.cardiac import evaluate_cardiac, summary
from training.evaluation.overlay import save_overlay
from training.settings import data_folder

CONTRACT = draft_contract(Task.CARDIAC, Prepare())


def by_grey(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Read the labels off pictures whose grey values are the labels."""
    return np.rint(images[:, 0] * 3 / 0.83).clip(0, 3).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)


def readable(patient: str = "patient001") -> Case:
    """A patient whose grey values are its labels: a structure of two and three beside each other."""
    labels = np.zeros((2, 3, 90, 100), dtype=np.uint8)
    labels[:, :, 30:60, 30:50] = 2
    labels[:, :, 30:60, 50:70] = 3
    labels[:, :, 30:60, 20:30] = 1
    return Case(patient, labels.astype(np.uint16) * 100, labels, cardiac_frames(patient))


def test_a_right_network_scores_one_and_an_empty_one_zero() -> None:
    good = evaluate_cardiac([readable()], CONTRACT, by_grey)
    assert [score.name for score in good] == ["patient001_frame01", "patient001_frame02"]
    assert all(value > 0.75 for score in good for value in score.dice.values())
    bad = evaluate_cardiac([readable()], CONTRACT, lambda x: np.zeros((len(x), 256, 256), dtype=np.uint8))
    assert {value for score in bad for value in score.dice.values()} == {0.0}


def test_only_the_listed_phases_are_scored_but_the_patient_is_seen_whole() -> None:
    seen = []
    scores = evaluate_cardiac(
        [readable()], CONTRACT, by_grey, (Listed("patient001", 1),), lambda case, labels: seen.append(labels.shape)
    )
    assert [score.name for score in scores] == ["patient001_frame02"]
    assert seen == [(2, 3, 90, 100)]


def test_the_answer_has_the_agreed_names() -> None:
    answer = summary(evaluate_cardiac([readable("patient001"), readable("patient002")], CONTRACT, by_grey))
    assert set(answer) == {"cases", "mean_dice", "mean_dice_95", "dice"}
    assert [case["id"] for case in answer["cases"]][::2] == ["patient001_frame01", "patient002_frame01"]  # type: ignore[attr-defined]
    assert set(answer["dice"]) == {"rv", "myo", "lv"}  # type: ignore[call-overload]
    mean = np.mean([list(case["dice"].values()) for case in answer["cases"]])  # type: ignore[attr-defined]
    assert answer["mean_dice"] == pytest.approx(mean)


def test_a_whole_evaluation_on_a_folder(acdc_layout: Path) -> None:
    chosen = ("x:1", "digest", CONTRACT, by_grey)
    answer = evaluation(Task.CARDIAC, acdc_layout, acdc_layout / "lists" / "train.txt", chosen)
    assert answer["model"] == "x:1"
    assert answer["list"] == "train.txt"
    assert len(answer["cases"]) == 4


def test_other_tasks_are_turned_away(acdc_layout: Path) -> None:
    with pytest.raises(Usage) as caught:
        evaluation(Task.SKIN, acdc_layout, acdc_layout / "lists" / "val.txt", ("x", "", CONTRACT, by_grey))
    assert caught.value.code == "no_protocol"
    other = CONTRACT.model_copy(update={"task": Task.PROSTATE})
    with pytest.raises(Usage) as caught:
        evaluation(Task.CARDIAC, acdc_layout, acdc_layout / "lists" / "val.txt", ("x", "", other, by_grey))
    assert caught.value.code == "other_task"


@pytest.mark.parametrize(("name", "kind"), [("cardiac", Missing), ("cardiac:2", Missing), ("cardiac:two", Usage)])
def test_models_that_are_not_there(name: str, kind: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(kind):
        chosen_model(tmp_path, name, 1)


def test_the_picture_shows_prediction_and_truth(tmp_path: Path) -> None:
    case = readable()
    save_overlay(tmp_path / "a.png", case, case.labels)
    save_overlay(tmp_path / "b.png", case, np.zeros_like(case.labels))
    with Image.open(tmp_path / "a.png") as right, Image.open(tmp_path / "b.png") as wrong:
        assert right.size == wrong.size
        assert right.tobytes() != wrong.tobytes()
        assert right.mode == "RGB"


def test_a_picture_of_nothing(tmp_path: Path) -> None:
    case = Case("patient001", np.zeros((2, 2, 20, 30), np.uint16), np.zeros((2, 2, 20, 30), np.uint8), ("a", "b"))
    save_overlay(tmp_path / "none.png", case, case.labels)
    with Image.open(tmp_path / "none.png") as picture:
        assert picture.size == (120, 80)


def test_where_data_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEGLOOP_DATA", raising=False)
    with pytest.raises(Missing, match="SEGLOOP_DATA"):
        data_folder(None, "acdc")
    monkeypatch.setenv("SEGLOOP_DATA", str(tmp_path))
    with pytest.raises(Missing):
        data_folder(None, "acdc")
    (tmp_path / "acdc").mkdir()
    assert data_folder(None, "acdc") == tmp_path / "acdc"
    assert data_folder(tmp_path, "acdc") == tmp_path


def test_the_lists_of_the_layout(acdc_layout: Path) -> None:
    assert read_list(Task.CARDIAC, acdc_layout / "lists" / "val.txt") == (Listed("patient003", None),)
