"""``python -m export onnx | publish | promote | list``. Torch is imported by ``onnx`` only."""

import getpass
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich.console import Console
from rich.table import Table

from contracts.errors import exit_codes
from contracts.model_contract import file_sha256
from contracts.model_repository import CONTRACT, MODEL, TRAINING
from export.repository import promote as promote_version
from export.repository import publish as publish_version
from export.repository import rows

app = typer.Typer(no_args_is_help=True, add_completion=False, help="From a checkpoint to a version that serves.")
people = Console(stderr=True)


class ExportSettings(BaseSettings):
    """Where the models are."""

    model_config = SettingsConfigDict(env_prefix="SEGLOOP_", extra="ignore")

    model_repository: Path = Field(default=Path("model_repository"), description="folder of the models")


Repository = Annotated[Path | None, typer.Option(help="model repository (default: SEGLOOP_MODEL_REPOSITORY)")]
Why = Annotated[str, typer.Option(help="reason, for the history")]
Who = Annotated[str | None, typer.Option(help="name, for the history (default: the user who runs this)")]


@app.command()
def onnx(
    checkpoint: Annotated[Path, typer.Option(help="checkpoint of a run")],
    out: Annotated[Path, typer.Option(help="folder for the exported model")],
    data: Annotated[
        Path | None, typer.Option(help="data set on whose validation slices torch and the file are compared")
    ] = None,
) -> None:
    """Write a student as ONNX with its contract and training record, and compare it with torch."""
    from export.onnx import export_onnx, parity
    from export.record import snapshot_sha256, training_record
    from export.slices import parity_slices
    from training.networks.trained import read_trained

    trained = read_trained(checkpoint)
    record = training_record(trained)
    scores = {name: round(value, 4) for name, value in trained.scores.items()}
    contract = trained.contract.model_copy(update={"snapshot_sha256": snapshot_sha256(record), "scores": scores})
    out.mkdir(parents=True, exist_ok=True)
    export_onnx(trained, contract, out / MODEL)
    found = parity(trained, contract, out / MODEL, parity_slices(data, trained.preset, contract.prepare))
    final = contract.model_copy(update={"model_sha256": file_sha256(out / MODEL)})
    (out / CONTRACT).write_text(final.to_json(), "utf-8")
    (out / TRAINING).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    people.print(f"{out / MODEL}: {found.different} of {found.pixels} pixels differ from torch, all undecided there.")


@app.command()
def publish(
    exported: Annotated[Path, typer.Argument(help="folder that 'onnx' wrote")],
    why: Why,
    who: Who = None,
    repository: Repository = None,
) -> None:
    """Put an exported model into the repository as its next version. It does not serve by that."""
    place = _repository(repository)
    version = publish_version(exported, place, who=who or getpass.getuser(), why=why)
    people.print(f"Published version {version} in {place}.")


@app.command()
def promote(
    name: Annotated[str, typer.Argument(help="name of the model")],
    version: Annotated[int, typer.Argument(help="its version")],
    why: Why,
    who: Who = None,
    repository: Repository = None,
) -> None:
    """Make a published version serve."""
    promote_version(_repository(repository), name, version, who=who or getpass.getuser(), why=why)
    people.print(f"{name}:{version} serves.")


@app.command("list")
def list_versions(
    repository: Repository = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """List all versions of all models."""
    found = rows(_repository(repository))
    table = Table("model", "version", "state", "variant", "digest", "mean Dice")
    for row in found:
        score = f"{row.scores['mean_dice']:.3f}" if "mean_dice" in row.scores else ""
        table.add_row(row.name, str(row.version), row.state, row.variant, row.digest[:12], score)
    people.print(table)
    if as_json:
        print(json.dumps({"models": [asdict(row) for row in found]}, indent=2))


def _repository(given: Path | None) -> Path:
    return given or ExportSettings().model_repository


def main() -> None:
    """Run the command; typed errors end with their exit code and one sentence on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with exit_codes():
        app()


if __name__ == "__main__":
    main()
