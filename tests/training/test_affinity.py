"""Laws of the consistency inside an image: what looks alike is of one class."""

import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from tests.bench.semsim_plain import plain_refine
from training.losses.affinity import intra_loss, refine
from training.losses.dice import one_hot

SIDE = 32


def random_maps(seed: int = 0, scale: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Return probabilities [2, 4, 8 * scale, 6 * scale] and features [2, 16, 8, 6], not negative as after a ReLU."""
    random = torch.Generator().manual_seed(seed)
    p = torch.randn(2, 4, 8 * scale, 6 * scale, generator=random).softmax(dim=1)
    return p, torch.randn(2, 16, 8, 6, generator=random).relu()


def small_structures(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return labels [1, SIDE, SIDE] of which 10 % are three small structures, features, and noisy predictions.

    Features are not negative, with cosines of about 0.4 between classes and 0.97 within.
    """
    random = torch.Generator().manual_seed(seed)
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    for c, (row, column) in enumerate([(4, 4), (14, 20), (25, 9)], start=1):
        labels[:, row : row + 5, column : column + 7] = c
    looks = torch.rand(4, 64, generator=random) + 4 * F.one_hot(torch.arange(4) * 8, 64).float()
    features = looks[labels].movedim(-1, 1)
    features = (features + 0.15 * torch.randn(features.shape, generator=random)).relu()
    noise = torch.randn(1, 4, SIDE, SIDE, generator=random)
    return labels, features, (2.2 * one_hot(labels, 4) + noise).softmax(dim=1)


def found(p: torch.Tensor, labels: torch.Tensor) -> float:
    """Return which share of the structures' positions has its class as the most probable."""
    return float((p.argmax(dim=1) == labels)[labels > 0].float().mean())


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_the_plain_form_on_the_same_grid(temperature: float) -> None:
    given = [m.requires_grad_() for m in random_maps()]
    same = [m.detach().clone().requires_grad_() for m in given]
    fast, plain = refine(given[0], given[1], temperature), plain_refine(same[0], same[1], temperature)
    torch.testing.assert_close(fast, plain)
    direction = torch.randn(fast.shape, generator=torch.Generator().manual_seed(1))
    (fast * direction).sum().backward()
    (plain * direction).sum().backward()
    for one, other in zip(given, same, strict=True):
        assert one.grad is not None
        assert one.grad.any()
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 6), (32, 24), (24, 17), (5, 4)])
def test_refined_is_a_distribution(size: tuple[int, int]) -> None:
    """At every position, whatever the size of p: rows of M are normalised, and the product runs along them."""
    features = random_maps()[1]
    p = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    refined = refine(p, features, 0.1)
    assert refined.shape == (2, 4, 8, 6)
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=1), torch.ones(2, 8, 6))


def test_predictions_come_to_the_features_grid_by_area() -> None:
    p, features = random_maps(scale=4)
    small = F.avg_pool2d(p, 4)
    torch.testing.assert_close(refine(p, features, 0.1), refine(small, features, 0.1))


def test_where_all_looks_the_same_the_mean_is_mixed_in() -> None:
    p, features = random_maps()
    flat = torch.ones_like(features)
    torch.testing.assert_close(refine(p, flat, 0.1), (p + p.mean(dim=(2, 3), keepdim=True)) / 2)


def test_affinity_keeps_small_structures() -> None:
    """At temperature 0.1 wrong predictions are mended; at the paper's 1 they grow, and all of M p is background."""
    labels, features, p = small_structures()
    alone, repaired, literal = found(p, labels), refine(p, features, 0.1), refine(p, features, 1.0)
    assert found(repaired, labels) > 0.95 > alone > found(literal, labels)
    averaged = 2 * literal - p
    assert found(averaged, labels) == 0
    assert averaged.std(dim=(2, 3)).max() < 0.1 * p.std(dim=(2, 3)).min()


