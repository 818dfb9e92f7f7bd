"""The served form of a network: probabilities are enlarged before the decision, on the agreed grid."""

import numpy as np
import pytest
import torch
from torch import nn

from contracts.prepare import Prepare, prepare_slices, whole_square
from training.networks.student import Student, runner


class Fixed(nn.Module):
    """A network whose logits are its input's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits of two classes: the image and nothing."""
        return torch.cat([torch.zeros_like(images), images], dim=1)


def test_probabilities_are_a_distribution_on_the_finer_grid() -> None:
    shares = Student(Fixed(), 64).probabilities(torch.randn(2, 1, 32, 32))
    assert shares.shape == (2, 2, 64, 64)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, 64, 64))
    assert shares.min() >= 0


def test_the_finer_grid_covers_the_same_window() -> None:
    """What the graph enlarges is what ``prepare`` would have shown on the finer grid: same places, no shift."""
    picture = np.hypot(np.arange(32)[:, None] - 13.0, np.arange(32)[None] - 18.0)[None].astype(np.float32)
    shares = Student(Fixed(), 64).probabilities(torch.from_numpy(picture)[:, None])[0, 1].numpy()
    plain = torch.from_numpy(picture)[:, None].sigmoid()[:, 0].numpy()
    finer = Prepare(input_side=64, low_percentile=0, high_percentile=100, high_value=1)
    ours = prepare_slices(plain, whole_square(32, 32), finer)[0, 0]
    inside = (slice(2, -2), slice(2, -2))
    assert np.corrcoef(shares[inside].ravel(), ours[inside].ravel())[0, 1] > 0.999


def test_outlines_are_finer_than_the_input() -> None:
    slope = (9.3 - np.hypot(np.arange(32)[:, None] - 15.5, np.arange(32)[None] - 15.5)).astype(np.float32)
    labels = Student(Fixed(), 64)(torch.from_numpy(slope)[None, None])[0].numpy()
    blocks = labels.reshape(32, 2, 32, 2)
    assert labels.dtype == np.uint8
    assert (blocks.min(axis=(1, 3)) != blocks.max(axis=(1, 3))).any()


@pytest.mark.parametrize("count", [1, 5])
def test_running_leaves_no_gradients_and_switches_dropout_off(count: int) -> None:
    network = nn.Sequential(Fixed(), nn.Dropout(0.5)).train()
    run = runner(network, 64)
    images = np.random.default_rng(0).random((count, 1, 32, 32)).astype(np.float32)
    first, second = run(images), run(images)
    assert first.shape == (count, 64, 64)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert not network.training
