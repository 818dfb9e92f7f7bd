"""From slices to what a network sees, and from its labels back to the slices: one decision for training and serving.

Coordinates in this module are pixel indices ``(row, column)`` of a slice, pixel centres at integers, as in a DICOM
pixel array. A :class:`Square` is a window in those coordinates. Cell ``i`` of an ``n`` x ``n`` grid over a square lies
at ``centre + ((i + 0.5) / n - 0.5) * side``: the convention of a resize with ``align_corners=False``, so the grid that
the exported graph enlarges (128 to 256 cells) covers exactly the same window.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from contracts.tasks import Task

ROUNDING = 1e-5
"""Contrast below this share of the grey values themselves is rounding."""

FloatImages = NDArray[np.float32]
Masks = NDArray[np.uint8]


class Prepare(BaseModel):
    """The numbers of the decision; stored inside the model contract, so that every student carries its own.

    ``view`` says what the network sees:

    - ``heart``: two passes of one network. A coarse one over the whole slice (padded with zeros to the square of its
      longer side) finds the heart, a fine one looks at a square around it. Each slice has a grey scale of its own.
    - ``centre``: a square of ``centre_mm`` around the centre of the slice, one grey scale for the volume, taken inside
      the square.
    - ``photograph``: the whole picture in red, green and blue, squashed to a square; the values 0 and 255 become 0 and
      ``high_value``.

    Numbers that the view does not speak of have no effect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: Literal["heart", "centre", "photograph"] = "heart"
    input_side: int = Field(default=128, gt=0, description="side of the network's input, cells")
    output_side: int = Field(default=256, gt=0, description="side of the network's label grid, cells")
    low_percentile: float = Field(default=1.0, ge=0, le=100, description="of the grey values, becomes 0")
    high_percentile: float = Field(default=99.0, ge=0, le=100, description="of the grey values, becomes high_value")
    high_value: float = Field(default=0.83, gt=0, le=1, description="brighter values go on to 1 and are cut there")
    coarse_phases: int = Field(default=4, gt=0, description="phases, equally spaced, on which the heart is looked for")
    margin: float = Field(default=1.9, gt=1, description="side of the fine square in longer sides of the heart's box")
    smallest_share: float = Field(default=0.30, gt=0, description="least side of the fine square / shorter side")
    fallback_share: float = Field(
        default=0.70, gt=0, description="side of the centre square / shorter side, without a heart or a pixel spacing"
    )
    centre_mm: float = Field(default=135.0, gt=0, description="side of the centre square")

    @property
    def channels(self) -> int:
        """Channels of the network's input: 3 of a photograph, else 1."""
        return 3 if self.view == "photograph" else 1


def prepare_for(task: Task, **changes: Any) -> Prepare:
    """Return the decision of a task, with some of its numbers changed; raises ``ValidationError`` for a wrong one."""
    return Prepare.model_validate({**_DECISIONS.get(task, {}), **changes})


_DECISIONS: dict[Task, dict[str, Any]] = {
    Task.PROSTATE: {"view": "centre", "low_percentile": 0.0, "high_percentile": 99.8, "high_value": 1.0},
    Task.SKIN: {"view": "photograph", "high_value": 1.0},
}

Ends = tuple[float, float]
"""The grey values that become 0 and ``high_value``."""


@dataclass(frozen=True)
class Square:
    """A window on a slice: centre (pixel indices, may be fractional or outside), height ``side`` and ``width``, pixels.

    It is a square of the network's grid, and in millimetres unless a photograph is squashed; in pixels it is ``aspect``
    times as wide as high, which is other than 1 where pixels are not square.
    """

    row: float
    column: float
    side: float
    aspect: float = 1.0

    @property
    def width(self) -> float:
        """Extent along the columns, pixels."""
        return self.side * self.aspect