def test_a_position_does_not_matter_only_its_looks() -> None:
    p, features = random_maps()
    order = torch.randperm(48, generator=torch.Generator().manual_seed(3))

    def shuffled(m: torch.Tensor) -> torch.Tensor:
        return m.flatten(2)[..., order].view(m.shape)

    torch.testing.assert_close(refine(shuffled(p), shuffled(features), 0.1), shuffled(refine(p, features, 0.1)))


def test_the_length_of_features_does_not_matter() -> None:
    p, features = random_maps()
    lengths = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(4)) * 100 + 0.01
    torch.testing.assert_close(refine(p, features * lengths, 0.1), refine(p, features, 0.1), rtol=1e-4, atol=1e-5)


def test_images_do_not_meet() -> None:
    p, features = random_maps()
    torch.testing.assert_close(refine(p, features, 0.1)[1:], refine(p[1:], features[1:], 0.1))


def test_memory_format_and_precision_do_not_matter() -> None:
    """Under autocast the cosines and the softmax are float32 as without it."""
    p, features = random_maps()
    expected = refine(p, features, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = refine(*(m.to(memory_format=torch.channels_last) for m in (p, features)), 0.1)
        rounded = refine(p.bfloat16(), features.bfloat16(), 0.1)
    torch.testing.assert_close(found, expected)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0, atol=0.01)


def test_more_classes_than_features() -> None:
    p = torch.randn(1, 20, 8, 6, generator=torch.Generator().manual_seed(5)).softmax(dim=1)
    features = random_maps()[1][:1]
    torch.testing.assert_close(refine(p, features, 0.1), plain_refine(p, features, 0.1))


PEAK = """
import resource, torch
from training.losses.affinity import refine

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def step(side):
    features = torch.rand(4, 128, side, side, requires_grad=True)
    p = torch.rand(4, 4, side, side).softmax(dim=1).requires_grad_()
    refine(p, features, 0.1).square().sum().backward()

step(4)
before = peak()
step(56)
print(peak() - before)
"""


def test_affinity_memory_bound() -> None:
    """Forward and backward over 3 136 positions of four images take less than half of what M alone would."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 0.5 * 4 * 3136**2 * 4


def test_equal_predictions_cost_nothing_and_others_do() -> None:
    p, features = random_maps()
    refined = refine(p, features, 0.1)
    assert intra_loss(refined, refined, 0).item() == pytest.approx(0, abs=1e-6)
    assert intra_loss(refined.flip(1), refined, 0).item() > 0.01


def test_the_weak_view_gates_and_is_not_taught() -> None:
    weak, strong = (random_maps(seed)[0].requires_grad_() for seed in (0, 1))
    threshold = float(weak.detach().amax(dim=1).median())
    intra_loss(strong, weak, threshold).backward()  # type: ignore[no-untyped-call]
    assert weak.grad is None
    assert strong.grad is not None
    sure = weak.detach().amax(dim=1, keepdim=True) >= threshold
    assert 0 < sure.sum() < sure.numel()
    assert not strong.grad[~sure.expand_as(strong)].any()
    assert strong.grad[sure.expand_as(strong)].any()


def test_following_the_loss_brings_it_down() -> None:
    """On separable classes, from both ends at once: predictions and features of the strong view move."""
    labels, features, p = small_structures()
    weak = refine(0.95 * one_hot(labels, 4) + 0.0125, features, 0.1)
    random = torch.Generator().manual_seed(1)
    logits = p.log().requires_grad_()
    moved = (features + 0.5 * torch.randn(features.shape, generator=random)).requires_grad_()
    optimizer = torch.optim.Adam([logits, moved], lr=0.2)
    losses = []
    for _ in range(20):
        loss = intra_loss(refine(logits.softmax(dim=1), moved, 0.1), weak, 0.8)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert (weak.amax(dim=1) >= 0.8).float().mean() > 0.5
    assert losses[0] > 0.05
    assert losses[-1] < 0.5 * losses[0]
    assert moved.grad is not None
    assert moved.grad.any()
