"""Laws of the tables: what is done stays done, what starts from another waits for it, and pairs are pairs."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from rich.console import Console

from contracts.errors import Broken, Missing
from training.comparison import evidence, running
from training.comparison.plan import PLANS, Plan, Row, cpu_hours, missing, ready, runs_of
from training.networks.trained import LAST

SHIPPED = sorted(path.stem for path in PLANS.glob("*.toml"))
TINY = (
    "iterations=2", "warm_up=1", "batch=2", "batch_unlabelled=2", "prepare.input_side=32", "prepare.output_side=64",
    "evaluate_every=9",
)  # fmt: skip


def a_plan(**changes: object) -> Plan:
    """Two rows, the second from the first, on the lists of ``acdc_layout``."""
    values = {
        "title": "T", "task": "cardiac", "preset": "cardiac-cpu", "data": "acdc", "seeds": [1], "control": "second",
        "labelled": {"2": "lists/train.txt"}, "lists": {"validation": "lists/val.txt"},
        "row": [
            {"name": "first", "set": ["method=supervised", "unlabelled_list=", *TINY, "validation_list=lists/val.txt"]},
            {"name": "second", "after": "first", "set": ["method=supervised", "unlabelled_list=", *TINY,
                                                        "validation_list=lists/val.txt"]},
            {"name": "third", "after": "first", "set": ["method=fixmatch", "unlabelled_list=lists/val.txt", *TINY,
                                                       "validation_list=lists/val.txt"]},
        ],
    }  # fmt: skip
    return Plan.model_validate({**values, **changes})


def a_row(key: str, name: str, seed: int, cases: dict[str, float], listed: str = "validation") -> Row:
    dice = sum(cases.values()) / len(cases)
    return {
        "key": key, "row": name, "list": listed, "stage1_seed": seed, "labelled_patients": 2, "iterations": 2,
        "own_iterations": 2, "cpu_hours": 0.5, "dice": dice, "dice_raw": dice, "dice_by_class": {"lv": dice},
        "hd95_vox": 1.0, "components": 0.0, "holes": 0.0, "cases": cases,
    }  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_plans_hold_their_own_rules(name: str, tmp_path: Path) -> None:
    plan = Plan.read(name)
    runs = runs_of(plan, tmp_path)
    assert len({run.key for run in runs}) == len(runs)
    assert plan.control in {row.name for row in plan.row}
    before: set[str] = set()
    for run in runs:
        assert not run.first or run.first in before, run.key
        before.add(run.key)
    stages = {run.key: run.preset for run in runs}
    for run in runs:
        if run.first:  # equal length, equal data
            assert run.preset.iterations == stages[f"{run.labelled}-{run.seed}-supervised"].iterations


def test_the_lists_of_acdc_keep_patients_apart(data) -> None:  # type: ignore[no-untyped-def]
    folder = data("acdc")
    develop, confirm = (set(names(PLANS / f"acdc-{which}.list")) for which in ("develop", "confirm"))
    others = set(names(folder / "lists" / "labelled_7.txt")) | set(names(folder / "gate.list"))
    assert not develop & confirm
    assert develop | confirm == set(names(folder / "lists" / "train_patients.txt")) - others
    assert ("074" in develop) == ("076" in develop)


def names(path: Path) -> list[str]:
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    return [line.removeprefix("patient") for line in lines if line and not line.startswith("#")]


def test_a_finished_run_is_not_missing_and_what_it_needs_is_not_asked_for(tmp_path: Path) -> None:
    plan = a_plan()
    assert [run.key for run in missing(plan, tmp_path, [])] == ["2-1-first", "2-1-second", "2-1-third"]
    done = [a_row("2-1-first", "first", 1, {"a": 1.0}), a_row("2-1-second", "second", 1, {"a": 1.0})]
    assert [run.key for run in missing(plan, tmp_path, done)] == ["2-1-first", "2-1-third"], "its student is gone"
    (tmp_path / "2-1-first").mkdir()
    (tmp_path / "2-1-first" / LAST).touch()
    assert [run.key for run in missing(plan, tmp_path, done)] == ["2-1-third"]


def test_a_run_waits_for_the_one_that_it_starts_from(tmp_path: Path) -> None:
    runs = missing(a_plan(), tmp_path, [])
    assert [run.key for run in ready(runs, set())] == ["2-1-first"]
    assert ready(runs[1:], {"2-1-first"}) == []
    assert [run.key for run in ready(runs[1:], set())] == ["2-1-second", "2-1-third"]


def test_costs_are_what_like_runs_cost(tmp_path: Path) -> None:
    run = runs_of(a_plan(), tmp_path)[0]
    assert cpu_hours(run, []) > 0
    assert cpu_hours(run, [a_row("x", "first", 2, {"a": 1.0})]) == pytest.approx(0.25 * run.preset.iterations)


def test_rows_that_would_share_a_folder_are_refused() -> None:
    with pytest.raises(ValidationError):
        a_plan(row=[{"name": "SemSim"}, {"name": "SemSim-"}])
    with pytest.raises(Missing):
        Plan.read("none")


def test_a_difference_is_paired_by_seed_and_case() -> None:
    ours = [a_row("a", "x", seed, {"p_frame01": 0.9, "q_frame01": 0.5}) for seed in (1, 2)]
    theirs = [a_row("b", "y", seed, {"p_frame01": 0.8, "q_frame01": 0.4}) for seed in (2, 3)]
    found = evidence.difference(ours, theirs)
    assert found is not None
    assert found.mean == pytest.approx(0.1)
    assert found.low == pytest.approx(found.high)
    assert evidence.difference(ours[:1], theirs) is None


def test_a_page_holds_every_row_and_says_what_lacks(tmp_path: Path) -> None:
    rows = [
        a_row("2-1-second", "second", 1, {"p_frame01": 0.8, "q_frame01": 0.6}),
        a_row("2-1-third", "third", 1, {"p_frame01": 0.9, "q_frame01": 0.7}),
    ]
    evidence.write_page(a_plan(), rows, "t", tmp_path / "t.md")
    page = (tmp_path / "t.md").read_text("utf-8")
    assert "| third | 2 | 1 | **0.800** |" in page
    assert "+10.0 [+10.0, +10.0]" in page
    assert "1 runs of the plan are not there yet" in page
    assert (tmp_path / "t.png").is_file()


def test_a_comparison_runs_measures_and_goes_on_where_it_stopped(acdc_layout: Path, tmp_path: Path) -> None:
    console = Console(stderr=True)
    results = tmp_path / "t.json"
    plan = a_plan()
    rows = running.compare(plan, acdc_layout, tmp_path / "runs", results, 2, console)
    assert [row["key"] for row in json.loads(results.read_text("utf-8"))] == ["2-1-first", "2-1-second", "2-1-third"]
    by_key = {row["key"]: row for row in rows}
    assert by_key["2-1-third"]["unlabelled_patients"] == 1
    assert (by_key["2-1-first"]["iterations"], by_key["2-1-third"]["iterations"]) == (2, 4)
    assert [by_key[key]["teacher"] for key in sorted(by_key)] == ["none", "none", "frozen"]
    assert 0 <= by_key["2-1-first"]["dice"] <= 1
    assert running.compare(plan, acdc_layout, tmp_path / "runs", results, 1, console) == json.loads(results.read_text())


def test_a_run_that_fails_takes_only_its_followers_with_it(acdc_layout: Path, tmp_path: Path) -> None:
    plan = a_plan(labelled={"0": "lists/none.txt", "2": "lists/train.txt"})
    with pytest.raises(Broken) as caught:
        running.compare(plan, acdc_layout, tmp_path / "runs", tmp_path / "t.json", 2, Console(stderr=True))
    assert "0-1-first" in str(caught.value)
    assert len(running.read_results(tmp_path / "t.json")) == 3
