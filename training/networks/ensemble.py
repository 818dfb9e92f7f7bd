"""Several networks as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """The mean of the networks' probabilities, as logits [batch, class, row, column]."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits whose softmax is the mean of the networks' probabilities."""
        shares = [network(images).float().softmax(dim=1) for network in self.networks]
        return torch.stack(shares).mean(dim=0).log()
