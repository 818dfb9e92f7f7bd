"""The two streams of a run: labelled views, and weak and strong views of what nobody labelled.

Step ``n`` draws the same labelled views whatever the method, and the same unlabelled ones for all methods that use
them, so that a comparison of methods compares losses and nothing else.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contracts.prepare import Prepare
from training.data.augment import Views, altered, jittered, view
from training.data.slices import Slice, drawn
from training.data.strong import Mix, Strong, strong_view

LABELLED, UNLABELLED = 0, 3
"""First numbers of the streams' random keys."""


@dataclass(eq=False)  # Fabric takes no frozen ones
class Unlabelled:
    """Views of images that nobody labelled, all of one geometry.

    ``weak`` float32 [batch, channel, side, side] in 0..1; ``strong`` two views of that shape, mixed as ``mixes`` say;
    ``stored`` int64 [batch, side, side], labels of a frozen teacher in the weak view's geometry, unmixed (0 without
    such a teacher).
    """

    weak: Tensor
    strong: tuple[Tensor, Tensor]
    mixes: tuple[Mix, Mix]
    stored: Tensor

    def to(self, device: torch.device) -> "Unlabelled":
        """Return it on a device."""
        strong = (self.strong[0].to(device), self.strong[1].to(device))
        mixes = (self.mixes[0].to(device), self.mixes[1].to(device))
        return Unlabelled(self.weak.to(device), strong, mixes, self.stored.to(device))


@dataclass(eq=False)  # Fabric takes no frozen ones
class Batch:
    """Labelled views: ``images`` float32 [batch, channel, side, side] in 0..1, ``labels`` int64 [batch, side, side]."""

    images: Tensor
    labels: Tensor
    unlabelled: Unlabelled | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        unlabelled = self.unlabelled.to(device) if self.unlabelled else None
        return Batch(self.images.to(device), self.labels.to(device), unlabelled)


@dataclass(frozen=True, eq=False)
class Streams:
    """Draws batches; holds no state, so that step ``n`` is the same in every run of that seed."""

    labelled: list[Slice]
    unlabelled: list[Slice]
    batch: int
    batch_unlabelled: int
    views: Views
    strong: Strong
    prepare: Prepare
    seed: int

    def draw(self, step: int) -> Batch:
        """Return the batch of a step; processes that train together draw steps of their own."""
        random = np.random.default_rng((self.seed, LABELLED, step))
        chosen = drawn(len(self.labelled), self.batch, step, (self.seed, 1))
        pieces = [altered(self.labelled[i], self.views, random) for i in chosen]
        images, labels = make_views(pieces, self.views, self.prepare, random)
        images = torch.stack([jittered(image, self.views, random) for image in images])
        return Batch(images, labels, self._unlabelled(step) if self.unlabelled else None)

    def _unlabelled(self, step: int) -> Unlabelled:
        random = np.random.default_rng((self.seed, UNLABELLED, step))
        chosen = drawn(len(self.unlabelled), self.batch_unlabelled, step, (self.seed, 2))
        weak, stored = make_views([self.unlabelled[i] for i in chosen], self.views, self.prepare, random)
        first, first_mix = strong_view(weak, self.strong, random)
        second, second_mix = strong_view(weak, self.strong, random)
        return Unlabelled(weak, (first, second), (first_mix, second_mix), stored)


def make_views(
    slices: list[Slice], views: Views, prepare: Prepare, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw one view of each slice, geometry only: images as in ``Batch`` and the labels that go with them."""
    cut = [view(piece, views, prepare, random) for piece in slices]
    images = torch.from_numpy(np.stack([image for image, _ in cut]))
    labels = torch.from_numpy(np.stack([label for _, label in cut]).astype(np.int64))
    return images, labels
