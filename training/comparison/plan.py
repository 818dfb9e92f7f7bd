"""A plan names the rows of a table; each is one training run for every number of labelled cases and every seed."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.errors import Missing
from contracts.tasks import Task
from training.networks.trained import LAST
from training.preset import Preset

PLANS = Path(__file__).parent / "plans"
GUESS_S = 0.35
"""CPU seconds of an iteration, for rows of which nothing is known yet."""

Row = dict[str, Any]
"""One line of the results: a run, judged on one list."""


class PlannedRow(BaseModel):
    """One kind of run. ``after``: the row whose student it starts from; ``set``: changes of the preset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    after: str = ""
    changes: tuple[str, ...] = Field(default=(), alias="set")
    labelled: tuple[str, ...] = Field(default=(), description="only for these; none named: for all")
    seeds: tuple[int, ...] = Field(default=(), description="only these; none named: all")


class Plan(BaseModel):
    """What a table compares: ``lists`` are judged on, ``control`` is the row that the others are compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    task: Task
    preset: str
    data: str = Field(description="folder below SEGLOOP_DATA")
    seeds: tuple[int, ...]
    control: str
    labelled: dict[str, str] = Field(description="amount that is labelled: its list")
    amount: Literal["labelled_patients", "labelled_fraction"] = "labelled_patients"
    lists: dict[str, str] = Field(description="files of the data's folder, or beside the plan")
    row: tuple[PlannedRow, ...]

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        names = [_slug(row.name) for row in self.row]
        if len(set(names)) < len(names):
            raise ValueError("two rows of the plan would share their folder")
        return self

    @classmethod
    def read(cls, name: str) -> Self:
        """Read a shipped plan by its name. Raises ``Missing`` ``no_plan``."""
        path = PLANS / f"{name}.toml"
        if not path.is_file():
            shipped = ", ".join(sorted(plan.stem for plan in PLANS.glob("*.toml")))
            raise Missing("no_plan", f"There is no plan {name}; there are: {shipped}.")
        return cls.model_validate(tomllib.loads(path.read_text("utf-8")))

    def list_file(self, name: str, data: Path) -> Path:
        """Return the file of one of the plan's lists."""
        beside = PLANS / self.lists[name]
        return beside if beside.is_file() else data / self.lists[name]


@dataclass(frozen=True)
class Run:
    """One training run. ``key`` names it and its folder; ``first`` is the run whose student it starts from."""

    key: str
    row: str
    labelled: str
    seed: int
    first: str
    changes: tuple[str, ...]
    preset: Preset


def runs_of(plan: Plan, folder: Path) -> list[Run]:
    """Return all runs of a plan, each after the one that it starts from; their students stand in ``folder``."""
    return [
        _run(plan, row, labelled, seed, folder)
        for seed in plan.seeds
        for labelled in plan.labelled
        for row in plan.row
        if (not row.labelled or labelled in row.labelled) and (not row.seeds or seed in row.seeds)
    ]


def missing(plan: Plan, folder: Path, results: list[Row]) -> list[Run]:
    """Return the runs that lack figures on some list, and those whose students these need and that are not there."""
    runs = {run.key: run for run in runs_of(plan, folder)}
    done = {(row["key"], row["list"]) for row in results}
    needed = {key for key in runs if any((key, name) not in done for name in plan.lists)}
    for key in reversed(runs):
        first = runs[key].first
        if key in needed and first and not (folder / first / LAST).is_file():
            needed.add(first)
    return [run for run in runs.values() if run.key in needed]


def cpu_hours(run: Run, results: list[Row]) -> float:
    """Return what a run will cost: what the runs of its row cost an iteration, or a guess."""
    known = [row["cpu_hours"] / row["own_iterations"] for row in results if row["row"] == run.row]
    return run.preset.iterations * (sum(known) / len(known) if known else GUESS_S / 3600)


def _run(plan: Plan, row: PlannedRow, labelled: str, seed: int, folder: Path) -> Run:
    def key(name: str) -> str:
        return f"{labelled}-{seed}-{_slug(name)}"

    first = key(row.after) if row.after else ""
    changes = [f"name={key(row.name)}", f"train_list={plan.labelled[labelled]}", f"seed={seed}", *row.changes]
    if first:
        changes.append(f"init={folder / first / LAST}")
    preset = Preset.read(Path(plan.preset), tuple(changes))
    return Run(key(row.name), row.name, labelled, seed, first, tuple(changes), preset)


def _slug(name: str) -> str:
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")


def ready(runs: list[Run], running: set[str]) -> list[Run]:
    """Return those of the waiting runs whose first stage is neither waiting nor running."""
    busy = {run.key for run in runs} | set(running)
    return [run for run in runs if run.first not in busy]
