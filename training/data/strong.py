"""Strong views of unlabelled images: grey values varied and pieces of a partner pasted in, the geometry untouched.

Both strong views of an image are drawn from the same weak one, so that a pixel of either is the same place in the
patient. Inside the box everything comes from the partner: pixels here, target and confidence by the same :class:`Mix`.
Sources: FixMatch (arXiv 2001.07685), UniMatch (github.com/LiheYoung/UniMatch, more-scenarios/medical).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from training.data.grey import blurred, recoloured


class Strong(BaseModel):
    """How far strong views differ from weak ones. Probabilities are per image and view."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jitter: float = Field(default=0.5, description="half width of contrast and brightness")
    jitter_share: float = Field(default=0.8, ge=0, le=1)
    saturation: float = Field(default=0.5, description="half width, of colour images")
    blur_share: float = Field(default=0.5, ge=0, le=1)
    blur: tuple[float, float] = Field(default=(0.1, 2.0), description="standard deviation, cells")
    cutmix: float = Field(default=0.5, ge=0, le=1)
    box_area: tuple[float, float] = Field(default=(0.02, 0.4), description="share of the image")
    box_ratio: float = Field(default=0.3, gt=0, le=1, description="of the sides: drawn from it to its inverse")


@dataclass(eq=False)  # Fabric takes no frozen ones
class Mix:
    """CutMix of one batch: where, and with whom.

    ``boxes`` bool [batch, 1, row, column]; ``partner`` int64 [batch], the image whose values stand inside the box.
    """

    boxes: Tensor
    partner: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """Mix values [batch, channel, row, column] that were made on unmixed images, on any grid over the same view."""
        boxes = self.boxes
        if boxes.shape[-2:] != values.shape[-2:]:
            boxes = F.interpolate(boxes.float(), size=values.shape[-2:], mode="area") >= 0.5
        return torch.where(boxes, values[self.partner], values)

    def to(self, device: torch.device) -> "Mix":
        """Return it on a device."""
        return Mix(self.boxes.to(device), self.partner.to(device))


def strong_view(weak: Tensor, strong: Strong, random: np.random.Generator) -> tuple[Tensor, Mix]:
    """Return one strong view of each image, mixed, and how it was mixed.

    ``weak`` float32 [batch, channel, row, column] in 0..1 -> the same shape and range.
    """
    varied = torch.stack([_varied(image, strong, random) for image in weak])
    count, _, rows, columns = weak.shape
    # A rotation by at least one: the partner is another image of the batch, with its own strong view.
    partner = torch.from_numpy((np.arange(count) + int(random.integers(1, max(count, 2)))) % count)
    boxes = torch.from_numpy(np.stack([draw_box(rows, columns, strong, random) for _ in range(count)]))[:, None]
    mix = Mix(boxes, partner)
    return mix(varied), mix


def draw_box(
    rows: int, columns: int, strong: Strong, random: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Draw where the partner stands, bool [row, column]; nowhere with the probability ``1 - cutmix``."""
    box = np.zeros((rows, columns), dtype=bool)
    if random.random() >= strong.cutmix:
        return box
    while True:
        area = random.uniform(*strong.box_area) * rows * columns
        ratio = random.uniform(strong.box_ratio, 1 / strong.box_ratio)
        width, height = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        left, top = int(random.integers(columns)), int(random.integers(rows))
        if left + width <= columns and top + height <= rows:
            box[top : top + height, left : left + width] = True
            return box


def _varied(image: Tensor, strong: Strong, random: np.random.Generator) -> Tensor:
    if random.random() < strong.jitter_share:
        image = recoloured(image, strong.jitter, strong.saturation, random)
    if random.random() < strong.blur_share:
        image = blurred(image, random.uniform(*strong.blur))
    return image
