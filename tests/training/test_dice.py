"""Laws of the one soft Dice, and the defects of a public listing that it must not have."""

import pytest
import torch

from tests.bench.semsim_plain import plain_dice
from training.losses.dice import dice, one_hot


def maps(batch: int = 2, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return two different distributions over classes and random weights."""
    random = torch.Generator().manual_seed(seed)
    p, t = (torch.randn(2, batch, classes, 8, 6, generator=random) * 2).softmax(dim=2)
    return p, t, torch.rand(batch, 1, 8, 6, generator=random)


def test_dice_takes_soft_targets() -> None:
    p, t, w = maps()
    assert 0 < dice(p, t, w).item() < 1
    torch.testing.assert_close(dice(p, t, w), dice(t, p, w))


def test_dice_of_equal_maps_is_zero() -> None:
    p, _, w = maps()
    hard = one_hot(p.argmax(dim=1), 4)
    assert dice(hard, hard).item() == pytest.approx(0, abs=1e-6)
    assert dice(p, p, w).item() == pytest.approx(0, abs=1e-6)


def test_the_wrong_answer_costs_everything() -> None:
    labels = maps()[0].argmax(dim=1)
    assert dice(one_hot((labels + 1) % 4, 4), one_hot(labels, 4)).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("batch", "classes"), [(1, 4), (3, 2), (2, 4), (4, 4)])
def test_mask_shape_any_batch(batch: int, classes: int) -> None:
    p, t, w = maps(batch, classes)
    loss = dice(p, t, w)
    assert loss.shape == ()
    torch.testing.assert_close(loss, plain_dice(p, t, w))


def test_masked_pixels_have_no_gradient() -> None:
    """Neither what is predicted nor what is wanted under the mask has a part in the loss."""
    p, t, w = maps()
    w[:, :, :3] = 0
    p.requires_grad_()
    loss = dice(p, t, w)
    loss.backward()  # type: ignore[no-untyped-call]
    assert p.grad is not None
    assert not p.grad[:, :, :3].any()
    assert p.grad[:, :, 3:].any()
    spoiled = t.clone()
    spoiled[:, :, :3] = 0.25
    torch.testing.assert_close(dice(p, spoiled, w), loss, rtol=0, atol=0)


def test_without_any_weight_the_loss_is_zero_and_the_graph_whole() -> None:
    p, t, w = maps()
    p.requires_grad_()
    loss = dice(p, t, torch.zeros_like(w))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert p.grad is not None
    assert not p.grad.any()


def test_no_weights_are_weights_of_one() -> None:
    p, t, w = maps()
    torch.testing.assert_close(dice(p, t), dice(p, t, torch.ones_like(w)), rtol=0, atol=0)


def test_a_weight_of_two_counts_a_pixel_twice() -> None:
    p, t, _ = maps(batch=1)
    twice = torch.ones(1, 1, 8, 6)
    twice[:, :, 3:] = 2
    again = [torch.cat([m, m[:, :, 3:]], dim=2) for m in (p, t)]
    torch.testing.assert_close(dice(p, t, twice), dice(again[0], again[1]))


def test_sums_run_over_the_batch_not_over_means_of_images() -> None:
    p, t, _ = maps()
    side_by_side = [torch.cat(list(m), dim=2)[None] for m in (p, t)]
    torch.testing.assert_close(dice(p, t), dice(side_by_side[0], side_by_side[1]))


def test_half_precision_is_summed_as_float() -> None:
    p = torch.full((1, 2, 128, 128), 0.5, dtype=torch.bfloat16)
    assert dice(p, p).dtype == torch.float32
    assert dice(p, p).item() == pytest.approx(0, abs=1e-6)
