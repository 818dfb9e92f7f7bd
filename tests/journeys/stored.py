"""Patients with a truth to compare with, and the alterations of how they are stored."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from contracts.cases import read_case
from contracts.dicom import quiet, read_header
from contracts.model_repository import read_model
from contracts.segment import segment
from contracts.segmentations import write_segmentation
from contracts.stacks import describe, stacks_of
from contracts.tasks import Task, label_names
from contracts.volumes import Grid, arrange, load
from tests.conftest import ROOT
from tests.contracts.benches import PROVENANCE
from tests.journeys.acdc import as_dicom, figures
from tests.journeys.sunnybrook import Experts, unpack
from tests.patient_space import (
    Change,
    asked,
    mirrored_columns,
    mirrored_rows,
    planes_of,
    resampled,
    rotated,
    stored_anew,
    window,
)
from training.networks.exported import exported_runner

BORDER = 8
"""Pixels between the heart and a border that it was brought near to: about a centimetre."""

Masks = Mapping[int, NDArray[np.uint8]]
Score = Mapping[str, float]
"""Dice (fractions) of each structure."""


@dataclass(frozen=True)
class Heart:
    """Where a heart lies in its slices: first and last row and column, and the size of a slice."""

    top: int
    bottom: int
    left: int
    right: int
    rows: int
    columns: int

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> "Heart":
        """Return the box of labels [phase, slice, row, column]."""
        _, _, rows, columns = labels.nonzero()
        ends = [int(end) for axis in (rows, columns) for end in (axis.min(), axis.max())]
        return cls(*ends, *labels.shape[2:])

    def near(self, *, bottom: bool, right: bool) -> Change:
        """Bring it near a corner; the slice keeps its size, and what was not scanned is 0."""
        top = self.bottom + BORDER + 1 - self.rows if bottom else self.top - BORDER
        left = self.right + BORDER + 1 - self.columns if right else self.left - BORDER
        return window(top, left, self.rows, self.columns)

    def within(self, share: float) -> Change:
        """Pad (share > 1) a slice on all sides, or cut it down around its middle, but never into the heart."""
        down, across = (round((share - 1) / 2 * side) for side in (self.rows, self.columns))
        top, left = min(-down, self.top - BORDER), min(-across, self.left - BORDER)
        bottom, right = max(self.rows + down, self.bottom + BORDER), max(self.columns + across, self.right + BORDER)
        return window(top, left, bottom - top, right - left)


ALTERATIONS: dict[str, Callable[[Heart], Change]] = {
    "at the top left": lambda heart: heart.near(bottom=False, right=False),
    "at the bottom right": lambda heart: heart.near(bottom=True, right=True),
    "turned by 90": lambda _: rotated(1),
    "turned by 180": lambda _: rotated(2),
    "turned by 270": lambda _: rotated(3),
    "columns mirrored": lambda _: mirrored_columns,
    "rows mirrored": lambda _: mirrored_rows,
    "finer pixels": lambda _: resampled(0.75),
    "coarser pixels": lambda _: resampled(1.3),
    "half as much again around it": lambda heart: heart.within(1.5),
    "twice as wide": lambda heart: window(0, -heart.columns // 2, heart.rows, 2 * heart.columns),
    "cut to three fifths": lambda heart: heart.within(0.6),
    "cut to the heart": lambda heart: heart.within(0),
}
"""What is done to a patient's images; the patient stays the same, in the same place."""


@dataclass(frozen=True)
class Patient:
    """The files of a cine, what its plain form was answered, and how good labels at its planes are."""

    name: str
    paths: Sequence[Path]
    grid: Grid
    heart: Heart
    score: Callable[[Masks], Score]
    plain: Score

    def lost(self, name: str, folder: Path) -> Score:
        """Return what an alteration costs of the score, asked for at the places of the plain images."""
        with quiet():
            change = ALTERATIONS[name](self.heart)
            paths = [folder / path.name for path in self.paths]
            for path, copy in zip(self.paths, paths, strict=True):
                stored_anew(pydicom.dcmread(path), change).save_as(copy)
        planes = planes_of(self.grid)
        found = self.score({phase: asked(seg, planes) for phase, seg in enumerate(answer(paths)[1])})
        return {structure: self.plain[structure] - dice for structure, dice in found.items()}


def answer(paths: Sequence[Path]) -> tuple[Grid, list[pydicom.Dataset]]:
    """Return the grid of files and a SEG for each phase, by the shipped student and without a gateway."""
    described = {path: describe(read_header(path)) for path in paths}
    files = {instance.sop_uid: path for path, instance in described.items()}
    (stack,) = stacks_of(list(described.values()))
    grid = arrange(stack, accept_per_instance_frame_of_reference=True)
    model = read_model(ROOT / "model_repository", "cardiac")
    run = exported_runner(model.file, model.contract, threads=1)
    pixel_mm = None if grid.spacing_invented else grid.spacing
    labels = segment(load(grid, files.__getitem__), model.contract, run, pixel_mm=pixel_mm).labels
    headers = {uid: read_header(path) for uid, path in files.items()}
    segs = [write_segmentation(labels[phase], grid, phase, headers, PROVENANCE) for phase in range(grid.phases)]
    return grid, [pydicom.dcmread(io.BytesIO(seg)) for seg in segs]


def patient(name: str, paths: Sequence[Path], score: Callable[[Masks, Grid], Score]) -> Patient:
    """Answer the plain form of a cine; ``score`` is of labels on its grid."""
    grid, segs = answer(paths)
    planes = planes_of(grid)
    labels = [asked(seg, planes) for seg in segs]
    scored = score(dict(enumerate(labels)), grid)
    return Patient(name, paths, grid, Heart.of(np.stack(labels)), lambda found: score(found, grid), scored)


def of_sunnybrook(data: Path, name: str, folder: Path) -> Patient:
    """A Sunnybrook study, the two phases that have contours."""
    experts = Experts(data, name)
    wanted = {(number - 1) % 20 for number in experts.cavity}
    paths = [path for path in unpack(data, name, folder) if (int(path.stem) - 1) % 20 in wanted]

    def score(labels: Masks, grid: Grid) -> Score:
        found = experts.agree(labels, grid)
        return {"cavity at ED": found.cavity_ed, "cavity at ES": found.cavity_es, "wall at ED": found.wall_ed}

    return patient(name, paths, score)


def of_acdc(data: Path, name: str, folder: Path) -> Patient:
    """A patient of ACDC; scored by the mean over both phases."""
    case = read_case(Task.CARDIAC, data, name)
    folder.mkdir()
    _, paths = as_dicom(case, folder)

    def score(labels: Masks, _: Grid) -> Score:
        dices = np.reshape(figures(np.stack([labels[0], labels[1]]), case), (2, -1)).mean(axis=0)
        return dict(zip(label_names(Task.CARDIAC), dices.tolist(), strict=True))

    return patient(name, paths, score)
