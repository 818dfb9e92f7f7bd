"""Hard pseudo-labels where a teacher is sure: FixMatch's loss (SemSim, equations 2 and 3), and every term's gate."""

from torch import Tensor
from torch.nn import functional as F

from training.losses.dice import dice, one_hot


def gate(p: Tensor, threshold: float) -> Tensor:
    """Return 1 where the largest probability of ``p`` [batch, class, row, column] reaches the threshold, else 0.

    float32 [batch, 1, row, column], without gradient. ``p`` are probabilities; logits have no confidence.
    """
    return (p.amax(dim=1, keepdim=True) >= threshold).float()


def pseudo_label_loss(logits: Tensor, target: Tensor, threshold: float, cross_entropy: bool = False) -> Tensor:
    """Return Dice of logits [batch, class, row, column] with the most probable class of the target, where it is sure.

    ``target`` [batch, class, row, column]: probabilities of the weak view, mixed as the strong one; no gradient goes
    there. With ``cross_entropy`` it is (cross-entropy + Dice) / 2, the former a mean over all pixels, in which those
    that are not sure count 0.
    """
    logits, labels, sure = logits.float(), target.detach().argmax(dim=1), gate(target, threshold)
    overlap = dice(logits.softmax(dim=1), one_hot(labels, logits.shape[1]), sure)
    if not cross_entropy:
        return overlap
    return ((F.cross_entropy(logits, labels, reduction="none") * sure[:, 0]).mean() + overlap) / 2
