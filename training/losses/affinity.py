"""Consistency inside an image (SemSim, equations 4-6): what looks alike is of one class."""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses.dice import dice
from training.losses.pseudo import gate


def refine(p: Tensor, features: Tensor, temperature: float) -> Tensor:
    """Return (p + p M) / 2 on the grid of the features, M_ij = softmax_j(cos(f_i, f_j) / temperature).

    ``p`` [batch, class, row, column] are probabilities of any size, brought to the features' grid by area; ``features``
    [batch, width, h, w] -> float32 [batch, class, h, w], a distribution over classes at every position. Gradients reach
    ``p`` and, through M, the features.

    The paper has no temperature (1): weights then differ by at most e^2, and a small structure drowns in the mean of
    the image. M is position x position; it is never held as a whole, forward or backward.
    """
    with torch.autocast(features.device.type, enabled=False):
        p = F.interpolate(p.float(), size=features.shape[-2:], mode="area")
        alike, shares = F.normalize(_positions(features), dim=-1), _positions(p)
        # This is attention with the features as queries and keys. The kernels that hold only pieces of M want values
        # that are as wide as the keys: the filling costs less than the memory.
        values = F.pad(shares, (0, max(0, alike.shape[-1] - shares.shape[-1])))
        averaged = F.scaled_dot_product_attention(alike, alike, values, scale=1 / temperature)[:, 0]
        return (p + averaged[..., : p.shape[1]].mT.reshape(p.shape)) / 2


def _positions(m: Tensor) -> Tensor:
    """Return a map [batch, channel, row, column] as float32 [batch, 1, position, channel], contiguous."""
    return m.float().movedim(1, -1).flatten(1, 2)[:, None].contiguous()


def intra_loss(strong: Tensor, weak: Tensor, threshold: float) -> Tensor:
    """Return Dice of the strong view's refined prediction with the weak one's, where the latter is sure (equation 6).

    Both [batch, class, h, w] of :func:`refine`, the weak one mixed as the strong view after refining; no gradient goes
    there.
    """
    return dice(strong, weak.detach(), gate(weak, threshold))
