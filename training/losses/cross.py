"""Consistency across images (SemSim, equations 9-13): unlabelled positions are classified by labelled prototypes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.pseudo import gate

IMPOSSIBLE = -1e4
"""Stands for -inf in logarithms: its exponential is 0 as well, and gradients stay finite."""


@dataclass(frozen=True, eq=False)
class Cross:
    """The loss of a step, and what to watch: scalars float32, without gradient but for the loss.

    ``active``: share of positions with a weight above 0; ``uncertainty``: mean U; ``gap``: mean difference between the
    two most probable classes of the prediction.
    """

    loss: Tensor
    active: Tensor
    uncertainty: Tensor
    gap: Tensor


def prototype_prediction(m: Tensor, temperature: float) -> Tensor:
    """Return probabilities float32 [unlabelled, class, h, w] from similarities as of ``similarity`` (equation 9).

    p(c) is proportional to the mean of exp(m_jc / temperature) over the labelled images that know c: the paper's sum
    where all do. A class that none knows has probability 0. With the paper's temperature of 1 and four classes no
    probability is above 0.71.
    """
    return _log_prediction(m, temperature).exp()


def uncertainty(m: Tensor) -> Tensor:
    """Return U = KL(m_j || mean of m_j over j), m_j a softmax over classes (equations 10-12), in nat.

    ``m`` of ``similarity`` -> float32 [unlabelled, labelled, h, w], between 0 and log(labelled). An image that does not
    know a class takes the mean similarity of those that do: who cannot tell does not disagree.
    """
    known = m.isfinite()
    count = known.sum(dim=1, keepdim=True)
    cosines = m.masked_fill(~known, 0)
    mean = (cosines.sum(dim=1, keepdim=True) / count.clamp(min=1)).masked_fill(count == 0, IMPOSSIBLE)
    each = torch.where(known, cosines, mean).log_softmax(dim=2)
    joint = each.exp().mean(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny).log()
    return (each.exp() * (each - joint)).sum(dim=2).clamp(min=0)


def cross_loss(m: Tensor, target: Tensor, temperature: float, threshold: float, rate: float = 1000.0) -> Cross:
    """Return the cross-entropy of the strong view's prototype prediction, where its target is sure (equation 13).

    ``m`` of ``similarity`` for the strong view; ``target`` [unlabelled, class, h, w], probabilities: the weak view's
    prototype prediction, mixed as the strong view. Most probable class of the target; mean over all positions, weighted
    by the gate and by mean_j exp(-rate U_j). A target that no prototype stands for has weight 0. Gradients reach ``m``
    through the prediction alone.
    """
    labels = target.detach().argmax(dim=1, keepdim=True)
    doubt = uncertainty(m.detach())
    possible = m.isfinite().any(dim=1).gather(1, labels)
    weight = gate(target, threshold) * (-rate * doubt).exp().mean(dim=1, keepdim=True) * possible
    prediction = _log_prediction(m, temperature)
    loss = -(prediction.gather(1, labels) * weight).mean()
    best = prediction.detach().exp().topk(2, dim=1).values
    return Cross(loss, (weight > 0).float().mean(), doubt.mean(), (best[:, 0] - best[:, 1]).mean())


def _log_prediction(m: Tensor, temperature: float) -> Tensor:
    known = m.isfinite()
    mean = (m / temperature).masked_fill(~known, IMPOSSIBLE).logsumexp(dim=1) - known.sum(dim=1).clamp(min=1).log()
    return mean.log_softmax(dim=1)
