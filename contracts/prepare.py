"""From slices to what a network sees, and from its labels back to the slices: one decision for training and serving.

Coordinates in this module are pixel indices ``(row, column)`` of a slice, pixel centres at integers, as in a DICOM
pixel array. A :class:`Square` is a window in those coordinates. Cell ``i`` of an ``n`` x ``n`` grid over a square lies
at ``centre + ((i + 0.5) / n - 0.5) * side``: the convention of a resize with ``align_corners=False``, so the grid that
the exported graph enlarges (128 to 256 cells) covers exactly the same window.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

ROUNDING = 1e-5
"""Contrast below this share of the grey values themselves is rounding."""

FloatImages = NDArray[np.float32]
Masks = NDArray[np.uint8]


class Prepare(BaseModel):
    """The numbers of the decision; stored inside the model contract, so that every student carries its own.

    Two passes of one network: a coarse one over the whole slice (padded with zeros to the square of its longer side)
    finds the heart, a fine one looks at a square around it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_side: int = Field(default=128, gt=0, description="side of the network's input, cells")
    output_side: int = Field(default=256, gt=0, description="side of the network's label grid, cells")
    low_percentile: float = Field(default=1.0, ge=0, le=100, description="of a slice's square, becomes 0")
    high_percentile: float = Field(default=99.0, ge=0, le=100, description="of a slice's square, becomes high_value")
    high_value: float = Field(default=0.83, gt=0, le=1, description="brighter values go on to 1 and are cut there")
    coarse_phases: int = Field(default=4, gt=0, description="phases, equally spaced, on which the heart is looked for")
    margin: float = Field(default=1.9, gt=1, description="side of the fine square in longer sides of the heart's box")
    smallest_share: float = Field(default=0.30, gt=0, description="least side of the fine square / shorter side")
    fallback_share: float = Field(default=0.70, gt=0, description="side of the centre square / shorter side")


@dataclass(frozen=True)
class Square:
    """A window on a slice: centre (pixel indices, may be fractional or outside) and side (pixels)."""

    row: float
    column: float
    side: float


def whole_square(rows: int, columns: int) -> Square:
    """Return the square of the longer side that shares its centre with a slice of ``rows`` x ``columns`` pixels."""
    return Square((rows - 1) / 2, (columns - 1) / 2, float(max(rows, columns)))


def heart_square(heart: NDArray[np.bool_], prepare: Prepare) -> Square:
    """Return the square of the fine pass for a mask of the heart.

    ``heart``: bool [slice, row, column], the structures found by the coarse pass (of all phases together), one
    component. Where it is empty the answer is the centre square of ``fallback_share`` of the shorter side.
    """
    rows, columns = heart.shape[1:]
    shorter, longer = min(rows, columns), max(rows, columns)
    if not heart.any():
        return Square((rows - 1) / 2, (columns - 1) / 2, prepare.fallback_share * shorter)
    low_row, high_row = _ends(np.any(heart, axis=(0, 2)))
    low_column, high_column = _ends(np.any(heart, axis=(0, 1)))
    box = max(high_row - low_row, high_column - low_column) + 1
    side = float(np.clip(prepare.margin * box, prepare.smallest_share * shorter, longer))
    return Square((low_row + high_row) / 2, (low_column + high_column) / 2, side)


def prepare_slices(slices: NDArray[np.generic], square: Square, prepare: Prepare) -> FloatImages:
    """Cut and resample a square out of slices and scale its grey values.

    ``slices`` [n, row, column] of any real dtype -> float32 [n, 1, input_side, input_side] in 0..1. What lies outside
    the slice is 0 before scaling.
    """
    rows, columns = slices.shape[1:]
    down = _weights(rows, square.row, square.side, prepare.input_side)
    across = _weights(columns, square.column, square.side, prepare.input_side)
    cut = down @ slices.astype(np.float32) @ across.T
    return scale_grey(cut, prepare)[:, None]


def restore_slices(labels: Masks, square: Square, rows: int, columns: int) -> Masks:
    """Look labels of a square up at the pixels of the slice it was cut from; 0 outside the square.

    ``labels`` uint8 [n, output_side, output_side] -> uint8 [n, row, column].
    """
    row_cells, row_inside = _cells(rows, square.row, square.side, labels.shape[1])
    column_cells, column_inside = _cells(columns, square.column, square.side, labels.shape[2])
    restored = np.zeros((len(labels), rows, columns), dtype=np.uint8)
    picked = labels[:, row_cells[row_inside]][:, :, column_cells[column_inside]]
    restored[:, row_inside.nonzero()[0][:, None], column_inside.nonzero()[0]] = picked
    return restored


def scale_grey(images: FloatImages, prepare: Prepare) -> FloatImages:
    """Scale each image [..., row, column] by its own percentiles to 0..1 (see ``Prepare``); a flat one becomes 0."""
    ends = np.percentile(images, [prepare.low_percentile, prepare.high_percentile], axis=(-2, -1), keepdims=True)
    low, high = ends.astype(np.float32)
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
