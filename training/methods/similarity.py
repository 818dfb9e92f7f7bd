"""What SemSim adds to FixMatch: two losses of how features resemble each other, and the module they train."""

import torch
from torch import Tensor, nn

from training.data.strong import Mix
from training.losses.affinity import intra_loss, refine
from training.losses.cross import cross_loss, prototype_prediction
from training.losses.prototypes import ClassMemory, class_shares, prototypes, similarity
from training.losses.pseudo import gate
from training.methods.options import Consistency

Figures = dict[str, Tensor]


class Similarity(nn.Module):
    """Fuses the encoder's maps and compares what comes out, inside an image and across images."""

    def __init__(self, fusion: nn.Module, options: Consistency, classes: int) -> None:
        super().__init__()
        self.fusion, self.options, self.classes = fusion, options, classes
        self.memory = ClassMemory(classes, options.fusion_width)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Return fused features [batch, width, row / 4, column / 4] of the encoder's five maps."""
        features: Tensor = self.fusion(maps)
        return features

    def intra(self, p_w: Tensor, weak: Tensor, p_s: Tensor, strong: Tensor, mix: Mix) -> tuple[Figures, Figures]:
        """Return L_intra (equations 4-6) and its counter: each source image is refined alone, then targets are mixed.

        ``p_w`` and ``p_s`` [batch, class, row, column] of the weak and the strong view, ``weak`` and ``strong`` their
        fused features.
        """
        options = self.options
        p_1 = mix(refine(p_w, weak, options.affinity_temperature))
        loss = intra_loss(refine(p_s, strong, options.affinity_temperature), p_1, options.threshold)
        return {"intra": loss}, {"intra/share": gate(p_1, options.threshold).mean()}

    def cross(
        self, labelled: Tensor, labels: Tensor, weak: Tensor, strong: Tensor, mix: Mix
    ) -> tuple[Figures, Figures]:
        """Return L_cross (equations 7-13) and its counters: labelled prototypes classify the weak and strong views.

        ``labelled``, ``weak``, ``strong``: fused features; ``labels`` int64 [batch, row, column] of the labelled ones.
        """
        options, labelled = self.options, labelled.detach()
        rows, columns = labelled.shape[-2:]
        shares = class_shares(labels, self.classes, (rows, columns))
        found = prototypes(labelled, shares, options.grid, self.memory)
        self.memory.update(labelled, shares)
        with torch.no_grad():
            p_2 = mix(prototype_prediction(similarity(weak, found), options.prototype_temperature))
        cosines = similarity(strong, found)
        cross = cross_loss(cosines, p_2, options.prototype_temperature, options.threshold, options.sharpness)
        counters = {"cross/share": cross.active, "cross/uncertainty": cross.uncertainty, "cross/gap": cross.gap}
        return {"cross": cross.loss}, counters
