"""Sunnybrook studies and the experts' contours, in patient coordinates."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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


def middle_third(instance_numbers: Sequence[int], phases: int = 20) -> list[int]:
    """Return of the contoured instances those on the middle third of the contoured slices.

    Instances 1-20 share one position, 21-40 the next, and so on.
    """
    slices = sorted({(number - 1) // phases for number in instance_numbers})
    third = len(slices) / 3
    middle = set(slices[round(third) : round(2 * third)])
    return [number for number in instance_numbers if (number - 1) // phases in middle]
