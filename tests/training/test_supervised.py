"""The method turns a batch into losses, and following them makes a network right."""

import numpy as np
import pytest
import torch

from training.data.sources import Source
from training.data.streams import Batch
from training.losses import supervised_loss
from training.methods.supervised import Supervised
from training.networks.unet import UNet
from training.preset import Preset
from training.run import make_streams


@pytest.fixture(scope="module")
def batch(tiny: Preset, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    return make_streams(tiny, source, tmp_path_factory.mktemp("out")).draw(0)


def test_the_loss_is_that_of_the_networks_logits(batch: Batch) -> None:
    method = Supervised(UNet()).eval()
    losses, counters = method(batch, method)
    assert not counters
    torch.testing.assert_close(losses["supervised"], supervised_loss(method.network(batch.images), batch.labels))


def test_a_batch_that_is_seen_often_is_learned(batch: Batch) -> None:
    torch.manual_seed(0)
    method = Supervised(UNet())
    optimizer = torch.optim.AdamW(method.parameters(), lr=2e-3)
    values = []
    for _ in range(10):
        loss = method(batch, method)[0]["supervised"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.85 * values[0]


def test_a_batch_moves_as_a_whole(batch: Batch) -> None:
    moved = batch.to(torch.device("meta"))
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert np.isfinite(batch.images.numpy()).all()