def pixel_aspect(pixel_mm: tuple[float, float] | None) -> float:
    """Return how many columns are as long as one row; ``pixel_mm`` is (between rows, between columns), None: 1."""
    return pixel_mm[0] / pixel_mm[1] if pixel_mm else 1.0


def whole_square(rows: int, columns: int, aspect: float = 1.0) -> Square:
    """Return the square of the longer side that shares its centre with a slice of ``rows`` x ``columns`` pixels."""
    return Square((rows - 1) / 2, (columns - 1) / 2, float(max(rows, columns / aspect)), aspect)


def answer_square(found: NDArray[np.bool_], prepare: Prepare, pixel_mm: tuple[float, float] | None = None) -> Square:
    """Return the window of the pass that gives the answer, one for all phases of a stack.

    ``found`` bool [slice, row, column]: the heart, for the view that needs it; of the others only the shape counts.
    ``pixel_mm`` is the distance (between rows, between columns), None where it is not known or invented.
    """
    rows, columns = found.shape[1:]
    aspect = pixel_aspect(pixel_mm)
    if prepare.view == "heart":
        return heart_square(found, prepare, aspect)
    if prepare.view == "photograph":
        return Square((rows - 1) / 2, (columns - 1) / 2, float(rows), columns / rows)
    if pixel_mm is None:
        return _centre_square(rows, columns, prepare, aspect)
    return Square((rows - 1) / 2, (columns - 1) / 2, prepare.centre_mm / pixel_mm[0], aspect)


def heart_square(heart: NDArray[np.bool_], prepare: Prepare, aspect: float = 1.0) -> Square:
    """Return the square of the fine pass for a mask of the heart.

    ``heart``: bool [slice, row, column], the structures found by the coarse pass (of all phases together), one
    component. Where it is empty the answer is the centre square of ``fallback_share`` of the shorter side.
    """
    rows, columns = heart.shape[1:]
    if not heart.any():
        return _centre_square(rows, columns, prepare, aspect)
    low_row, high_row = _ends(np.any(heart, axis=(0, 2)))
    low_column, high_column = _ends(np.any(heart, axis=(0, 1)))
    box = max(high_row - low_row + 1, (high_column - low_column + 1) / aspect)
    shorter, longer = min(rows, columns / aspect), max(rows, columns / aspect)
    side = float(np.clip(prepare.margin * box, prepare.smallest_share * shorter, longer))
    return Square((low_row + high_row) / 2, (low_column + high_column) / 2, side, aspect)


def grey_ends(volume: NDArray[np.generic], square: Square, prepare: Prepare) -> Ends | None:
    """Return the grey scale of a volume, or None where each slice has its own.

    ``volume`` [slice, row, column] or [slice, row, column, channel]; percentiles are those of the pixels in ``square``.
    """
    if prepare.view == "heart":
        return None
    if prepare.view == "photograph":
        return 0.0, 255.0
    rows, columns = _span(volume.shape[1], square.row, square.side), _span(volume.shape[2], square.column, square.width)
    inside = volume[:, rows, columns].astype(np.float32)
    low, high = np.percentile(inside, [prepare.low_percentile, prepare.high_percentile])
    return float(low), float(high)


def prepare_slices(
    slices: NDArray[np.generic], square: Square, prepare: Prepare, ends: Ends | None = None
) -> FloatImages:
    """Cut and resample a square out of slices and scale its grey values.

    ``slices`` [n, row, column] or [n, row, column, channel] of any real dtype -> float32
    [n, channel, input_side, input_side] in 0..1. What lies outside the slice is 0 before scaling. ``ends`` as
    :func:`grey_ends` gives them.
    """
    rows, columns = slices.shape[1:3]
    down = _weights(rows, square.row, square.side, prepare.input_side)
    across = _weights(columns, square.column, square.width, prepare.input_side)
    planes = slices[:, None] if slices.ndim == 3 else np.moveaxis(slices, 3, 1)
    cut = down @ planes.astype(np.float32, order="C") @ across.T
    return scale_grey(cut, prepare, ends)


