"""What a person sees on stderr while a command works: bars with the time that is left, and states as they change."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from client.api import Study


@contextmanager
def sending(console: Console, files: int, size: int) -> Iterator[Callable[[int], None]]:
    """Show a bar for ``size`` bytes in ``files`` files; gives the function that adds bytes sent."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"Sending {files} files", total=size)
        yield lambda count: bars.advance(task, count)


@contextmanager
def waiting(console: Console) -> Iterator[Callable[[Sequence[Study]], None]]:
    """Show what is being waited for; gives the function that takes the studies each time they were asked for.

    Where stderr is no terminal, each change is one line instead of a moving one.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    last = ""
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("Waiting for the answer", total=None)

        def show(studies: Sequence[Study]) -> None:
            nonlocal last
            text = _sentence(studies)
            done, total, left = _slices(studies)
            bars.update(task, description=text + left, completed=done, total=total or None)
            if text != last and not console.is_terminal:
                console.print(text)
            last = text

        yield show


def _slices(studies: Sequence[Study]) -> tuple[int, int, str]:
    """Slices done and in all of the predictions that run, and the time that is left in words."""
    running = [stack.progress for study in studies for stack in study.stacks if stack.progress]
    left = f", about {max(progress.eta_s for progress in running):.0f} s left" if running else ""
    return sum(progress.done for progress in running), sum(progress.total for progress in running), left


def _sentence(studies: Sequence[Study]) -> str:
    open_studies = [study for study in studies if not study.answered]
    if not open_studies:
        return "Answered"
    counts: dict[str, int] = {}
    for study in open_studies:
        states = [stack.state for stack in study.stacks if not stack.answered] or [study.state]
        for state in states:
            counts[state] = counts.get(state, 0) + 1
    parts = ", ".join(f"{count} {state}" if count > 1 else state for state, count in sorted(counts.items()))
    return f"Waiting for the answer: {parts}"
