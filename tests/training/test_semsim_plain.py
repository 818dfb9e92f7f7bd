"""The plain form of a SemSim step works, and stays what it was when the blocks were measured against it."""

from pathlib import Path

import pytest
import torch

from tests.bench import semsim_plain
from tests.bench.frozen import check_frozen
from tests.bench.semsim_plain import PlainBatch, PlainSettings, PlainSpatialAwareFusion, plain_losses
from training.networks.unet import UNet

SHA256 = "3b01c09bb86e62732fe3dd3957bc6db9de2e7567e8b19922e6be25b43f54e565"
"""Digest of the file as it was before the blocks were tuned against it."""


def a_batch() -> PlainBatch:
    """Return 2 + 3 images of 32 pixels; the strong views mix a box of each image's neighbour in."""
    weak, box = torch.rand(3, 1, 32, 32), torch.zeros(3, 1, 32, 32, dtype=torch.bool)
    box[:, :, 4:20, 8:24] = True
    labels = torch.randint(4, (2, 32, 32))
    return PlainBatch(torch.rand(2, 1, 32, 32), labels, weak, (weak, weak), (box, box), (torch.tensor([1, 2, 0]),) * 2)


def test_the_plain_form_is_frozen() -> None:
    """A ratio to something that moves says nothing."""
    assert check_frozen(Path(str(semsim_plain.__file__)), SHA256) == SHA256


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_plain_step_teaches_everything(bfloat16: bool) -> None:
    network, fusion = UNet(), PlainSpatialAwareFusion()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        losses = plain_losses(network, fusion, a_batch(), PlainSettings(threshold=0.0))
    losses["total"].backward()  # type: ignore[no-untyped-call]
    assert set(losses) == {"supervised", "fixmatch", "intra", "cross", "total"}
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    parameters = [*network.parameters(), *fusion.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


def test_nothing_sure_leaves_the_loss_on_labels() -> None:
    losses = plain_losses(UNet(), PlainSpatialAwareFusion(), a_batch(), PlainSettings(threshold=1.1))
    assert [losses[name].item() for name in ("fixmatch", "intra", "cross")] == [0, 0, 0]
    torch.testing.assert_close(losses["total"], losses["supervised"] / 2)