def restore_slices(labels: Masks, square: Square, rows: int, columns: int) -> Masks:
    """Look labels of a square up at the pixels of the slice it was cut from; 0 outside the square.

    ``labels`` uint8 [n, output_side, output_side] -> uint8 [n, row, column].
    """
    row_cells, row_inside = _cells(rows, square.row, square.side, labels.shape[1])
    column_cells, column_inside = _cells(columns, square.column, square.width, labels.shape[2])
    restored = np.zeros((len(labels), rows, columns), dtype=np.uint8)
    picked = labels[:, row_cells[row_inside]][:, :, column_cells[column_inside]]
    restored[:, row_inside.nonzero()[0][:, None], column_inside.nonzero()[0]] = picked
    return restored


def scale_grey(images: FloatImages, prepare: Prepare, ends: Ends | None = None) -> FloatImages:
    """Scale images [..., row, column] to 0..1: from ``ends``, or each by its own percentiles; a flat one becomes 0."""
    if ends is None:
        both = np.percentile(images, [prepare.low_percentile, prepare.high_percentile], axis=(-2, -1), keepdims=True)
    else:
        both = np.array(ends)
    low, high = both.astype(np.float32)
    width = high - low
    # Resampling leaves rounding errors on a flat picture; stretched to full contrast they would look like anatomy.
    flat = width <= ROUNDING * np.maximum(np.abs(low), np.abs(high))
    scale = np.where(flat, 0, np.float32(prepare.high_value) / np.where(flat, 1, width)).astype(np.float32)
    scaled: FloatImages = np.clip((images - low) * scale, 0, 1, dtype=np.float32)
    return scaled


def largest_component(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """Return the largest 26-connected component of a mask [slice, row, column] and the sizes of all, largest first.

    Of two equally large ones the first in array order is taken, so the answer depends on the mask only.
    """
    components, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    if count == 0:
        return np.zeros_like(mask), ()
    sizes = np.bincount(components.ravel())[1:]
    return components == int(sizes.argmax()) + 1, tuple(sorted(sizes.tolist(), reverse=True))


def _centre_square(rows: int, columns: int, prepare: Prepare, aspect: float) -> Square:
    side = prepare.fallback_share * min(rows, columns / aspect)
    return Square((rows - 1) / 2, (columns - 1) / 2, side, aspect)


def _span(length: int, centre: float, side: float) -> slice:
    """Return the pixels of an axis whose centres lie in the window, at least one."""
    low = min(max(math.ceil(centre - side / 2), 0), length - 1)
    return slice(low, max(math.floor(centre + side / 2) + 1, low + 1))


def _ends(occupied: Any) -> tuple[int, int]:
    where = np.flatnonzero(occupied)
    return int(where[0]), int(where[-1])


def _weights(length: int, centre: float, side: float, cells: int) -> FloatImages:
    """Return the matrix [cells, length] of a linear resampling: a triangle as wide as a cell where cells are coarser
    than pixels (else the picture would alias), one pixel wide where they are finer (plain bilinear)."""
    step = side / cells
    reach = max(step, 1.0)
    pad = int(np.ceil(2 * reach)) + 1
    positions = centre + ((np.arange(cells) + 0.5) / cells - 0.5) * side
    pixels = np.arange(-pad, length + pad)
    triangle = np.clip(1 - np.abs(pixels[None] - positions[:, None]) / reach, 0, None)
    total = triangle.sum(axis=1, keepdims=True)
    return (triangle / np.where(total > 0, total, 1))[:, pad : pad + length].astype(np.float32)


def _cells(length: int, centre: float, side: float, cells: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for each pixel of an axis the cell it lies in, and whether it lies in the square at all."""
    where = np.floor(((np.arange(length) - centre) / side + 0.5) * cells).astype(np.intp)
    return where, (where >= 0) & (where < cells)
