"""The losses that several methods share."""

from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5


def soft_dice(probabilities: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Return 1 - soft Dice with squared sums (the form of SSL4MIS), mean over classes, background included.

    ``probabilities`` and ``targets`` [batch, class, row, column], both distributions over classes (a hard target is
    one-hot); ``weights`` [batch, 1, row, column]. Sums run over batch and pixels. No weight at all: 0, no gradient.
    """
    if not weights.any():
        return probabilities.new_zeros(())
    axes = (0, 2, 3)
    both = (weights * probabilities * targets).sum(axes)
    each = (weights * (probabilities.square() + targets.square())).sum(axes)
    return 1 - ((2 * both + EPSILON) / (each + EPSILON)).mean()


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (cross-entropy + Dice) / 2 of logits [batch, class, row, column] for labels int64 [batch, row, column]."""
    logits = logits.float()
    hard = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    dice = soft_dice(logits.softmax(dim=1), hard, logits.new_ones(()).expand_as(logits[:, :1]))
    return (F.cross_entropy(logits, labels) + dice) / 2
