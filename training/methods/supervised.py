"""Training on labels alone: the control of every other method."""

from torch import Tensor, nn

from training.data.streams import Batch
from training.losses import supervised_loss


class Supervised(nn.Module):
    """Turns a batch of labelled views into one loss."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch, average: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the losses by name and no counters; ``average`` is not asked."""
        return {"supervised": supervised_loss(self.network(batch.images), batch.labels)}, {}
