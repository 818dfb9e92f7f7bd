"""SemSim (arXiv 2410.13486v1), and FixMatch as SemSim without its two terms: one class, so that they compare fairly.

What is trained by what:

=================  ==============  =======================================  ==============================
stream             trained by      target                                   gate
=================  ==============  =======================================  ==============================
labelled           L_s             label                                    none
unlabelled, weak   nothing         gives p_w, p_1 (refined), p_2            none
strong 1           L_u, L_intra    argmax p_w and p_1, mixed by box 1       confidence of p_w, of p_1
strong 2           L_cross         argmax p_2, mixed by box 2               confidence of p_2, exp(-r U)
=================  ==============  =======================================  ==============================

FixMatch with two streams learns L_u from strong 2 as well, as UniMatch does.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.streams import Batch, Unlabelled
from training.losses import supervised_loss
from training.losses.dice import one_hot
from training.losses.pseudo import gate, pseudo_label_loss
from training.methods.options import Consistency
from training.methods.similarity import Figures, Similarity
from training.networks.unet import UNet


class SemSim(nn.Module):
    """Learns from labels and from a teacher's confident labels; with ``similarity`` also from likeness of features."""

    def __init__(self, network: UNet, similarity: Similarity | None, options: Consistency) -> None:
        super().__init__()
        self.network, self.similarity, self.options = network, similarity, options
        self.encoded = 2 if similarity else options.streams
        self.decoded = 1 if similarity else options.streams

    def forward(self, batch: Batch, average: "SemSim") -> tuple[Figures, Figures]:
        """Return the weighted losses by name, and counters of what passed the gates."""
        unlabelled, options, labelled = batch.unlabelled, self.options, len(batch.images)
        if unlabelled is None:
            raise TypeError("a consistency method needs the unlabelled stream")
        p_w, weak = self.look(unlabelled, average)
        count = len(p_w)
        maps = self.network.encode(torch.cat([batch.images, *unlabelled.strong[: self.encoded]]))
        maps = [_drop(stage, labelled, options.channel_dropout, self.training) for stage in maps]
        logits = self.network.decode([stage[: labelled + self.decoded * count] for stage in maps])
        strong = logits[labelled:].reshape(self.decoded, count, *logits.shape[1:])
        targets = [mix(p_w) for mix in unlabelled.mixes[: self.decoded]]
        each = [
            pseudo_label_loss(answer, target, options.threshold, options.cross_entropy)
            for answer, target in zip(strong, targets, strict=True)
        ]
        losses = {
            "supervised": supervised_loss(logits[:labelled], batch.labels),
            "unlabelled": torch.stack(each).mean(),
        }
        counters = {"unlabelled/share": torch.stack([gate(t, options.threshold).mean() for t in targets]).mean()}
        if self.similarity and weak is not None:
            with torch.no_grad():  # labelled features make prototypes, which no gradient reaches
                fused = self.similarity([stage[:labelled] for stage in maps])
            first, second = self.similarity([stage[labelled:] for stage in maps]).split(count)
            p_s = strong[0].float().softmax(dim=1)
            intra = self.similarity.intra(p_w, weak, p_s, first, unlabelled.mixes[0])
            cross = self.similarity.cross(fused, batch.labels, weak, second, unlabelled.mixes[1])
            losses |= intra[0] | cross[0]
            counters |= intra[1] | cross[1]
        return {name: getattr(options.weights, name) * loss for name, loss in losses.items()}, counters

    @torch.no_grad()
    def look(self, unlabelled: Unlabelled, average: "SemSim") -> tuple[Tensor, Tensor | None]:
        """Return what the teacher makes of the unmixed weak views: p_w [batch, class, row, column], fused features.

        In evaluation mode: no dropout in targets, and running statistics are left alone. A frozen teacher's stored
        labels come one-hot; features are the average's then.
        """
        teacher = self if self.options.teacher == "self" else average
        training = teacher.training
        teacher.eval()
        maps = teacher.network.encode(unlabelled.weak)
        p_w = teacher.network.decode(maps).float().softmax(dim=1)
        features = teacher.similarity(maps) if teacher.similarity else None
        teacher.train(training)
        # Weights that were brought to half precision here know no gradient; the step must not find them again.
        torch.clear_autocast_cache()
        stored = self.options.teacher == "frozen"
        return one_hot(unlabelled.stored, p_w.shape[1]) if stored else p_w, features


def _drop(stage: Tensor, labelled: int, share: float, training: bool) -> Tensor:
    """Drop whole channels of the strong views' features; those of labelled views pass."""
    if not share:
        return stage
    return torch.cat([stage[:labelled], F.dropout2d(stage[labelled:], share, training)])
