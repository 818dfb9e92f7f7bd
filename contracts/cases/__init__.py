"""Reading labelled data for training and evaluation: one way for every task and layout.

Cardiac: ACDC as one archive a patient. Prostate: one archive a patient, or PROMISE12's MetaImage files. Skin:
photographs and masks as the ISIC challenges have them.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from contracts.cases.acdc import ACDC, cardiac_frames
from contracts.cases.case import Case, Layout, Listed
from contracts.cases.isic import ISIC
from contracts.cases.prostate import PROMISE12, PROSTATE
from contracts.errors import Missing, Refused, Usage
from contracts.tasks import Task

__all__ = [
    "Case",
    "Listed",
    "cardiac_frames",
    "check_cases",
    "names_of",
    "phases_of",
    "read_case",
    "read_cases",
    "read_list",
]

LAYOUTS: dict[Task, tuple[Layout, ...]] = {
    Task.CARDIAC: (ACDC,),
    Task.PROSTATE: (PROSTATE, PROMISE12),
    Task.SKIN: (ISIC,),
}


def read_cases(task: Task, folder: Path, names: Iterable[str]) -> Iterator[Case]:
    """Read the cases of a task's layout one after the other, in the order given; see ``read_case``."""
    return (read_case(task, folder, name) for name in names)


def read_case(task: Task, folder: Path, name: str) -> Case:
    """Read one case of a task's layout below ``folder``.

    Raises ``Missing`` ``no_case``, ``Refused`` ``bad_case``, and ``Usage`` ``no_layout`` for a task without one.
    """
    layouts = _layouts(task)
    return (_held(layouts, folder) or layouts[0]).read(folder, name)


def check_cases(task: Task, folder: Path, names: Sequence[str]) -> None:
    """Make sure that every case of a list is there, before the first of them is read.

    Raises ``Missing``: ``other_layout`` where ``folder`` is not in the task's layout, ``no_case`` with the first names
    that are absent; ``Usage`` ``no_layout`` for a task without one.
    """
    layouts = _layouts(task)
    layout = _held(layouts, folder)
    if layout is None:
        told = " and ".join(f"not in the {one.title} layout: it holds no {one.needs}" for one in layouts)
        raise Missing("other_layout", f"{folder} is {told}.")
    absent = [name for name in names if not layout.file(folder, name).is_file()]
    if absent:
        told = ", ".join(absent[:5]) + (" and so on" if len(absent) > 5 else "")
        raise Missing("no_case", f"{len(absent)} of {len(names)} listed cases are not in {folder}: {told}.")


def read_list(task: Task, path: Path) -> tuple[Listed, ...]:
    """Read a list with one name a line, in the words of the task's layout.

    Cardiac: ``010``, ``patient010`` or ``patient010_frame01`` (also with ``_slice_K``); prostate: ``RUNMC_Case00`` or
    ``Case00``; skin: ``ISIC_0000000`` or ``0000000``. Empty lines, lines that begin with ``#`` and repeated names are
    skipped. Raises ``Missing`` ``no_list``, ``Refused`` ``bad_list``, and ``Usage`` ``no_layout``.
    """
    layout = _layouts(task)[0]
    if not path.is_file():
        raise Missing("no_list", f"There is no list {path}.")
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise Refused("bad_list", f"The list {path.name} is not a text file in UTF-8.") from error
    entries: dict[Listed, None] = {}
    for line in lines:
        if line and not line.startswith("#"):
            listed = layout.parse(line)
            if listed is None:
                raise Refused("bad_list", f"{path.name}: '{line}' is not a name of the {layout.title} layout.")
            entries.setdefault(listed)
    if not entries:
        raise Refused("bad_list", f"The list {path.name} is empty.")
    return tuple(entries)


def names_of(entries: tuple[Listed, ...]) -> tuple[str, ...]:
    """Return the cases of a list, each once, in order of first appearance."""
    return tuple(dict.fromkeys(entry.name for entry in entries))


def phases_of(entries: tuple[Listed, ...], case: Case) -> tuple[int, ...]:
    """Return the phases of a case that a list asks for, ascending."""
    asked = {entry.phase for entry in entries if entry.name == case.name}
    return tuple(phase for phase in range(len(case.frames)) if None in asked or phase in asked)


def _layouts(task: Task) -> tuple[Layout, ...]:
    if task not in LAYOUTS:
        raise Usage("no_layout", f"There is no layout of labelled data of the task {task.value} yet.")
    return LAYOUTS[task]


def _held(layouts: tuple[Layout, ...], folder: Path) -> Layout | None:
    return next((layout for layout in layouts if layout.held_by(folder)), None)
