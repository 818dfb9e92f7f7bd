"""What labelled images say a class looks like, region by region (SemSim, equations 7 and 8)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.losses.dice import one_hot


@dataclass(frozen=True, eq=False)
class Prototypes:
    """One direction for each labelled image, region and class.

    ``vectors`` float32 [labelled, region, class, width] of length 1, without gradient; regions of the ``grid`` x
    ``grid`` in rows. ``known`` bool [labelled, class]: where not, the vectors mean nothing.
    """

    vectors: Tensor
    known: Tensor
    grid: int


class ClassMemory(nn.Module):
    """A running mean of each class's features, for steps in which no labelled image shows the class."""

    means: Tensor
    seen: Tensor

    def __init__(self, classes: int, width: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("means", torch.zeros(classes, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, features: Tensor, shares: Tensor) -> None:
        """Take in one batch, arguments as of :func:`prototypes`; a class that it lacks stays as it is."""
        with torch.autocast(features.device.type, enabled=False):
            mass = shares.sum((0, 2, 3))
            sums = torch.einsum("jchw,jdhw->cd", shares, features.float())
        found, fresh = (mass > 0)[:, None], sums / mass.clamp(min=1e-12)[:, None]
        kept = torch.where(self.seen[:, None], torch.lerp(fresh, self.means, self.momentum), fresh)
        self.means.copy_(torch.where(found, kept, self.means))
        self.seen.logical_or_(found[:, 0])


def class_shares(labels: Tensor, classes: int, size: tuple[int, int]) -> Tensor:
    """Return which part of each position's area is of which class, float32 [batch, class, h, w].

    ``labels`` int64 [batch, row, column]; ``size`` (h, w). Shares, not the nearest label: thin structures keep weight.
    """
    return F.interpolate(one_hot(labels, classes), size=size, mode="area")


def regions(rows: int, columns: int, grid: int, device: torch.device | None = None) -> Tensor:
    """Return the region of each position, int64 [rows * columns]: position i of a side of n is in part i * grid // n.

    Sides need not be multiples of ``grid``.
    """
    down = torch.arange(rows, device=device) * grid // rows
    across = torch.arange(columns, device=device) * grid // columns
    return (down[:, None] * grid + across).flatten()


@torch.no_grad()
def prototypes(features: Tensor, shares: Tensor, grid: int, memory: ClassMemory | None = None) -> Prototypes:
    """Return the share-weighted mean features of each class in each region of each labelled image, as directions.

    ``features`` [labelled, width, h, w] of the weak views, ``shares`` [labelled, class, h, w] of :func:`class_shares`.
    A class that a region lacks is that of the whole image; one that the image lacks is unknown there, and one that all
    images lack is the memory's for all of them, if the memory has seen it. There is never a vector of zeros, whose
    cosine of 0 would beat every negative one.
    """
    rows, columns = features.shape[-2:]
    with torch.autocast(features.device.type, enabled=False):
        where = F.one_hot(regions(rows, columns, grid, features.device), grid * grid).mT.float()
        weights = shares.flatten(2)[:, None] * where[:, None]
        # Sums will do for means: a cosine asks for the direction alone.
        vectors = torch.einsum("jncp,jdp->jncd", weights, features.float().flatten(2))
    mass = weights.sum(dim=-1)
    vectors = torch.where(mass[..., None] > 0, vectors, vectors.sum(dim=1, keepdim=True))
    known = mass.sum(dim=1) > 0
    if memory is not None:
        recalled = memory.seen & ~known.any(dim=0)
        vectors = torch.where(recalled[:, None], memory.means, vectors)
        known = known | recalled
    return Prototypes(F.normalize(vectors, dim=-1), known, grid)


def similarity(features: Tensor, found: Prototypes) -> Tensor:
    """Return the cosine of each position with the prototypes of its region (equation 8), of all labelled images.

    ``features`` [unlabelled, width, h, w] -> float32 [unlabelled, labelled, class, h, w], -inf where a labelled image
    does not know the class. Gradients reach the features.
    """
    rows, columns = features.shape[-2:]
    with torch.autocast(features.device.type, enabled=False):
        near = found.vectors[:, regions(rows, columns, found.grid, features.device)]
        cosines = torch.einsum("udp,jpcd->ujcp", F.normalize(features.float(), dim=1).flatten(2), near)
    return cosines.masked_fill(~found.known[..., None], -torch.inf).reshape(*cosines.shape[:3], rows, columns)
