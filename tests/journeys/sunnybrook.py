"""Sunnybrook studies and the experts' contours, in patient coordinates."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from contracts.volumes import Grid

FOLDERS = {"SCD0000101": "SC-HF-I-1", "SCD0000201": "SC-HF-I-2"}
SCALE = 8
"""Contours come in half pixels; they are filled on a grid this many times finer, then sampled at pixel centres."""


def unpack(data: Path, study: str, target: Path) -> list[Path]:
    """Unpack a study's DICOM files, bytes untouched, and return them."""
    with zipfile.ZipFile(data / f"{study}.zip") as archive:
        archive.extractall(target)
    return sorted(target.rglob("*.dcm"))


def contours(data: Path, study: str, kind: str = "i") -> dict[int, NDArray[np.bool_]]:
    """Return the filled contours of a study: instance number -> bool [row, column] of 256 x 256.

    The coordinates are one-based (the data's page measured it), so one pixel is taken off both.
    """
    folder = data / "contours" / FOLDERS[study] / f"{kind}-contours"
    found = {}
    for path in sorted(folder.glob("*.txt")):
        points = np.loadtxt(path)[:, :2] - 1.0
        found[int(path.name.split("-")[2])] = fill(points, 256, 256)
    return found


def fill(points: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.bool_]:
    """Return which pixel centres of a grid lie inside a polygon of (x, y) pixel coordinates."""
    canvas = Image.new("1", (columns * SCALE, rows * SCALE))
    corners = [((x + 0.5) * SCALE, (y + 0.5) * SCALE) for x, y in points]
    ImageDraw.Draw(canvas).polygon(corners, fill=1)
    return np.asarray(canvas)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""A mask of ours and the experts' on one slice."""


@dataclass(frozen=True)
class Agreement:
    """How far masks agree with the experts over the contoured slices of a study.

    Dice (fractions) pooled over these slices: the ``cavity`` of the left ventricle at end-diastole and end-systole, its
    ``wall`` (between the two contours) at end-diastole. Ejection fractions (percent) are those over the same slices at
    the experts' phases.
    """

    cavity_ed: float
    cavity_es: float
    wall_ed: float
    ejection: float
    ejection_of_experts: float


class Experts:
    """The contours of a study, and where in a stack they were drawn."""

    def __init__(self, data: Path, study: str) -> None:
        """Read them from the data set's folder."""
        self.cavity, self.outside = contours(data, study, "i"), contours(data, study, "o")

    def places(self, grid: Grid) -> dict[int, tuple[int, int]]:
        """Return (phase, slice) of each contoured instance number of a stack."""
        every = {
            plane.instance_number: (phase, place)
            for phase, row in enumerate(grid.planes)
            for place, plane in enumerate(row)
        }
        return {number: every[number] for number in self.cavity}

    def agree(self, labels: Mapping[int, NDArray[np.uint8]], grid: Grid) -> Agreement:
        """Compare labels, phase -> uint8 [slice, row, column] on ``grid``, with the contours.

        End-diastole is the phase whose contours hold more.
        """
        cavities: dict[int, list[Pair]] = {}
        walls: list[Pair] = []
        for number, (phase, place) in self.places(grid).items():
            found = labels[phase][place]
            cavities.setdefault(phase, []).append((found == 3, self.cavity[number]))
            if number in self.outside:
                walls.append((found == 2, self.outside[number] & ~self.cavity[number]))
        es, ed = sorted(cavities, key=lambda phase: _pixels(cavities[phase], 1))
        ours, theirs = (100 - 100 * _pixels(cavities[es], side) / _pixels(cavities[ed], side) for side in (0, 1))
        return Agreement(_dice(cavities[ed]), _dice(cavities[es]), _dice(walls), ours, theirs)


def _pixels(pairs: list[Pair], side: int) -> int:
    return sum(int(pair[side].sum()) for pair in pairs)


def _dice(pairs: list[Pair]) -> float:
    both = sum(int((found & truth).sum()) for found, truth in pairs)
    return 2 * both / (_pixels(pairs, 0) + _pixels(pairs, 1))
