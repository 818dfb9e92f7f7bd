"""The 2-D UNet of the SSL4MIS benchmark (github.com/HiLab-git/SSL4MIS, code/networks/unet.py), bilinear decoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.01),
        nn.Dropout(dropout),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.LeakyReLU(0.01),
    )


class _Up(nn.Module):
    """Halve the channels, double the size, join the skip (first), block without dropout."""

    def __init__(self, deep: int, skip: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, skip, 1)
        self.block = _block(2 * skip, skip, 0.0)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        raised = F.interpolate(self.reduce(deep), scale_factor=2.0, mode="bilinear", align_corners=True)
        joined: Tensor = self.block(torch.cat([skip, raised], dim=1))
        return joined


class UNet(nn.Module):
    """Five stages of 16 to 256 channels; 1 813 764 parameters for one channel in and four classes out.

    Images [batch, channel, row, column] with sides that are multiples of 16 -> logits [batch, class, row, column].
    """

    def __init__(self, channels: int = 1, classes: int = 4) -> None:
        super().__init__()
        ins = (channels, *WIDTHS[:-1])
        self.down = nn.ModuleList(_block(i, o, p) for i, o, p in zip(ins, WIDTHS, DROPOUT, strict=True))
        self.up = nn.ModuleList(_Up(WIDTHS[i], WIDTHS[i - 1]) for i in range(len(WIDTHS) - 1, 0, -1))
        self.head = nn.Conv2d(WIDTHS[0], classes, 3, padding=1)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the five feature maps, stride 1 (16 channels) to stride 16 (256 channels)."""
        maps: list[Tensor] = []
        for stage, block in enumerate(self.down):
            images = block(F.max_pool2d(images, 2) if stage else images)
            maps.append(images)
        return maps

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits [batch, class, row, column] from the maps of :meth:`encode`."""
        features = maps[-1]
        for up, skip in zip(self.up, reversed(maps[:-1]), strict=True):
            features = up(features, skip)
        logits: Tensor = self.head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [batch, class, row, column]."""
        return self.decode(self.encode(images))
