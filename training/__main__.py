"""``python -m training train | evaluate``."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from contracts.errors import SegloopError, answer_to
from training.data.sources import SYNTHETIC, read_source
from training.loop import train as run_training
from training.preset import Preset
from training.settings import data_folder

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train students and measure them.")


@app.command()
def train(
    preset: Annotated[Path, typer.Argument(help="TOML file, or the name of a shipped preset")],
    data: Annotated[Path | None, typer.Option(help="folder of the data set (default: SEGLOOP_DATA/acdc)")] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run (default: runs/PRESET)")] = None,
    resume: Annotated[bool, typer.Option(help="go on with the run found there")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value, overrides the preset")] = None,
) -> None:
    """Train a student."""
    chosen = Preset.read(preset, tuple(changes or ()))
    drawn = {chosen.train_list, chosen.validation_list} == {SYNTHETIC}
    source = read_source(chosen, None if drawn else data_folder(data, "acdc"))
    run = run_training(chosen, source, out or Path("runs") / chosen.name, resume)
    if run.stopped:
        Console(stderr=True).print(f"Stopped at iteration {run.iteration}; --resume goes on.")
        raise typer.Exit(1)


@app.command()
def evaluate() -> None:
    """Later."""


def main() -> None:
    """Run the command; typed errors end with their exit code and one sentence on stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)]
    )
    try:
        app()
    except SegloopError as error:
        Console(stderr=True).print(f"{error.code}: {error.sentence}")
        sys.exit(answer_to(error).exit)


if __name__ == "__main__":
    main()
