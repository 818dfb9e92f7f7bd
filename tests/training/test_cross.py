"""Laws of the consistency across images: prediction by prototypes, its uncertainty, and the loss."""

import math

import pytest
import torch
from torch.nn import functional as F

from tests.bench.semsim_plain import plain_cross, plain_prediction, plain_weight
from training.losses.cross import cross_loss, prototype_prediction, uncertainty
from training.losses.dice import one_hot
from training.losses.prototypes import class_shares, prototypes, similarity

CLASSES, WIDTH, SIDE = 4, 16, 12


def cosines(labelled: int = 3, seed: int = 0) -> torch.Tensor:
    """Return similarities [2, labelled, CLASSES, 6, 5] that differ little between labelled images."""
    random = torch.Generator().manual_seed(seed)
    common = torch.rand(2, 1, CLASSES, 6, 5, generator=random) * 1.6 - 0.8
    return common + 0.1 * torch.rand(2, labelled, CLASSES, 6, 5, generator=random)


def partly_known(m: torch.Tensor) -> torch.Tensor:
    """Return similarities of which image 0 lacks class 3, and all images class 1."""
    m = m.clone()
    m[:, 0, 3] = -torch.inf
    m[:, :, 1] = -torch.inf
    return m


def likely(labels: torch.Tensor) -> torch.Tensor:
    """Return probabilities [batch, CLASSES, row, column] of which the label's is 0.97."""
    return 0.96 * one_hot(labels, CLASSES) + 0.01


