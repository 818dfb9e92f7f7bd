"""The method turns a batch into losses, and following them makes a network right."""

import numpy as np
import torch

from contracts.prepare import Prepare
from training.data.augment import Batch, Views, make_batch
from training.data.sources import Source
from training.losses import supervised_loss
from training.methods.supervised import Supervised
from training.networks.unet import UNet


def a_batch(source: Source) -> Batch:
    return make_batch(source.slices[:4], Views(), Prepare(input_side=32), np.random.default_rng(0))


def test_the_loss_is_that_of_the_networks_logits(source: Source) -> None:
    network, batch = UNet().eval(), a_batch(source)
    (loss,) = Supervised().losses(network, batch).values()
    torch.testing.assert_close(loss, supervised_loss(network(batch.images), batch.labels))


def test_a_batch_that_is_seen_often_is_learned(source: Source) -> None:
    torch.manual_seed(0)
    network, batch = UNet(), a_batch(source)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    values = []
    for _ in range(10):
        loss = torch.stack(list(Supervised().losses(network, batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.85 * values[0]


def test_a_batch_moves_as_a_whole(source: Source) -> None:
    batch = a_batch(source).to(torch.device("meta"))
    assert batch.images.device.type == batch.labels.device.type == "meta"
