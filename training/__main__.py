"""``python -m training train | evaluate | compare``. Torch is imported only by what needs it."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from contracts.errors import Usage, exit_codes
from contracts.tasks import Task
from training.settings import DATA_SETS, TrainingSettings, data_folder

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train students and measure them.")
people = Console(stderr=True)


@app.command()
def train(
    preset: Annotated[Path, typer.Argument(help="TOML file, or the name of a shipped preset")],
    data: Annotated[
        Path | None, typer.Option(help="folder of the data set (default: the task's in SEGLOOP_DATA)")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the run (default: runs/PRESET)")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run found there")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value, overrides the preset")] = None,
) -> None:
    """Train a student. Ctrl-C and SIGTERM save and end with exit code 1; --resume goes on bit for bit."""
    from training.data.sources import SYNTHETIC, read_source
    from training.loop import train as run_training
    from training.preset import Preset

    chosen = Preset.read(preset, tuple(changes or ()))
    drawn = {chosen.train_list, chosen.validation_list} == {SYNTHETIC}
    source = read_source(chosen, None if drawn else data_folder(data, DATA_SETS[chosen.task]))
    folder = out or Path("runs") / chosen.name
    run = run_training(chosen, source, folder, resume)
    if run.stopped:
        people.print(f"Stopped at iteration {run.iteration}; --resume goes on.")
        raise typer.Exit(1)
    people.print(f"The student stands in {folder}; mean Dice on validation {run.scores.get('mean_dice', 0):.3f}.")


@app.command()
def evaluate(
    task: Annotated[Task, typer.Option(help="whose protocol")],
    list_file: Annotated[Path, typer.Option("--list", help="patients or frames, one a line")],
    data: Annotated[
        Path | None, typer.Option(help="folder of the data set (default: the task's in SEGLOOP_DATA)")
    ] = None,
    model: Annotated[str | None, typer.Option(help="exported model, NAME or NAME:VERSION")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="checkpoint of a run")] = None,
    repository: Annotated[Path | None, typer.Option(help="model repository")] = None,
    threads: Annotated[int, typer.Option(min=0, help="0: as many as there are cores")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON document on stdout")] = False,
) -> None:
    """Measure a model on any folder in the data's layout and any list of it."""
    from training.evaluation.answer import chosen_checkpoint, chosen_model, evaluation
    from training.evaluation.table import as_table

    if (model is None) == (checkpoint is None):
        raise Usage("one_model", "Name either --model or --checkpoint.")
    folder = data_folder(data, DATA_SETS[task])
    if checkpoint is not None:
        chosen = chosen_checkpoint(checkpoint, threads)
    else:
        chosen = chosen_model(repository or TrainingSettings().model_repository, str(model), threads)
    answer = evaluation(task, folder, list_file, chosen, people)
    people.print(as_table(answer))
    if as_json:
        print(json.dumps(answer, indent=2))


@app.command()
def compare(
    plan: Annotated[str, typer.Argument(help="name of a shipped plan, for example acdc")],
    data: Annotated[
        Path | None, typer.Option(help="folder of the data set (default: SEGLOOP_DATA and the plan)")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the runs")] = Path("runs/compare"),
    results: Annotated[Path, typer.Option(help="folder of the tables")] = Path("docs/results"),
    workers: Annotated[int, typer.Option(min=1, help="runs side by side, one thread each")] = 1,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="print what is missing and what it costs, run nothing")
    ] = False,
) -> None:
    """Run a table of comparisons, going on where it stopped, and write its page."""
    from training.comparison import evidence, running
    from training.comparison.plan import Plan, cpu_hours, missing

    chosen = Plan.read(plan)
    page, folder = results / f"{plan}.md", out / plan
    rows = running.read_results(page.with_suffix(".json"))
    lacking = missing(chosen, folder, rows)
    costs = [cpu_hours(run, rows) for run in lacking]
    for run, cost in zip(lacking, costs, strict=True):
        people.print(f"{run.key}: {run.preset.iterations} iterations, about {60 * cost:.0f} CPU minutes")
    people.print(
        f"{len(lacking)} runs to do, {sum(costs):.1f} CPU hours, about {sum(costs) / workers:.1f} h with {workers}."
    )
    if only_plan:
        return
    rows = running.compare(chosen, data_folder(data, chosen.data), folder, page.with_suffix(".json"), workers, people)
    evidence.write_page(chosen, rows, plan, page)
    people.print(f"The table stands in {page}.")


def main() -> None:
    """Run the command; typed errors end with their exit code and one sentence on stderr."""
    handler = RichHandler(console=people, show_path=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    with exit_codes():
        app()


if __name__ == "__main__":
    main()
