"""Laws of the losses on labels and pseudo-labels."""

import pytest
import torch
from torch.nn import functional as F

from training.losses import supervised_loss
from training.losses.dice import dice, one_hot
from training.losses.pseudo import gate, pseudo_label_loss


@pytest.fixture
def labels() -> torch.Tensor:
    return torch.randint(4, (2, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_right_answer_costs_nothing(labels: torch.Tensor) -> None:
    assert supervised_loss(one_hot(labels, 4) * 100, labels).item() == pytest.approx(0, abs=1e-4)


def test_classes_may_change_places(labels: torch.Tensor, logits: torch.Tensor) -> None:
    order = torch.tensor([2, 0, 3, 1])
    renamed = torch.argsort(order)[labels]
    torch.testing.assert_close(supervised_loss(logits, labels), supervised_loss(logits[:, order], renamed))


def test_the_loss_falls_along_its_gradient(labels: torch.Tensor) -> None:
    logits = torch.zeros(2, 4, 8, 8, requires_grad=True)
    before = supervised_loss(logits, labels)
    before.backward()
    assert logits.grad is not None
    assert supervised_loss(logits - 10 * logits.grad, labels) < before


def test_half_precision_logits_are_taken_as_float(labels: torch.Tensor, logits: torch.Tensor) -> None:
    assert supervised_loss(logits.bfloat16(), labels).dtype == torch.float32


def test_confidence_is_a_probability(logits: torch.Tensor) -> None:
    """Logits above 0.95 are not confident: what counts is the same for all logits that mean the same probabilities."""
    p = (3 * logits).softmax(dim=1)
    sure = gate(p, 0.95)
    assert 0 < sure.mean() < (logits.amax(dim=1) >= 0.95).float().mean()
    torch.testing.assert_close(gate((3 * logits + 7).softmax(dim=1), 0.95), sure)
    torch.testing.assert_close(sure[:, 0], (p.max(dim=1).values >= 0.95).float())


def test_the_gate_opens_at_its_threshold() -> None:
    p = torch.tensor([[0.95, 0.05], [0.9499, 0.0501], [0.2, 0.8]]).T.reshape(1, 2, 1, 3)
    assert gate(p, 0.95).flatten().tolist() == [1, 0, 0]
    assert gate(p, 0).flatten().tolist() == [1, 1, 1]


def test_pseudo_labels_that_are_sure_are_labels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    loss = pseudo_label_loss(logits, one_hot(labels, 4), 0.95, cross_entropy=True)
    torch.testing.assert_close(loss, supervised_loss(logits, labels))


@pytest.mark.parametrize("cross_entropy", [False, True])
def test_pseudo_labels_that_are_not_sure_teach_nothing(logits: torch.Tensor, cross_entropy: bool) -> None:
    student = logits.clone().requires_grad_()
    unsure = torch.full((2, 4, 8, 8), 0.25)
    loss = pseudo_label_loss(student, unsure, 0.95, cross_entropy)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


@pytest.mark.parametrize("cross_entropy", [False, True])
def test_only_sure_pixels_teach(logits: torch.Tensor, labels: torch.Tensor, cross_entropy: bool) -> None:
    target = one_hot(labels, 4)
    target[:, :, :4] = 0.6 * target[:, :, :4] + 0.1
    student = logits.clone().requires_grad_()
    pseudo_label_loss(student, target, 0.95, cross_entropy).backward()
    assert student.grad is not None
    assert not student.grad[:, :, :4].any()
    assert student.grad[:, :, 4:].abs().amin() > 0


def test_no_gradient_reaches_the_teacher(logits: torch.Tensor) -> None:
    teacher = (10 * logits).requires_grad_()
    loss = pseudo_label_loss(logits.clone().requires_grad_(), teacher.softmax(dim=1), 0.5, cross_entropy=True)
    loss.backward()
    assert teacher.grad is None


def test_cross_entropy_is_a_mean_over_all_pixels(logits: torch.Tensor, labels: torch.Tensor) -> None:
    target = one_hot(labels, 4)
    target[:, :, :4] = 0.25
    sure = torch.zeros(2, 8, 8)
    sure[:, 4:] = 1
    entropy = (F.cross_entropy(logits, labels, reduction="none") * sure).sum() / sure.numel()
    overlap = dice(logits.softmax(dim=1), one_hot(labels, 4), sure[:, None])
    torch.testing.assert_close(pseudo_label_loss(logits, target, 0.95, cross_entropy=True), (entropy + overlap) / 2)
