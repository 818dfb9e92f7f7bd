"""The protocol through ``segment``: a network that is right scores 1, and each phase is scored by itself."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from contracts.cases import Case, Listed, cardiac_frames, read_list
from contracts.errors import Missing, Refused, Usage
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.scores import dice
from contracts.tasks import Task
from training.evaluation.answer import chosen_model, evaluation
from training.evaluation.benchmark import ssl4mis_labels
from training.evaluation.overlay import save_overlay
from training.evaluation.table import as_table
from training.evaluation.volumes import evaluate_cases, score_volume, summary
from training.settings import DATA_SETS, data_folder

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
    good = evaluate_cases([readable()], CONTRACT, by_grey)
    assert [score.name for score in good] == ["patient001_frame01", "patient001_frame02"]
    assert all(value > 0.75 for score in good for value in score.dice.values())
    bad = evaluate_cases([readable()], CONTRACT, lambda x: np.zeros((len(x), 256, 256), dtype=np.uint8))
    assert {value for score in bad for value in score.dice.values()} == {0.0}


def test_only_the_listed_phases_are_scored_but_the_patient_is_seen_whole() -> None:
    seen = []
    scores = evaluate_cases(
        [readable()], CONTRACT, by_grey, (Listed("patient001", 1),), lambda case, labels: seen.append(labels.shape)
    )
    assert [score.name for score in scores] == ["patient001_frame02"]
    assert seen == [(2, 3, 90, 100)]


FIGURES = {"dice", "dice_raw", "dice_within", "hd95_vox"}
AGREED = {"cases", "mean_dice_95", "dice_95"} | FIGURES | {f"mean_{figure}" for figure in FIGURES}
COUNTS = {"components", "holes", "missed"}


def test_the_answer_has_the_agreed_names() -> None:
    answer = summary(evaluate_cases([readable("patient001"), readable("patient002")], CONTRACT, by_grey))
    assert set(answer) == AGREED | COUNTS
    assert json.loads(json.dumps(answer)) == answer
    assert set(answer["cases"][0]) == {"id"} | FIGURES | COUNTS  # type: ignore[index]
    assert [case["id"] for case in answer["cases"]][::2] == ["patient001_frame01", "patient002_frame01"]  # type: ignore[attr-defined]
    assert set(answer["dice"]) == {"rv", "myo", "lv"}  # type: ignore[call-overload]
    mean = np.mean([list(case["dice"].values()) for case in answer["cases"]])  # type: ignore[attr-defined]
    assert answer["mean_dice"] == pytest.approx(mean)
    for name, (low, high) in answer["dice_95"].items():  # type: ignore[attr-defined]
        assert low <= answer["dice"][name] + 1e-9 <= high + 2e-9  # type: ignore[index]


def test_an_island_is_counted_and_costs_the_raw_mask_only() -> None:
    """What the filter takes away is in the raw figures, what it leaves in those of the mask that is served."""
    case = readable()
    spotted = case.labels[0].copy()
    spotted[1, 80:84, 90:94] = 2
    spotted[1, 45, 60] = 0
    score = score_volume(case, 0, case.labels[0], spotted, ("rv", "myo", "lv"))
    assert (score.components, score.holes, score.missed) == (1, 1, 0)
    assert score.mean == 1
    assert score.dice_raw["rv"] == 1
    assert max(score.dice_raw["myo"], score.dice_raw["lv"]) < 1
    assert score.hd95_vox == {"rv": 0, "myo": 0, "lv": 0}


def test_what_was_drawn_in_slices_without_the_structure_is_told_apart() -> None:
    case = readable()
    case.labels[0, 0][case.labels[0, 0] == 1] = 0
    drawn = readable().labels[0]
    score = score_volume(case, 0, drawn, drawn, ("rv", "myo", "lv"))
    assert score.dice == {"rv": pytest.approx(4 / 5), "myo": 1, "lv": 1}
    assert score.dice_within == {"rv": 1, "myo": 1, "lv": 1}
    missing = np.where(np.arange(3)[:, None, None] == 2, 0, drawn).astype(np.uint8)
    assert score_volume(case, 0, missing, missing, ("rv", "myo", "lv")).dice_within["lv"] == pytest.approx(4 / 5)


def test_a_structure_that_was_missed_or_made_up_is_counted() -> None:
    case = readable()
    without = np.where(case.labels[0] == 1, 0, case.labels[0]).astype(np.uint8)
    diagonal = np.linalg.norm(case.labels[0].shape)
    lacking = replace(case, labels=without[None])
    for labels, truth in ((without, case), (case.labels[0], lacking)):
        score = score_volume(truth, 0, labels, labels, ("rv", "myo", "lv"))
        assert score.missed == 1
        assert score.dice["rv"] == 0
        assert score.hd95_vox["rv"] == pytest.approx(diagonal)
    assert summary([score])["missed"] == 1


@pytest.mark.parametrize("shape", [(90, 100), (256, 256), (300, 180)])
def test_the_benchmark_looks_at_whole_slices_in_their_own_shape(shape: tuple[int, int]) -> None:
    """A right network under the benchmark's protocol loses what halving a slice loses, and nothing is shifted."""
    labels = np.zeros((2, 20, *shape), dtype=np.uint8)
    rows, columns = (slice(round(0.3 * side), round(0.7 * side)) for side in shape)
    labels[:, :, rows, columns] = 3
    found = ssl4mis_labels(labels.astype(np.uint16) * 100, CONTRACT, by_grey)
    assert found.shape == labels.shape
    assert found.dtype == np.uint8
    assert dice(found == 3, labels == 3) > 0.95
    centres = [np.argwhere(mask == 3).mean(axis=0) for mask in (found, labels)]
    np.testing.assert_allclose(*centres, atol=0.6)


