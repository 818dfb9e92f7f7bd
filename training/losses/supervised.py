"""The loss on labels: the same for every method."""

from torch import Tensor
from torch.nn import functional as F

from training.losses.dice import dice, one_hot


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (cross-entropy + Dice) / 2 of logits [batch, class, row, column] for labels int64 [batch, row, column]."""
    logits = logits.float()
    return (F.cross_entropy(logits, labels) + dice(logits.softmax(dim=1), one_hot(labels, logits.shape[1]))) / 2
