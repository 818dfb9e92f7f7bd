"""The two sides of the measured step are the same step."""

import pytest
import torch

from tests.bench import step
from training.networks.spatial_fusion import SpatialAwareFusion


def test_both_sides_have_networks_of_one_size_and_losses_of_one_kind() -> None:
    plain = step.PlainSpatialAwareFusion()
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in SpatialAwareFusion().parameters())
    torch.manual_seed(0)
    batch = step._batch(32)
    values = [float(side()(batch).detach()) for side in (step._ours, step._plain)]
    assert values[0] == pytest.approx(values[1], rel=0.35), "other weights, the same sum of losses"


def test_a_side_prints_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SIDE", 32)
    assert step.seconds_of_a_step("ours", "fp32") > 0
