"""A network in the form in which it is served: grey values in, a label map on a finer grid out."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.prepare import FloatImages, Masks
from contracts.segment import Run


class Student(nn.Module):
    """Probabilities are enlarged bilinearly (pixel centres kept) *before* the argmax, so that outlines are not blocky.

    Images float32 [batch, channel, row, column] -> labels uint8 [batch, output_side, output_side].
    """

    def __init__(self, network: nn.Module, output_side: int) -> None:
        super().__init__()
        self.network = network
        self.output_side = output_side

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities float32 [batch, class, output_side, output_side]."""
        shares = self.network(images).float().softmax(dim=1)
        return F.interpolate(shares, size=(self.output_side, self.output_side), mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the label of the most probable class, uint8 [batch, output_side, output_side]."""
        return self.probabilities(images).argmax(dim=1).to(torch.uint8)


def runner(network: nn.Module, output_side: int) -> Run:
    """Return ``run`` of ``contracts.segment`` for a torch network. The network is switched to evaluation mode."""
    student = Student(network, output_side).eval()
    device = next(network.parameters()).device

    def run(images: FloatImages) -> Masks:
        with torch.inference_mode():
            labels: Masks = student(torch.from_numpy(images).to(device)).cpu().numpy().astype(np.uint8)
        return labels

    return run
