"""The views that training takes of a slice: the same windows and grey values as in serving, varied.

About 70 % are the fine pass (a square around the heart), the others the coarse pass (the whole slice). Geometry is one
affine sampling of the original slice; labels follow it by nearest neighbour.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from contracts.prepare import FloatImages, Masks, Prepare, Square, scale_grey, whole_square
from training.data.acdc import Slice


class Views(BaseModel):
    """How far views differ. Probabilities are per slice; ``*_scale`` are the half width of the log of the scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heart: float = Field(default=0.7, ge=0, le=1, description="share of views around the heart")
    heart_scale: float = 0.3
    heart_shift: float = Field(default=0.12, description="largest shift, sides of the square")
    whole_scale: float = 0.25
    whole_shift: float = 0.22
    rotation: float = Field(default=30.0, description="largest rotation, degrees")
    quarter_turn: float = 0.5
    flip: float = 0.25
    jitter: float = Field(default=0.4, description="half width of contrast, brightness and log gamma")
    blur: float = 0.2
    noise: float = 0.2
    shading: float = Field(default=0.3, description="a smooth field multiplied, as of a surface coil")
    flatten: float = Field(default=0.15, description="structures drawn towards their mean grey value")
    circle: float = Field(default=0.2, description="zeros outside a circular field of view")


@dataclass(frozen=True, eq=False)
class Batch:
    """``images`` float32 [batch, 1, side, side] in 0..1, ``labels`` int64 [batch, side, side]."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(self.images.to(device), self.labels.to(device))


def make_batch(slices: list[Slice], views: Views, prepare: Prepare, random: np.random.Generator) -> Batch:
    """Draw one view of each slice."""
    cut = [_view(piece, views, prepare.input_side, random) for piece in slices]
    grey = scale_grey(np.stack([image for image, _ in cut]), prepare)
    images = np.stack([_jitter(image, views, random) for image in grey])
    labels = np.stack([label for _, label in cut])
    return Batch(torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64)))


def _view(piece: Slice, views: Views, side: int, random: np.random.Generator) -> tuple[FloatImages, Masks]:
    image = piece.image.astype(np.float32)
    if random.random() < views.circle:
        image = _circle(image, random)
    if random.random() < views.flatten:
        image = _flatten(image, piece.label, random)
    square = _square(piece, views, random)
    turn = _turn(views, random)
    return sample(image, piece.label, square, turn, side)


def sample(
    image: FloatImages, label: Masks, square: Square, turn: NDArray[np.float64], side: int
) -> tuple[FloatImages, Masks]:
    """Sample a window of a slice [row, column] on a grid of ``side`` x ``side`` cells.

    ``turn`` 2 x 2 acts on (column, row) offsets from the centre. The image is sampled twice as fine and averaged, so
    that it does not alias where cells are coarser than pixels; the label is taken at the centre of each cell.
    """
    rows, columns = image.shape
    linear = turn * (square.side / np.array([[columns], [rows]]))
    offset = np.array([(2 * square.column + 1) / columns - 1, (2 * square.row + 1) / rows - 1])
    theta = torch.from_numpy(np.column_stack([linear, offset]).astype(np.float32))[None]
    fine = F.affine_grid(theta, [1, 1, 2 * side, 2 * side], align_corners=False)
    coarse = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    picture = F.avg_pool2d(F.grid_sample(torch.from_numpy(image)[None, None], fine, align_corners=False), 2)
    mask = torch.from_numpy(label.astype(np.float32))[None, None]
    mask = F.grid_sample(mask, coarse, mode="nearest", align_corners=False)
    return picture[0, 0].numpy(), mask[0, 0].numpy().astype(np.uint8)


def _square(piece: Slice, views: Views, random: np.random.Generator) -> Square:
    near = random.random() < views.heart
    base = piece.heart if near else whole_square(*piece.image.shape)
    scale, shift = (views.heart_scale, views.heart_shift) if near else (views.whole_scale, views.whole_shift)
    side = base.side * math.exp(random.uniform(-scale, scale))
    down, across = random.uniform(-shift, shift, 2) * side
    return Square(base.row + down, base.column + across, side)


def _turn(views: Views, random: np.random.Generator) -> NDArray[np.float64]:
    angle = math.radians(random.uniform(-views.rotation, views.rotation))
    if random.random() < views.quarter_turn:
        angle += math.pi / 2 * random.integers(4)
    mirror = -1.0 if random.random() < views.flip else 1.0
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine * mirror, -sine], [sine * mirror, cosine]])


def _circle(image: FloatImages, random: np.random.Generator) -> FloatImages:
    rows, columns = image.shape
    radius = random.uniform(0.46, 0.55) * max(rows, columns)
    down = np.arange(rows)[:, None] - (rows - 1) / 2
    across = np.arange(columns)[None] - (columns - 1) / 2
    return np.where(down**2 + across**2 < radius**2, image, 0).astype(np.float32)


def _flatten(image: FloatImages, label: Masks, random: np.random.Generator) -> FloatImages:
    """Draw each structure towards its mean: hearts without texture, as in phantoms and heavily filtered pictures."""
    share = random.uniform(0.3, 1.0)
    flat = image.copy()
    for value in range(1, int(label.max()) + 1):
        inside = label == value
        if inside.any():
            flat[inside] += share * (image[inside].mean() - image[inside])
    return flat


def _jitter(image: FloatImages, views: Views, random: np.random.Generator) -> FloatImages:
    """Vary grey values of one image [row, column] in 0..1."""
    side = image.shape[-1]
    varied = torch.from_numpy(image)[None, None]
    if random.random() < views.blur:
        varied = _blur(varied, random.uniform(0.4, 1.3))
    if random.random() < views.shading:
        field = torch.from_numpy(random.normal(0, 0.25, (1, 1, 4, 4)).astype(np.float32))
        varied = varied * F.interpolate(field, size=(side, side), mode="bicubic", align_corners=False).exp()
    varied = varied.clamp(0, 1) ** math.exp(random.uniform(-views.jitter, views.jitter))
    contrast = 1 + random.uniform(-views.jitter, views.jitter)
    mean = varied.mean()
    varied = (varied - mean) * contrast + mean * (1 + random.uniform(-views.jitter, views.jitter))
    if random.random() < views.noise:
        noise = random.normal(0, random.uniform(0.01, 0.06), (1, 1, side, side))
        varied = varied + torch.from_numpy(noise.astype(np.float32))
    return varied.clamp(0, 1)[0, 0].numpy()


def _blur(images: Tensor, sigma: float) -> Tensor:
    reach = int(3 * sigma + 1)
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    line = (line / line.sum())[None, None]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, line[..., None, :]), line[..., :, None])