def separable(images: int, seed: int, noise: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [images, WIDTH, SIDE, SIDE] around a direction for each class, and labels of the same size."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (images, 4, 4), generator=random).repeat_interleave(3, 1).repeat_interleave(3, 2)
    looks = 2 * torch.eye(CLASSES, WIDTH) + 0.3
    features = looks[labels].movedim(-1, 1)
    return (features + noise * torch.randn(features.shape, generator=random)).relu(), labels


def plain(m: torch.Tensor) -> torch.Tensor:
    return m.masked_fill(m == -torch.inf, torch.nan)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_equals_the_plain_form(temperature: float, missing: bool) -> None:
    m = partly_known(cosines()) if missing else cosines()
    target = likely(torch.randint(3, (2, 6, 5), generator=torch.Generator().manual_seed(1)) // 2 * 2)
    p = plain_prediction(plain(m), temperature)
    weight = plain_weight(plain(m), 1000)
    torch.testing.assert_close(prototype_prediction(m, temperature), p, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close((-1000 * uncertainty(m)).exp().mean(dim=1, keepdim=True), weight, rtol=1e-3, atol=1e-5)
    found = cross_loss(m, target, temperature, 0.95)
    torch.testing.assert_close(found.loss, plain_cross(p, target, weight, 0.95), rtol=1e-3, atol=1e-5)
    assert found.loss > 0


@pytest.mark.parametrize("missing", [False, True])
def test_the_prediction_is_a_distribution(missing: bool) -> None:
    m = partly_known(cosines()) if missing else cosines()
    p = prototype_prediction(m, 0.1)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 6, 5))
    assert bool((p[:, 1] == 0).all()) == missing
    assert p[:, 3].amin() > 0


def test_a_class_that_fewer_images_know_is_not_less_likely() -> None:
    m = torch.full((1, 4, CLASSES, 1, 1), 0.5)
    m[:, :3, 2] = -torch.inf
    torch.testing.assert_close(prototype_prediction(m, 0.1).flatten(), torch.full((CLASSES,), 0.25))


@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize("missing", [False, True])
def test_uncertainty_finite_and_in_range(scale: float, missing: bool) -> None:
    """Negative cosines included; 0 where all images agree, never above log(labelled images)."""
    m = torch.rand(2, 3, CLASSES, 6, 5, generator=torch.Generator().manual_seed(0)) * 2 * scale - scale
    doubt = uncertainty(partly_known(m) if missing else m)
    assert doubt.shape == (2, 3, 6, 5)
    assert doubt.isfinite().all()
    assert 0 <= doubt.min() < doubt.max() <= math.log(3)


def test_agreement_is_certain_and_more_disagreement_less() -> None:
    agreed = cosines()[:, :1].expand(-1, 3, -1, -1, -1)
    assert uncertainty(agreed).max().item() == pytest.approx(0, abs=1e-6)
    off = torch.randn(2, 3, CLASSES, 1, 1, generator=torch.Generator().manual_seed(2))
    steps = [uncertainty(agreed + size * off).mean() for size in (0.05, 0.1, 0.2, 0.4)]
    assert steps == sorted(steps)
    assert steps[0] > 0


def test_who_does_not_know_a_class_does_not_disagree() -> None:
    m = cosines()[:, :1].expand(-1, 3, -1, -1, -1)
    assert uncertainty(partly_known(m)).max().item() == pytest.approx(0, abs=1e-6)


def test_cross_target_is_weak_view() -> None:
    """The target is a prediction handed in, gate included: no gradient goes there, and agreeing with it is best."""
    m = cosines().requires_grad_()
    own = prototype_prediction(m.detach(), 0.1).argmax(dim=1)
    weak = likely((own + 1) % CLASSES).requires_grad_()
    found = cross_loss(m, weak, 0.1, 0.95)
    found.loss.backward()  # type: ignore[no-untyped-call]
    assert weak.grad is None
    assert m.grad is not None
    assert found.loss > 4 * cross_loss(m, likely(own), 0.1, 0.95).loss
    assert cross_loss(m - m.grad, weak, 0.1, 0.95).loss < found.loss
    unsure = weak.detach().clone()
    unsure[:, :, :3] = 0.25
    m.grad = None
    half = cross_loss(m, unsure, 0.1, 0.95)
    half.loss.backward()  # type: ignore[no-untyped-call]
    assert not m.grad[..., :3, :].any()
    assert half.active <= 0.5 < found.active


def test_the_weight_is_no_way_to_a_smaller_loss() -> None:
    """The gradient is that of the cross-entropy with the weight held fast: raising U is not rewarded."""
    m = cosines().requires_grad_()
    target = likely(torch.zeros(2, 6, 5, dtype=torch.int64))
    cross_loss(m, target, 0.1, 0.95).loss.backward()  # type: ignore[no-untyped-call]
    fixed = m.detach().clone().requires_grad_()
    weight = (-1000 * uncertainty(fixed.detach())).exp().mean(dim=1)
    entropy = F.nll_loss(prototype_prediction(fixed, 0.1).log(), target.argmax(dim=1), reduction="none")
    (entropy * weight).mean().backward()
    assert m.grad is not None
    torch.testing.assert_close(m.grad, fixed.grad)


def test_a_target_that_no_prototype_stands_for_has_no_weight() -> None:
    m = partly_known(cosines()).requires_grad_()
    found = cross_loss(m, likely(torch.ones(2, 6, 5, dtype=torch.int64)), 0.1, 0.95)
    found.loss.backward()  # type: ignore[no-untyped-call]
    assert found.loss.item() == found.active.item() == 0
    assert m.grad is not None
    assert not m.grad.any()


def test_gradients_are_finite_where_classes_are_unknown() -> None:
    m = partly_known(cosines()).requires_grad_()
    cross_loss(m, likely(torch.zeros(2, 6, 5, dtype=torch.int64)), 0.1, 0.95).loss.backward()  # type: ignore[no-untyped-call]
    assert m.grad is not None
    assert m.grad.isfinite().all()
    assert m.grad.any()
    assert not m.grad[:, :, 1].any()
    assert not m.grad[:, 0, 3].any()


def test_the_counters_say_what_happens() -> None:
    m, labels = cosines(), torch.zeros(2, 6, 5, dtype=torch.int64)
    target = likely(labels)
    target[:, :, :2] = 0.25
    found = cross_loss(m, target, 0.1, 0.95, rate=1)
    assert found.active.item() == pytest.approx(4 / 6)
    assert found.uncertainty.item() == pytest.approx(float(uncertainty(m).mean()))
    first, second = prototype_prediction(m, 0.1).sort(dim=1, descending=True).values[:, :2].unbind(dim=1)
    assert found.gap.item() == pytest.approx(float((first - second).mean()), rel=1e-4)
    assert not any(c.requires_grad for c in (found.active, found.uncertainty, found.gap))


def predictions(temperature: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weak view's prediction, the strong view's similarities and the truth, for separable classes."""
    features, labels = separable(3, seed=0)
    found = prototypes(features, class_shares(labels, CLASSES, (SIDE, SIDE)), 2)
    weak, truth = separable(2, seed=1)
    strong = weak + 0.5 * torch.randn(weak.shape, generator=torch.Generator().manual_seed(2))
    return prototype_prediction(similarity(weak, found), temperature), similarity(strong, found), truth


def test_cross_loss_not_identically_zero() -> None:
    """With the repaired temperature, features whose classes are apart open the gate, and rightly."""
    weak, m, truth = predictions(0.1)
    found = cross_loss(m, weak, 0.1, 0.95)
    assert found.loss > 0
    assert found.active > 0.2
    sure = weak.amax(dim=1) >= 0.95
    assert sure.float().mean() > 0.5
    assert (weak.argmax(dim=1) == truth)[sure].float().mean() > 0.99


@pytest.mark.parametrize(
    ("classes", "least", "largest"), [(4, -1.0, 0.711), (4, 0.0, 0.475), (2, -1.0, 0.881), (2, 0.0, 0.731)]
)
def test_paper_literal(classes: int, least: float, largest: float) -> None:
    """At temperature 1 the surest that cosines can be (from -1, or from 0 after a ReLU) is below the gate of 0.95.

    So the term is 0 for ever, whatever the features; at 0.1 the same cosines pass.
    """
    surest = torch.full((1, 1, classes, 1, 1), least)
    surest[:, :, 0] = 1
    assert prototype_prediction(surest, 1.0).max().item() == pytest.approx(largest, abs=5e-4)
    assert prototype_prediction(surest, 0.1).max() > 0.99


def test_paper_literal_has_no_cross_loss() -> None:
    weak, m, _ = predictions(1.0)
    found = cross_loss(m, weak, 1.0, 0.95)
    assert found.loss.item() == found.active.item() == 0


def test_following_the_loss_brings_it_down() -> None:
    """On separable classes: the strong view's features move to the prototypes that the weak view points at."""
    features, labels = separable(3, seed=0)
    found = prototypes(features, class_shares(labels, CLASSES, (SIDE, SIDE)), 2)
    weak, truth = separable(2, seed=1)
    target = prototype_prediction(similarity(weak, found), 0.1)
    strong = (weak + torch.randn(weak.shape, generator=torch.Generator().manual_seed(2))).requires_grad_()
    optimizer = torch.optim.Adam([strong], lr=0.05)
    steps = []
    for _ in range(40):
        steps.append(cross_loss(similarity(strong, found), target, 0.1, 0.95))
        optimizer.zero_grad()
        steps[-1].loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert min(step.active for step in steps) > 0
    assert steps[-1].gap > steps[0].gap
    right = [prototype_prediction(similarity(f, found), 0.1).argmax(dim=1) == truth for f in (strong, weak)]
    assert right[0].float().mean() > 0.9 * right[1].float().mean()
