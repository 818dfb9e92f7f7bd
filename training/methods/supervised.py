"""Training on labels alone: the student of the first issue and the control of every other method."""

from torch import Tensor, nn

from training.data.augment import Batch
from training.losses import supervised_loss


class Supervised:
    """Turns a batch of labelled views into one loss."""

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the losses by name; their sum is minimised."""
        return {"supervised": supervised_loss(network(batch.images), batch.labels)}
