"""Reading the layouts in which labelled data is evaluated (numpy only): the ACDC benchmark as one file a patient."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Missing, Refused, Usage
from contracts.prepare import Masks
from contracts.tasks import Task

PHASES = ("ed", "es")
_NAME = re.compile(r"(?:patient)?(\d{1,3})(?:_frame0?([12]))?(?:_slice_\d+)?$")


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled patient or image, whatever the task.

    ``images`` of any integer dtype, [phase, slice, row, column] in grey or [phase, slice, row, column, channel] in
    colour; ``labels`` uint8 [phase, slice, row, column]; ``frames`` the name of each phase in the layout's words;
    ``spacing_mm`` between slices, rows and columns, None where it is not known.
    """

    name: str
    images: NDArray[Any]
    labels: Masks
    frames: tuple[str, ...]
    spacing_mm: tuple[float, float, float] | None = None


def read_cases(task: Task, folder: Path, names: Iterable[str]) -> Iterator[Case]:
    """Read the cases of a task's layout one after the other, in the order given; see ``read_case``."""
    return (read_case(task, folder, name) for name in names)


def read_case(task: Task, folder: Path, name: str) -> Case:
    """Read one case of a task's layout below ``folder``.

    Raises ``Missing`` ``no_case``, ``Refused`` ``bad_case``, and ``Usage`` ``no_layout`` for a task without one.
    """
    if task is not Task.CARDIAC:
        raise Usage("no_layout", f"There is no layout of labelled data of the task {task.value} yet.")
    return _read_cardiac(folder, name)


def check_cases(task: Task, folder: Path, names: Sequence[str]) -> None:
    """Make sure that every case of a list is there, before the first of them is read.

    Raises ``Missing``: ``other_layout`` where ``folder`` is not in the task's layout, ``no_case`` with the first names
    that are absent; ``Usage`` ``no_layout`` for a task without one.
    """
    if task is not Task.CARDIAC:
        raise Usage("no_layout", f"There is no layout of labelled data of the task {task.value} yet.")
    if not (folder / "patients").is_dir():
        raise Missing("other_layout", f"{folder} is not in the ACDC layout: it holds no folder named patients.")
    absent = [name for name in names if not _cardiac_file(folder, name).is_file()]
    if absent:
        told = ", ".join(absent[:5]) + (" and so on" if len(absent) > 5 else "")
        raise Missing("no_case", f"{len(absent)} of {len(names)} listed patients are not in {folder}/patients: {told}.")


def cardiac_frames(patient: str) -> tuple[str, ...]:
    """Return the names of a patient's phases in the ACDC layout, for example ``patient010_frame01``."""
    return tuple(f"{patient}_frame{phase + 1:02d}" for phase in range(len(PHASES)))


def _cardiac_file(folder: Path, patient: str) -> Path:
    return folder / "patients" / f"{patient}.npz"


def _read_cardiac(folder: Path, patient: str) -> Case:
    """Phase 0 is end-diastole, 1 end-systole, each on a grey scale of its own; the layout keeps no spacing."""
    path = _cardiac_file(folder, patient)
    if not path.is_file():
        raise Missing("no_case", f"There is no file {path}.")
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            images = np.stack([arrays[f"{phase}_image"] for phase in PHASES])
            labels = np.stack([arrays[f"{phase}_label"] for phase in PHASES])
    except (KeyError, ValueError, OSError, EOFError, BadZipFile) as error:
        raise Refused("bad_case", f"{path.name} does not hold images and labels of two phases.") from error
    if images.shape != labels.shape or images.ndim != 4:
        raise Refused("bad_case", f"Images and labels of {path.name} differ in shape.")
    return Case(patient, images, labels.astype(np.uint8), cardiac_frames(patient))


@dataclass(frozen=True)
class Listed:
    """A line of a list: the name of a case, and the phase it is limited to (None: all)."""

    name: str
    phase: int | None


def read_list(task: Task, path: Path) -> tuple[Listed, ...]:
    """Read a list with one name a line, in the words of the task's layout.

    Cardiac: ``010``, ``patient010`` or ``patient010_frame01`` (also with ``_slice_K``). Empty lines, lines that begin
    with ``#`` and repeated names are skipped. Raises ``Missing`` ``no_list``, ``Refused`` ``bad_list``, and ``Usage``
    ``no_layout``.
    """
    if task is not Task.CARDIAC:
        raise Usage("no_layout", f"There is no layout of labelled data of the task {task.value} yet.")
    if not path.is_file():
        raise Missing("no_list", f"There is no list {path}.")
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise Refused("bad_list", f"The list {path.name} is not a text file in UTF-8.") from error
    entries = dict.fromkeys(_parse(line, path) for line in lines if line and not line.startswith("#"))
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


def _parse(name: str, path: Path) -> Listed:
    match = _NAME.match(name)
    if not match:
        raise Refused("bad_list", f"{path.name}: '{name}' is not a patient or frame of the ACDC layout.")
    phase = int(match[2]) - 1 if match[2] else None
    return Listed(f"patient{int(match[1]):03d}", phase)
