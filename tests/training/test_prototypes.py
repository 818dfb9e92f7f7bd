"""Laws of what labelled images say a class looks like, and of the similarities with it."""

import pytest
import torch
from torch.nn import functional as F

from tests.bench.semsim_plain import plain_prototypes, plain_similarity
from training.losses.prototypes import ClassMemory, Prototypes, class_shares, prototypes, regions, similarity

CLASSES, WIDTH = 4, 8


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_batch(rows: int = 8, columns: int = 8, labelled: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [labelled, WIDTH, rows, columns] and labels [labelled, 4 * rows, 4 * columns] in patches."""
    labels = torch.randint(CLASSES, (labelled, 4, 5), generator=torch.Generator().manual_seed(1)).float()
    labels = F.interpolate(labels[:, None], size=(4 * rows, 4 * columns))[:, 0].long()
    return random(labelled, WIDTH, rows, columns), labels


def known_at(found: Prototypes, image: int, region: int, c: int) -> torch.Tensor:
    assert found.known[image, c]
    return found.vectors[image, region, c]


def test_shares_are_areas() -> None:
    labels = torch.tensor([[[0, 0, 1, 2], [0, 3, 1, 2]]])
    shares = class_shares(labels, CLASSES, (1, 2))
    assert shares.squeeze().T.tolist() == [[0.75, 0, 0, 0.25], [0, 0.5, 0.5, 0]]


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (24, 24)])
def test_shares_of_all_classes_are_one(size: tuple[int, int]) -> None:
    shares = class_shares(a_batch(6, 6)[1], CLASSES, size)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2, *size))


@pytest.mark.parametrize("side", [4, 14, 24, 56])
def test_regions_differ_by_at_most_one_row(side: int) -> None:
    down = regions(side, 1, 4)
    assert down.tolist() == sorted(down.tolist())
    sizes = torch.bincount(down // 4, minlength=4)
    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("grid", [1, 2, 4])
@pytest.mark.parametrize(("rows", "columns"), [(24, 24), (14, 14), (14, 9), (5, 6)])
def test_grid_equals_loop_reference(rows: int, columns: int, grid: int) -> None:
    """Prototypes and similarities of any grid are those of the plain loops over images, regions and classes."""
    features, labels = a_batch(rows, columns)
    shares = class_shares(labels, CLASSES, (rows, columns))
    query = random(3, WIDTH, rows, columns, seed=2)
    found = prototypes(features, shares, grid)
    plain = plain_prototypes(features, shares, CLASSES, grid, {})
    for j, image in enumerate(plain.vectors):
        for n, region in enumerate(image):
            for c, vector in enumerate(region):
                assert bool(found.known[j, c]) == (vector is not None)
                if vector is not None:
                    torch.testing.assert_close(found.vectors[j, n, c], F.normalize(vector, dim=0))
    expected = plain_similarity(query, plain, CLASSES).nan_to_num(-torch.inf)
    torch.testing.assert_close(similarity(query, found), expected)


def test_cross_uses_whole_labelled_batch() -> None:
    """Every unlabelled image meets every labelled one, and sizes of the two batches are free."""
    features, labels = a_batch(labelled=3)
    shares, query = class_shares(labels, CLASSES, (8, 8)), random(5, WIDTH, 8, 8, seed=2)
    m = similarity(query, prototypes(features, shares, 2))
    assert m.shape == (5, 3, CLASSES, 8, 8)
    for j in range(3):
        alone = similarity(query, prototypes(features[j : j + 1], shares[j : j + 1], 2))
        torch.testing.assert_close(m[:, j], alone[:, 0])


def test_a_prototype_meets_its_own_region_only() -> None:
    labels = torch.randint(CLASSES, (2, 32, 32), generator=torch.Generator().manual_seed(0))
    features, shares = random(2, WIDTH, 8, 8), class_shares(labels, CLASSES, (8, 8))
    query = random(1, WIDTH, 8, 8, seed=2)
    before = similarity(query, prototypes(features, shares, 2))
    features[:, :, :4, :4] += 3
    moved = (similarity(query, prototypes(features, shares, 2)) - before).abs().amax(dim=(0, 1, 2))
    assert moved[:4, :4].amin() > 0
    moved[:4, :4] = 0
    assert moved.amax() == 0


def test_cross_runs_on_index_labels() -> None:
    """Labels are int64 [batch, row, column], of the image's size; nothing is to be one-hot or resized before."""
    features, labels = a_batch()
    assert labels.shape == (2, 32, 32)
    found = prototypes(features, class_shares(labels, CLASSES, (8, 8)), 4)
    assert found.vectors.shape == (2, 16, CLASSES, WIDTH)
    assert found.known.shape == (2, CLASSES)


def test_prototypes_are_directions_without_gradient() -> None:
    features, labels = a_batch()
    found = prototypes(features.requires_grad_(), class_shares(labels, CLASSES, (8, 8)), 2)
    assert not found.vectors.requires_grad
    torch.testing.assert_close(found.vectors.norm(dim=-1), torch.ones(2, 4, CLASSES))


def test_cross_invariant_to_feature_scale() -> None:
    """Cosines, not dot products: the length of a query feature does not matter, nor a common one of labelled ones."""
    features, labels = a_batch()
    shares, query = class_shares(labels, CLASSES, (8, 8)), random(3, WIDTH, 8, 8, seed=2)
    lengths = random(3, 1, 8, 8, seed=3).exp() * 10
    m = similarity(query, prototypes(features, shares, 2))
    torch.testing.assert_close(similarity(query * lengths, prototypes(features * 7, shares, 2)), m)
    assert m.abs().max() <= 1 + 1e-6


def absent(labels: torch.Tensor, images: list[int], region: tuple[slice, slice] | None = None) -> torch.Tensor:
    """Return labels with class 3 replaced by 0 in some images, or in one region of them."""
    changed = labels.clone()
    for j in images:
        part = changed[(j, *(region or (slice(None), slice(None))))]
        part[part == 3] = 0
    return changed


def test_absent_class_fallback_order() -> None:
    """Region, whole image, the images that have it, memory of earlier batches, impossible."""
    features, labels = a_batch()
    full = prototypes(features, class_shares(labels, CLASSES, (8, 8)), 2)
    corner = slice(0, 16)

    in_region = prototypes(features, class_shares(absent(labels, [0], (corner, corner)), CLASSES, (8, 8)), 2)
    whole = prototypes(features, class_shares(absent(labels, [0], (corner, corner)), CLASSES, (8, 8)), 1)
    assert in_region.known.all()
    torch.testing.assert_close(known_at(in_region, 0, 0, 3), known_at(whole, 0, 0, 3))
    torch.testing.assert_close(known_at(in_region, 0, 3, 3), known_at(full, 0, 3, 3))
    torch.testing.assert_close(in_region.vectors[1], full.vectors[1])

    memory = ClassMemory(CLASSES, WIDTH)
    in_image = prototypes(features, class_shares(absent(labels, [0]), CLASSES, (8, 8)), 2, memory)
    assert in_image.known.tolist() == [[True, True, True, False], [True] * 4]

    nowhere = class_shares(absent(labels, [0, 1]), CLASSES, (8, 8))
    assert prototypes(features, nowhere, 2, memory).known.tolist() == [[True, True, True, False]] * 2
    memory.update(features, class_shares(labels, CLASSES, (8, 8)))
    recalled = prototypes(features, nowhere, 2, memory)
    assert recalled.known.all()
    torch.testing.assert_close(recalled.vectors[:, :, 3], F.normalize(memory.means[3], dim=0).expand(2, 4, WIDTH))
    torch.testing.assert_close(recalled.vectors[:, :, :3], prototypes(features, nowhere, 2).vectors[:, :, :3])
    still = prototypes(features, class_shares(absent(labels, [0]), CLASSES, (8, 8)), 2, memory)
    assert still.known.tolist() == in_image.known.tolist()


def test_what_is_unknown_is_no_similarity_rather_than_zero() -> None:
    features, labels = a_batch()
    m = similarity(random(1, WIDTH, 8, 8), prototypes(features, class_shares(absent(labels, [0]), CLASSES, (8, 8)), 2))
    assert m[:, 0, 3].eq(-torch.inf).all()
    assert m[:, 1].isfinite().all()
    assert m[:, 0, :3].isfinite().all()


def test_gradients_reach_queries_and_are_finite_with_a_class_unknown() -> None:
    features, labels = a_batch()
    query = random(2, WIDTH, 8, 8).requires_grad_()
    m = similarity(query, prototypes(features, class_shares(absent(labels, [0, 1]), CLASSES, (8, 8)), 2))
    m.clamp(min=-2).sum().backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None
    assert query.grad.isfinite().all()
    assert query.grad.abs().sum(dim=1).amin() > 0


def test_memory_is_a_running_mean_of_what_was_there() -> None:
    features, labels = a_batch()
    shares = class_shares(labels, CLASSES, (8, 8))
    means = (shares[:, :, None] * features[:, None]).sum((0, 3, 4)) / shares.sum((0, 2, 3))[:, None]
    memory = ClassMemory(CLASSES, WIDTH, momentum=0.9)
    assert not memory.seen.any()
    memory.update(features, shares)
    torch.testing.assert_close(memory.means, means)
    memory.update(2 * features, class_shares(absent(labels, [0, 1]), CLASSES, (8, 8)))
    torch.testing.assert_close(memory.means[1:3], 1.1 * means[1:3])
    torch.testing.assert_close(memory.means[3], means[3])
    assert memory.seen.all()


def test_memory_is_saved_and_loaded() -> None:
    features, labels = a_batch()
    memory, other = ClassMemory(CLASSES, WIDTH), ClassMemory(CLASSES, WIDTH)
    memory.update(features, class_shares(absent(labels, [0, 1]), CLASSES, (8, 8)))
    other.load_state_dict(memory.state_dict())
    assert other.seen.tolist() == [True, True, True, False]
    torch.testing.assert_close(other.means, memory.means)
    assert not list(memory.parameters())


def test_precision_and_memory_format_do_not_matter() -> None:
    features, labels = a_batch()
    shares, query = class_shares(labels, CLASSES, (8, 8)), random(3, WIDTH, 8, 8, seed=2)
    memory, half = ClassMemory(CLASSES, WIDTH), ClassMemory(CLASSES, WIDTH)
    m = similarity(query, prototypes(features, shares, 2))
    memory.update(features, shares)
    features, query = (f.to(memory_format=torch.channels_last) for f in (features, query))
    with torch.autocast("cpu", torch.bfloat16):
        found = similarity(query, prototypes(features, shares, 2))
        half.update(features, shares)
        rounded = similarity(query.bfloat16(), prototypes(features.bfloat16(), shares, 2))
    torch.testing.assert_close(found, m)
    torch.testing.assert_close(half.means, memory.means)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, m, rtol=0, atol=0.02)


def test_the_plain_form_recalls_as_well() -> None:
    """Both fall back to the memory for the same class and to the same direction."""
    features, labels = a_batch()
    memory = ClassMemory(CLASSES, WIDTH)
    memory.update(features, class_shares(labels, CLASSES, (8, 8)))
    nowhere = class_shares(absent(labels, [0, 1]), CLASSES, (8, 8))
    plain = plain_prototypes(features, nowhere, CLASSES, 2, {3: memory.means[3]})
    query = random(1, WIDTH, 8, 8)
    torch.testing.assert_close(
        similarity(query, prototypes(features, nowhere, 2, memory)), plain_similarity(query, plain, CLASSES)
    )
