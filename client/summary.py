"""What a command tells at its end: the JSON that scripts rely on, the words for people, the exit code."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from client.api import Sent, Stack, Study
from client.files import Problem
from contracts.errors import ANSWERS, Broken, Refused

COLOURS = {
    "done": "green",
    "delivering": "green",
    "held": "yellow",
    "not_processed": "dim",
    "dismissed": "dim",
    "refused": "red",
    "failed": "red",
}
NAMED = 20
"""Files that are named one by one; of more, only the number is said."""


def as_json(studies: Sequence[Study]) -> dict[str, object]:
    """Return the document of ``send --json``."""
    return {
        "studies": [
            {
                "study_uid": study.study_uid,
                "state": study.state,
                "stacks": [
                    {
                        "series_uids": list(stack.series_uids),
                        "task": stack.task,
                        "state": stack.state,
                        "reason": stack.reason,
                        "results": [result.sop_uid for result in stack.results],
                    }
                    for stack in study.stacks
                ],
                "ignored": [{"series_uid": one.series_uid, "reason": one.reason} for one in study.ignored],
            }
            for study in studies
        ]
    }


def exit_code(studies: Sequence[Study], refused: Sequence[Problem] = ()) -> int:
    """Return 1 if anything failed on our side, else 4 if anything was refused, else 0."""
    states = {study.state for study in studies} | {stack.state for study in studies for stack in study.stacks}
    if "failed" in states or any(problem.passing for problem in refused):
        return ANSWERS[Broken].exit
    return ANSWERS[Refused].exit if "refused" in states or refused else 0


def next_step(study: Study, stack: Stack, base: str) -> str:
    """Say what a person can do about a stack, or "" where there is nothing to do."""
    again = f"python -m client retry {study.study_uid}"
    if stack.state == "held":
        return f"Look at it and release or dismiss it: {base}/studies/{study.study_uid}"
    if stack.state == "refused":
        return f"Mend what the reason says and send again, or, if it was mended here: {again}"
    if stack.state == "failed":
        return f"See the gateway's log, then: {again}"
    if stack.state == "delivering":
        return f"On its way to its destinations; their queues are on {base}/system"
    if stack.state == "not_processed" and stack.code == "no_model":
        return f"When a model for it is published: {again}"
    return ""


def print_sent(console: Console, sent: Sent) -> None:
    """Say how many files went, and name those that did not."""
    stored, studies = sent.files - len(sent.refused), len(sent.study_uids)
    console.print(f"{stored} of {sent.files} files stored, {studies} {'study' if studies == 1 else 'studies'}.")
    _print_problems(console, "Not stored", sent.refused, "red")
    _print_problems(console, "Skipped", sent.skipped, "dim")


def _print_problems(console: Console, title: str, problems: Sequence[Problem], colour: str) -> None:
    for problem in problems[:NAMED]:
        console.print(f"[{colour}]{title}:[/] {escape(problem.name)}: {escape(problem.reason)}", soft_wrap=True)
    if len(problems) > NAMED:
        console.print(f"[{colour}]{title}:[/] and {len(problems) - NAMED} more files")


def print_studies(console: Console, studies: Sequence[Study], base: str) -> None:
    """Print each study with its stacks: the answered first, then what needs somebody, unmatched ones in short."""
    for study in studies:
        console.print(f"\n[bold]Study {study.study_uid}[/]: {_coloured(study.state)}", soft_wrap=True)
        if study.state == "refused" and not study.stacks:
            console.print(f"  Nothing of it is at {base}: none was stored, or it was sent elsewhere (see --api).")
        for stack in sorted(study.stacks, key=lambda one: one.state == "not_processed"):
            _print_stack(console, study, stack, base)
        for one in study.ignored:
            console.print(f"  [dim]ignored[/]  series {one.series_uid}: {escape(one.reason)}", soft_wrap=True)
        if any(stack.results for stack in study.stacks):
            console.print(f"  Page: {base}/studies/{study.study_uid}", soft_wrap=True)


def _print_stack(console: Console, study: Study, stack: Stack, base: str) -> None:
    count = len(stack.series_uids)
    where = f"series {stack.series_uids[0]}" if count == 1 else f"{count} series"
    console.print(
        f"  {_coloured(stack.state)}  {stack.task or 'no task'}, {where}"
        + (f": {escape(stack.reason)}" if stack.reason else ""),
        soft_wrap=True,
    )
    if stack.results:
        kinds = {result.kind for result in stack.results}
        console.print(f"    {len(stack.results)} results ({', '.join(sorted(kinds)).upper()}){_measured(stack)}")
    for warning in stack.warnings:
        console.print(f"    [yellow]note[/] {escape(warning)}", soft_wrap=True)
    advice = next_step(study, stack, base)
    if advice:
        console.print(f"    → {escape(advice)}", soft_wrap=True)


def _measured(stack: Stack) -> str:
    names = {
        "edv_ml": "EDV {:.0f} mL",
        "esv_ml": "ESV {:.0f} mL",
        "ef_percent": "EF {:.0f} %",
        "prostate_volume_ml": "prostate {:.1f} mL",
        "lesion_area_mm2": "lesion {:.1f} mm²",
        "lesion_area_pixels": "lesion {:.0f} pixels",
    }
    values = [
        words.format(stack.measurements[name])
        for name, words in names.items()
        if isinstance(stack.measurements.get(name), int | float)
    ]
    return ", " + ", ".join(values) if values else ""


def _coloured(state: str) -> str:
    colour = COLOURS.get(state, "cyan")
    return f"[{colour}]{state.replace('_', ' ')}[/]"


def studies_table(studies: Sequence[dict[str, object]]) -> Table:
    """Return a table of ``GET /api/studies``, without patient data."""
    table = Table(box=None, header_style="bold")
    table.add_column("study", overflow="fold", min_width=32)
    for title in ("state", "task", "objects", "reason"):
        table.add_column(title)
    for entry in studies:
        table.add_row(
            str(entry.get("study_uid", "")),
            _coloured(str(entry.get("state", ""))),
            str(entry.get("task", "")),
            str(entry.get("received", "")),
            escape(str(entry.get("reason", ""))),
        )
    return table
