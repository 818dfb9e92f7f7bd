"""What SemSim trains beside the UNet: stages 2 to 4 of the encoder fused into one map of features at stride 4.

Source: SemSim (arXiv 2410.13486v1), equations 14-17. For training only: the decoder never sees these features, so a
student of any method is the plain UNet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = slice(1, 4)
"""Which of the encoder's five maps are fused: strides 2, 4 and 8."""


class _Block(nn.Module):
    """Pre-norm transformer block (equation 15): x + attention(LN x), then x + MLP(LN x)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [group, token, width] -> the same shape; groups do not meet."""
        q, k, v = self.qkv(self.norm_1(tokens)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Written out: with 84 tokens a group, backward through the CPU's fused kernel takes 2 (fp32) to 6 (bf16) times
        # as long, and the weights are small.
        weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1)
        tokens = tokens + self.out((weights @ v).transpose(1, 2).flatten(2))
        answer: Tensor = tokens + self.mlp(self.norm_2(tokens))
        return answer


class SpatialAwareFusion(nn.Module):
    """Tokens of all scales that cover the same square of the image meet in a transformer, groups do not.

    ``windows`` are the sides of a group's windows in the maps of ``STAGES``: each covers the same 16 x 16 pixels, 84
    tokens in all. About 0.77 M parameters; width 64 with one layer is the light form.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        windows: Sequence[int] = (8, 4, 2),
        mlp_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.project = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.blocks = nn.Sequential(*(_Block(width, heads, round(mlp_ratio * width)) for _ in range(layers)))
        self.join = _conv(len(channels) * width, width, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return features [batch, width, row / 4, column / 4], not negative.

        ``maps`` are all five of ``UNet.encode``, for images [batch, channel, row, column] with sides that are multiples
        of 16; the first and the last are not looked at.
        """
        fused = [project(m) for project, m in zip(self.project, maps[STAGES], strict=True)]
        tokens = [_cut(m, side) for m, side in zip(fused, self.windows, strict=True)]
        mixed = self.blocks(torch.cat(tokens, dim=1)).split([t.shape[1] for t in tokens], dim=1)
        folded = [_fold(t, side, m) for t, side, m in zip(mixed, self.windows, fused, strict=True)]
        features: Tensor = self.join(_stacked(folded))
        return features


class PlainFusion(nn.Module):
    """SemSim-: a plain convolution in place of the transformer, which tells the losses' gain from its own."""

    def __init__(self, channels: Sequence[int] = (32, 64, 128), width: int = 128) -> None:
        super().__init__()
        self.join = _conv(sum(channels), width, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return features as :class:`SpatialAwareFusion` does, from the same maps."""
        features: Tensor = self.join(_stacked(maps[STAGES]))
        return features


def _conv(inputs: int, outputs: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _stacked(maps: Sequence[Tensor]) -> Tensor:
    """Bring three maps to the second's size and join their channels (equation 17)."""
    size = maps[1].shape[-2:]
    return torch.cat(
        [
            m if m.shape[-2:] == size else F.interpolate(m, size=size, mode="bilinear", align_corners=False)
            for m in maps
        ],
        dim=1,
    )


def _cut(m: Tensor, side: int) -> Tensor:
    """Cut a map [batch, width, row, column] into windows [batch * group, side * side, width], rows of groups first."""
    batch, width, rows, columns = m.shape
    cells = m.permute(0, 2, 3, 1).reshape(batch, rows // side, side, columns // side, side, width)
    return cells.transpose(2, 3).reshape(-1, side * side, width)


def _fold(tokens: Tensor, side: int, like: Tensor) -> Tensor:
    """Put windows back where ``_cut`` took them from a map of the shape of ``like``; channels come last in memory."""
    batch, width, rows, columns = like.shape
    cells = tokens.reshape(batch, rows // side, columns // side, side, side, width).transpose(2, 3)
    return cells.reshape(batch, rows, columns, width).permute(0, 3, 1, 2)
