"""The views that training takes of a slice: the same windows and grey values as in serving, varied.

For the heart about 70 % are the fine pass (a square around it), the others the coarse pass (the whole slice). Geometry
is one affine sampling of the original slice; labels follow it by nearest neighbour.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from contracts.prepare import FloatImages, Masks, Prepare, Square, scale_grey, whole_square
from training.data.grey import blurred, recoloured
from training.data.slices import Slice


class Views(BaseModel):
    """How far views differ. Probabilities are per slice; ``*_scale`` are the half width of the log of the scale.

    Geometry is for all slices, the grey values are for labelled ones: unlabelled ones have ``Strong``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: float = Field(default=0.7, ge=0, le=1, description="share of views of the fine pass's region")
    region_scale: float = 0.3
    region_shift: float = Field(default=0.12, description="largest shift, sides of the square")
    whole_scale: float = 0.25
    whole_shift: float = 0.22
    rotation: float = Field(default=30.0, description="largest rotation, degrees")
    quarter_turn: float = Field(default=0.5, description="probability of a turn by 0, 90, 180 or 270 degrees")
    half_turn: float = Field(default=0.0, description="probability of a turn by 180 degrees")
    flip: float = 0.25
    jitter: float = Field(default=0.4, description="half width of contrast, brightness and log gamma")
    blur: float = 0.2
    noise: float = 0.2
    shading: float = Field(default=0.3, description="a smooth field multiplied, as of a surface coil")
    flatten: float = Field(default=0.15, description="structures drawn towards their mean grey value")
    circle: float = Field(default=0.2, description="zeros outside a circular field of view")


def view(piece: Slice, views: Views, prepare: Prepare, random: np.random.Generator) -> tuple[FloatImages, Masks]:
    """Draw one view, geometry only: float32 [channel, side, side] in 0..1 and its label uint8 [side, side]."""
    square, turn = _square(piece, views, random), _turn(views, random)
    image, label = sample(piece.image.astype(np.float32), piece.label, square, turn, prepare.input_side)
    return scale_grey(image, prepare, piece.ends), label


def altered(piece: Slice, views: Views, random: np.random.Generator) -> Slice:
    """Return a labelled slice as another scanner might have shown it, before any geometry. Grey values only."""
    image = piece.image.astype(np.float32)
    if random.random() < views.circle:
        image = _circle(image, random)
    if random.random() < views.flatten:
        image = _flatten(image, piece.label, random)
    return replace(piece, image=image)


def sample(
    image: NDArray[Any], label: Masks, square: Square, turn: NDArray[np.float64], side: int
) -> tuple[FloatImages, Masks]:
    """Sample a window of a slice on a grid of ``side`` x ``side`` cells.

    ``image`` float32 [row, column] or [row, column, channel] -> [channel, side, side]; ``label`` uint8 [row, column].
    ``turn`` 2 x 2 acts on (column, row) offsets from the centre. The image is sampled twice as fine and averaged, so
    that it does not alias where cells are coarser than pixels; the label is taken at the centre of each cell.
    """
    rows, columns = label.shape
    linear = turn * np.array([[square.width / columns], [square.side / rows]])
    offset = np.array([(2 * square.column + 1) / columns - 1, (2 * square.row + 1) / rows - 1])
    theta = torch.from_numpy(np.column_stack([linear, offset]).astype(np.float32))[None]
    fine = F.affine_grid(theta, [1, 1, 2 * side, 2 * side], align_corners=False)
    coarse = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    channels = torch.from_numpy(np.ascontiguousarray(image.reshape(rows, columns, -1).transpose(2, 0, 1)))[None]
    picture = F.avg_pool2d(F.grid_sample(channels, fine, align_corners=False), 2)
    mask = torch.from_numpy(label.astype(np.float32))[None, None]
    mask = F.grid_sample(mask, coarse, mode="nearest", align_corners=False)
    return picture[0].numpy(), mask[0, 0].numpy().astype(np.uint8)


def jittered(image: Tensor, views: Views, random: np.random.Generator) -> Tensor:
    """Vary the values of one labelled view, float32 [channel, row, column] in 0..1."""
    if random.random() < views.blur:
        image = blurred(image, random.uniform(0.4, 1.3))
    if random.random() < views.shading:
        field = torch.from_numpy(random.normal(0, 0.25, (1, 1, 4, 4)).astype(np.float32))
        image = image * F.interpolate(field, size=image.shape[-2:], mode="bicubic", align_corners=False)[0].exp()
    image = image.clamp(0, 1) ** math.exp(random.uniform(-views.jitter, views.jitter))
    image = recoloured(image, views.jitter, views.jitter, random)
    if random.random() < views.noise:
        noise = random.normal(0, random.uniform(0.01, 0.06), tuple(image.shape))
        image = image + torch.from_numpy(noise.astype(np.float32))
    return image.clamp(0, 1)


def _square(piece: Slice, views: Views, random: np.random.Generator) -> Square:
    near = random.random() < views.region
    rows, columns = piece.label.shape
    base = piece.region if near else whole_square(rows, columns, piece.region.aspect)
    scale, shift = (views.region_scale, views.region_shift) if near else (views.whole_scale, views.whole_shift)
    side = base.side * math.exp(random.uniform(-scale, scale))
    down, across = random.uniform(-shift, shift, 2) * side
    return Square(base.row + down, base.column + across * base.aspect, side, base.aspect)


def _turn(views: Views, random: np.random.Generator) -> NDArray[np.float64]:
    angle = math.radians(random.uniform(-views.rotation, views.rotation))
    if random.random() < views.quarter_turn:
        angle += math.pi / 2 * random.integers(4)
    if random.random() < views.half_turn:
        angle += math.pi
    mirror = -1.0 if random.random() < views.flip else 1.0
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])


def _circle(image: FloatImages, random: np.random.Generator) -> FloatImages:
    rows, columns = image.shape[:2]
    radius = random.uniform(0.46, 0.55) * max(rows, columns)
    down = np.arange(rows)[:, None] - (rows - 1) / 2
    across = np.arange(columns)[None] - (columns - 1) / 2
    outside = down**2 + across**2 >= radius**2
    dark = image.copy()
    dark[outside] = 0
    return dark


def _flatten(image: FloatImages, label: Masks, random: np.random.Generator) -> FloatImages:
    """Draw each structure towards its mean: hearts without texture, as in phantoms and heavily filtered pictures."""
    share = random.uniform(0.3, 1.0)
    flat = image.copy()
    for value in range(1, int(label.max()) + 1):
        inside = label == value
        if inside.any():
            flat[inside] += share * (image[inside].mean() - image[inside])
    return flat
