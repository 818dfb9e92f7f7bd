"""The one soft Dice of all losses. Sources: SSL4MIS and UniMatch (squared sums, background included)."""

from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5


def dice(p: Tensor, t: Tensor, w: Tensor | None = None) -> Tensor:
    """Return 1 - mean_c (2 sum w p t + eps) / (sum w p^2 + sum w t^2 + eps), float32, sums over batch and pixels.

    ``p`` and ``t`` [batch, class, row, column] are both probabilities: a hard target comes as its :func:`one_hot`.
    ``w`` [batch, 1, row, column], not negative; absent: 1 everywhere. A pixel of weight 0 has no part in the value nor
    in the gradient; without any weight both are 0, and the graph is whole still.
    """
    p, t = p.float(), t.float()
    both, each = p * t, p.square() + t.square()
    if w is not None:
        both, each = w * both, w * each
    axes = (0, 2, 3)
    return 1 - ((2 * both.sum(axes) + EPSILON) / (each.sum(axes) + EPSILON)).mean()


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels int64 [batch, row, column] as float32 [batch, class, row, column]."""
    return F.one_hot(labels, classes).movedim(-1, 1).float()
