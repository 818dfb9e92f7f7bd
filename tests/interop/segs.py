"""Segmentations for other people's programs to judge: made-up ones of every kind, and one of a real study."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.dicom import read_header
from contracts.segmentations import Provenance, write_segmentation
from contracts.stacks import describe, stacks_of
from contracts.tasks import LABELS, Task
from contracts.volumes import arrange
from tests.contracts.benches import PROVENANCE, Bench, bench
from tests.journeys.sunnybrook import unpack
from tests.photographs import photograph, skin, spot

SUPERSEDING = replace(PROVENANCE, predecessors=("2.25.101", "2.25.102"), predecessor_series="2.25.103")


def sound(one: Bench) -> Bench:
    """Give the headers of a bench possible dates."""
    for header in one.headers.values():
        header.PatientBirthDate, header.StudyDate = "19700101", "20240102"
    return one


def photographed(kind: str, frames: int = 1, **attributes: object) -> Bench:
    """Return grid and header of a photograph of 33 x 29 pixels."""
    pixels = np.stack([skin(spot(33, 29))] * frames)
    image = photograph(pixels if frames > 1 else pixels[0], kind, **attributes)
    (stack,) = stacks_of([describe(image)])
    grid = arrange(stack, accept_per_instance_frame_of_reference=False)
    return sound(Bench(grid, {image.SOPInstanceUID: image}))


PROSTATE, SKIN = (replace(PROVENANCE, task=task) for task in (Task.PROSTATE, Task.SKIN))

SYNTHETIC: dict[str, Callable[[], tuple[Bench, Provenance]]] = {
    "classic": lambda: (sound(bench(rows=33, columns=29)), PROVENANCE),
    "oblique": lambda: (
        sound(bench(rows=40, columns=56, row_direction=(0.8, 0.6, 0.0), column_direction=(-0.36, 0.48, -0.8))),
        PROVENANCE,
    ),
    "enhanced": lambda: (sound(bench(rows=33, columns=29, enhanced=True)), PROVENANCE),
    "several series": lambda: (
        sound(bench(rows=33, columns=29, series_of=lambda phase, index: f"1.2.826.0.1.5.{index}")),
        PROVENANCE,
    ),
    "derived and invented": lambda: (
        sound(bench(rows=33, columns=29, frame_of_reference_derived=True, spacing_invented=True)),
        PROVENANCE,
    ),
    "superseding": lambda: (sound(bench(rows=33, columns=29)), SUPERSEDING),
}
"""Of a heart, which also gets a report."""

EVERY = {
    **SYNTHETIC,
    "prostate": lambda: (sound(bench(rows=33, columns=29, phases=1)), PROSTATE),
    "dermoscopic": lambda: (photographed("dermoscopic", PixelSpacing=[0.02, 0.025]), SKIN),
    "photographic in pixels": lambda: (photographed("photographic"), SKIN),
    "captured frames": lambda: (photographed("frames", 2), SKIN),
}


def heart(slices: int, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return labels uint8 [slice, row, column] shaped like a heart: the first slice empty, right ventricle on three."""
    down, along = np.mgrid[0:rows, 0:columns]
    labels = np.zeros((slices, rows, columns), dtype=np.uint8)
    size = min(rows, columns)
    for index in range(1, slices):
        distance = np.hypot(down - rows * 0.5, along - columns * 0.55)
        if index < 4:
            labels[index][np.hypot(down - rows * 0.45, along - columns * 0.3) < size * 0.18] = 1
        labels[index][distance < size * (0.28 - 0.005 * index)] = 2
        labels[index][distance < size * (0.17 - 0.005 * index)] = 3
    return labels


def store(folder: Path, one: Bench, provenance: Provenance, phase: int = 0) -> tuple[Path, NDArray[np.uint8]]:
    """Write a heart, or its outer form as the only structure of its task, and return the file and the labels in it."""
    slices = one.grid.slices
    labels = heart(max(2, slices), one.grid.rows, one.grid.columns)[-slices:]
    labels = np.minimum(labels, len(LABELS[provenance.task]))
    path = folder / "seg.dcm"
    path.write_bytes(write_segmentation(labels, one.grid, phase, one.headers, provenance))
    return path, labels


def sunnybrook(data: Path, study: str, folder: Path) -> Bench:
    """Return grid and headers of a real study, under the rule that accepts one frame of reference per image."""
    headers = {str(header.SOPInstanceUID): header for header in map(read_header, unpack(data, study, folder / study))}
    (stack,) = stacks_of([describe(header) for header in headers.values()])
    return Bench(arrange(stack, accept_per_instance_frame_of_reference=True), headers)
