"""Reading the layouts in which labelled data is evaluated (numpy only): the ACDC benchmark as one file a patient."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Missing, Refused
from contracts.prepare import Masks

PHASES = ("ed", "es")
_NAME = re.compile(r"(?:patient)?(\d{1,3})(?:_frame0?([12]))?(?:_slice_\d+)?$")


@dataclass(frozen=True, eq=False)
class CardiacCase:
    """One patient of the ACDC layout.

    ``images`` uint16 [phase, slice, row, column], phase 0 is end-diastole, 1 end-systole, each on a grey scale of its
    own; ``labels`` uint8 of the same shape (1 right ventricle, 2 myocardium, 3 left ventricle), no spacing.
    """

    patient: str
    images: NDArray[np.uint16]
    labels: Masks

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the phases in the layout's words, for example ``patient010_frame01``."""
        return tuple(f"{self.patient}_frame{phase + 1:02d}" for phase in range(len(self.images)))


def read_cardiac(folder: Path, patient: str) -> CardiacCase:
    """Read ``folder/patients/<patient>.npz``; raises ``Missing`` ``no_case`` or ``Refused`` ``bad_case``."""
    path = folder / "patients" / f"{patient}.npz"
    if not path.is_file():
        raise Missing("no_case", f"There is no file {path}.")
    with np.load(path) as arrays:
        try:
            images = np.stack([arrays[f"{phase}_image"] for phase in PHASES])
            labels = np.stack([arrays[f"{phase}_label"] for phase in PHASES])
        except (KeyError, ValueError) as error:
            raise Refused("bad_case", f"{path.name} does not hold images and labels of two phases.") from error
    if images.shape != labels.shape or images.ndim != 4:
        raise Refused("bad_case", f"Images and labels of {path.name} differ in shape.")
    return CardiacCase(patient, images, labels.astype(np.uint8))


def read_cardiac_cases(folder: Path, patients: tuple[str, ...]) -> Iterator[CardiacCase]:
    """Read patients one after the other, in the order given."""
    return (read_cardiac(folder, patient) for patient in patients)


@dataclass(frozen=True)
class Listed:
    """A line of a list: a patient, and the phase it is limited to (0 or 1; None: both)."""

    patient: str
    phase: int | None


def read_list(path: Path) -> tuple[Listed, ...]:
    """Read a list with one name a line: ``010``, ``patient010`` or ``patient010_frame01`` (also with ``_slice_K``).

    Empty lines and repeated names are skipped. Raises ``Missing`` ``no_list`` and ``Refused`` ``bad_list``.
    """
    if not path.is_file():
        raise Missing("no_list", f"There is no list {path}.")
    entries: dict[Listed, None] = {}
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            entries.setdefault(_parse(line.strip(), path))
    if not entries:
        raise Refused("bad_list", f"The list {path.name} is empty.")
    return tuple(entries)


def patients_of(entries: tuple[Listed, ...]) -> tuple[str, ...]:
    """Return the patients of a list, each once, in order of first appearance."""
    return tuple(dict.fromkeys(entry.patient for entry in entries))


def phases_of(entries: tuple[Listed, ...], patient: str) -> tuple[int, ...]:
    """Return the phases of a patient that a list asks for, ascending."""
    asked = {entry.phase for entry in entries if entry.patient == patient}
    return tuple(phase for phase in range(len(PHASES)) if None in asked or phase in asked)


def _parse(name: str, path: Path) -> Listed:
    match = _NAME.match(name)
    if not match:
        raise Refused("bad_list", f"{path.name}: '{name}' is not a patient or frame of the ACDC layout.")
    phase = int(match[2]) - 1 if match[2] else None
    return Listed(f"patient{int(match[1]):03d}", phase)
