"""A preset: all numbers of a training run, in one TOML file."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contracts.errors import Missing, Usage
from contracts.prepare import Prepare, prepare_for
from contracts.tasks import Task
from training.data.augment import Views
from training.data.strong import Strong
from training.methods.options import Consistency

Method = Literal["supervised", "fixmatch", "semsim_minus", "semsim"]


class Preset(BaseModel):
    """One training run. Lists are files of the data set's folder, or ``synthetic`` for drawn shapes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    task: Task
    method: Method = "supervised"
    train_list: str = Field(description="labelled cases")
    unlabelled_list: str = Field(default="", description="cases of which only the images are used; labelled ones drop")
    unlabelled_limit: int | None = Field(default=None, ge=0, description="only so many of them, the first of the list")
    validation_list: str
    init: str = Field(default="", description="checkpoint whose averaged weights the run starts from")
    pool: tuple[str, ...] = Field(
        default=(), description="checkpoints that look at the unlabelled cases once, their probabilities averaged; init"
    )
    seed: int = 0
    iterations: int = Field(gt=0)
    batch: int = Field(default=8, gt=0, description="labelled views of a step")
    batch_unlabelled: int = Field(default=4, gt=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["cosine", "poly"] = "cosine"
    learning_rate: float = Field(default=2e-3, gt=0)
    warm_up: int = Field(default=50, ge=0, description="iterations of a linear rise")
    final_share: float = Field(default=0.01, ge=0, le=1, description="of the learning rate, at the end")
    weight_decay: float = 1e-2
    gradient_norm: float = Field(default=5.0, gt=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: int = Field(default=0, ge=0, description="0: as the machine has them")
    devices: int = Field(default=1, gt=0, description="processes that train together, each on a batch of its own")
    log_every: int = Field(default=20, gt=0)
    checkpoint_every: int = Field(default=200, gt=0)
    evaluate_every: int = Field(default=1000, gt=0)
    prepare: Prepare = Prepare()
    views: Views = Views()
    strong: Strong = Strong()
    consistency: Consistency = Consistency()

    @model_validator(mode="before")
    @classmethod
    def _prepared_as_the_task_is(cls, values: Any) -> Any:
        """The table ``prepare`` changes numbers of the task's own decision."""
        if not isinstance(values, dict) or "task" not in values:
            return values
        given = values.get("prepare", {})
        given = given.model_dump() if isinstance(given, Prepare) else given
        return {**values, "prepare": prepare_for(Task(values["task"]), **given)}

    @model_validator(mode="after")
    def _unlabelled_where_needed(self) -> Self:
        if (self.method != "supervised") != bool(self.unlabelled_list):
            raise ValueError("unlabelled_list goes with every method but 'supervised', and only with those")
        return self

    @classmethod
    def read(cls, path: Path, changes: tuple[str, ...] = ()) -> Self:
        """Read a preset and apply changes ``key=value`` (dots reach into tables, values are TOML or bare words).

        A name without a folder is looked up among the shipped presets; ``base = "NAME"`` in a file takes over all that
        the file does not say. Raises ``Missing`` ``no_preset`` and ``Usage``
        ``bad_preset``.
        """
        found = next((p for p in (path, shipped(path)) if p.is_file()), None)
        if found is None:
            raise Missing("no_preset", f"There is no preset {path}.")
        try:
            values = _values(found)
            for change in changes:
                _apply(values, change)
            return cls.model_validate(values)
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise Usage("bad_preset", f"The preset {found.name} cannot be used: {error}") from error


def shipped(path: Path) -> Path:
    """Return where a shipped preset of that name stands."""
    return Path(__file__).parent / "presets" / path.with_suffix(".toml").name


def _values(path: Path) -> dict[str, Any]:
    """Return what a file says; with ``base`` it only changes another shipped preset."""
    values = tomllib.loads(path.read_text("utf-8"))
    base = values.pop("base", "")
    return _merged(_values(shipped(Path(base))), values) if base else values


def _merged(one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(one[key], two[key]) for key in one.keys() & two.keys() if isinstance(one[key], dict)}
    return {**one, **two, **both}


def _apply(values: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key:
        raise Usage("bad_preset", f"'{change}' is not key=value.")
    *tables, last = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
    try:
        values[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        values[last] = text
