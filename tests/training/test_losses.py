"""Laws of the losses."""

import pytest
import torch
from torch.nn import functional as F

from training.losses import soft_dice, supervised_loss


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels, 4).movedim(-1, 1).float()


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(4, (2, 8, 8), generator=torch.Generator().manual_seed(0))


def test_the_right_answer_costs_nothing(labels: torch.Tensor) -> None:
    hard = one_hot(labels)
    assert soft_dice(hard, hard, torch.ones(2, 1, 8, 8)).item() == pytest.approx(0, abs=1e-6)
    assert supervised_loss(hard * 100, labels).item() == pytest.approx(0, abs=1e-4)


def test_the_wrong_answer_costs_everything(labels: torch.Tensor) -> None:
    wrong = one_hot((labels + 1) % 4)
    assert soft_dice(wrong, one_hot(labels), torch.ones(2, 1, 8, 8)).item() == pytest.approx(1, abs=1e-4)


def test_pixels_without_weight_do_not_count(labels: torch.Tensor) -> None:
    weights = torch.ones(2, 1, 8, 8)
    weights[:, :, :4] = 0
    spoiled = one_hot(labels)
    spoiled[:, :, :4] = 0.25
    assert soft_dice(spoiled, one_hot(labels), weights).item() == pytest.approx(0, abs=1e-6)


def test_no_weight_at_all_is_no_loss_and_no_gradient(labels: torch.Tensor) -> None:
    shares = torch.full((2, 4, 8, 8), 0.25, requires_grad=True)
    loss = soft_dice(shares, one_hot(labels), torch.zeros(2, 1, 8, 8))
    assert loss.item() == 0
    assert not loss.requires_grad


def test_classes_may_change_places(labels: torch.Tensor) -> None:
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.argsort(order)[labels]
    torch.testing.assert_close(supervised_loss(logits, labels), supervised_loss(logits[:, order], renamed))


def test_the_loss_falls_along_its_gradient(labels: torch.Tensor) -> None:
    logits = torch.zeros(2, 4, 8, 8, requires_grad=True)
    before = supervised_loss(logits, labels)
    before.backward()
    assert logits.grad is not None
    assert supervised_loss(logits - 10 * logits.grad, labels) < before


def test_half_precision_logits_are_taken_as_float(labels: torch.Tensor) -> None:
    logits = torch.randn(2, 4, 8, 8).bfloat16()
    assert supervised_loss(logits, labels).dtype == torch.float32
