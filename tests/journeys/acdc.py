"""ACDC hearts written as DICOM: a short-axis cine of two phases with a spacing that is invented and says so."""

from itertools import product
from pathlib import Path

import numpy as np

from contracts.cases import Case, names_of, read_list
from contracts.scores import dice
from contracts.tasks import LABELS, Task
from tests.builders import SHORT_AXIS, Exam, write

SPACING_MM, DISTANCE_MM = 1.5, 8.0
"""Invented: the data set dropped its spacing, and every file says so."""


def validation(folder: Path) -> tuple[str, ...]:
    """The validation patients."""
    return names_of(read_list(Task.CARDIAC, folder / "lists" / "val_patients.txt"))


def as_dicom(case: Case, folder: Path) -> tuple[Exam, list[Path]]:
    """Write a patient's two phases as a short-axis cine; slices in the data's order, base first."""
    exam = Exam(case.name)
    normal = np.cross(SHORT_AXIS[:3], SHORT_AXIS[3:])
    series = exam.next_series()
    images = []
    for number, (place, phase) in enumerate(product(range(case.images.shape[1]), range(2))):
        images.append(
            exam.image(
                series,
                number + 1,
                place * DISTANCE_MM * normal,
                case.images[phase, place].astype(np.uint16),
                spacing=(SPACING_MM, SPACING_MM),
                TriggerTime=300.0 * phase,
                ImageComments="spacing invented",
            )
        )
    return exam, list(write(images, folder).values())


def figures(labels: np.ndarray, case: Case) -> list[float]:
    """Dice of each phase and structure, phase by phase; ``labels`` [phase, slice, row, column]."""
    return [
        dice(labels[phase] == label.value, case.labels[phase] == label.value)
        for phase in range(2)
        for label in LABELS[Task.CARDIAC]
    ]