def test_a_whole_evaluation_on_a_folder(acdc_layout: Path) -> None:
    chosen = ("x:1", "digest", CONTRACT, by_grey)
    answer = evaluation(Task.CARDIAC, acdc_layout, acdc_layout / "lists" / "train.txt", chosen)
    assert answer["model"] == "x:1"
    assert answer["list"] == "train.txt"
    assert len(answer["cases"]) == 4
    assert set(answer) == {"task", "model", "digest", "list", "protocols"} | AGREED | COUNTS
    assert set(answer["protocols"]["ssl4mis"]) == {"mean_dice", "dice", "mean_hd95_vox", "hd95_vox", "missed"}
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("patient001\npatient200\n", Missing, "no_case"),
        ("\n# nobody\n", Refused, "bad_list"),
        ("lesion_1\n", Refused, "bad_list"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_the_first_patient_is_run(
    text: str, kind: type[Exception], code: str, acdc_layout: Path, tmp_path: Path
) -> None:
    def never(images: NDArray[np.float32]) -> NDArray[np.uint8]:
        raise AssertionError("the network ran")

    (tmp_path / "some.list").write_text(text, "utf-8")
    with pytest.raises(kind) as caught:
        evaluation(Task.CARDIAC, acdc_layout, tmp_path / "some.list", ("x", "", CONTRACT, never))
    assert caught.value.code == code  # type: ignore[attr-defined]
    with pytest.raises(Missing) as absent:
        evaluation(Task.CARDIAC, tmp_path, acdc_layout / "lists" / "val.txt", ("x", "", CONTRACT, never))
    assert absent.value.code == "other_layout"


@pytest.mark.parametrize("protocols", [{}, {"protocols": {"other": {"dice": {"lv": 0.25}, "hd95_vox": {"lv": 7.0}}}}])
def test_people_see_the_figures_of_the_answer(protocols: dict[str, object]) -> None:
    labels = np.zeros((1, 2, 9, 9), dtype=np.uint8)
    labels[0, 0, 2:6, 2:6] = 1
    case = Case("patient001", labels, labels, ("patient001_frame02",))
    found = labels[0].copy()
    found[0, 5] = 0
    figures = summary([score_volume(case, 0, found, labels[0], ["lv"])])
    shown = io.StringIO()
    answer = {"task": "cardiac", "model": "x:1", "list": "some.list", **figures, **protocols}
    Console(file=shown, width=120).print(as_table(answer))
    text = shown.getvalue()
    assert "x:1 on some.list: mean Dice 0.857 [0.857, 0.857]" in text
    rows = {line.split()[1]: line for line in text.splitlines() if line.startswith("│")}
    assert "0.857" in rows["patient001_frame02"]
    assert "0.857" in rows["mean"]
    assert "1.000" in rows["before"]
    assert ("0.250" in text and "7.00" in text) == bool(protocols)


def test_people_see_how_far_it_has_come(acdc_layout: Path) -> None:
    """The bar goes to the console for people and leaves nothing behind."""
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=100)
    evaluation(Task.CARDIAC, acdc_layout, acdc_layout / "lists" / "train.txt", ("x:1", "", CONTRACT, by_grey), console)
    assert "x:1 on train.txt" in seen.getvalue()
    assert "100%" in seen.getvalue()


def test_other_tasks_are_turned_away(acdc_layout: Path) -> None:
    with pytest.raises(Usage) as caught:
        evaluation(Task.GLAND, acdc_layout, acdc_layout / "lists" / "val.txt", ("x", "", CONTRACT, by_grey))
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
    assert set(DATA_SETS) == set(Task)


def test_the_lists_of_the_layout(acdc_layout: Path) -> None:
    assert read_list(Task.CARDIAC, acdc_layout / "lists" / "val.txt") == (Listed("patient003", None),)
