"""One step of SemSim as one writes it from the paper (arXiv 2410.13486), without a thought for cost.

The measure for the speed of a step, and the reference for its parts. It was written before them and is not tuned: four
separate forward passes, NCHW, fused features resized to the input and the affinity of all pixels with all pixels. The
affinity is made image by image: a batch at once costs the same time and many times the memory. Where the paper is
silent or cannot be meant literally, it does what the design says: temperatures, fallbacks, halves.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.unet import UNet

EPSILON = 1e-5


@dataclass(frozen=True, eq=False)
class PlainBatch:
    """``images`` float32 [batch, channel, row, column], ``labels`` int64 [batch, row, column].

    ``weak`` and the two mixed ``strong`` views as ``images``; ``boxes`` bool [batch, 1, row, column] and ``partners``
    int64 [batch], one of each for each strong view: inside the box everything is the partner's.
    """

    images: Tensor
    labels: Tensor
    weak: Tensor
    strong: tuple[Tensor, Tensor]
    boxes: tuple[Tensor, Tensor]
    partners: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PlainSettings:
    """Thresholds, temperatures and weights of a step; those of the paper but for the two temperatures."""

    threshold: float = 0.95
    affinity_temperature: float = 0.1
    prototype_temperature: float = 0.1
    rate: float = 1000.0
    grid: int = 4


class PlainBlock(nn.Module):
    """x + attention(LN x), x + MLP(LN x) of tokens [group, token, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        groups, tokens, width = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(groups, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attention = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5, dim=-1)
        x = x + self.out((attention @ v).transpose(1, 2).reshape(groups, tokens, width))
        answer: Tensor = x + self.mlp(self.norm_2(x))
        return answer


class PlainSpatialAwareFusion(nn.Module):
    """Stages 2 to 4 of the encoder, cut into windows over the same 16 x 16 pixels, meet in a transformer.

    Five maps of the encoder -> [batch, width, row / 4, column / 4].
    """

    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 128),
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        windows: tuple[int, ...] = (8, 4, 2),
    ) -> None:
        super().__init__()
        self.windows = windows
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(layers))
        self.join = nn.Sequential(
            nn.Conv2d(len(channels) * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        maps = [project(m) for project, m in zip(self.project, maps[1:4], strict=True)]
        batch, width = maps[0].shape[:2]
        tokens = []
        for m, side in zip(maps, self.windows, strict=True):
            patches = F.unfold(m, side, stride=side).view(batch, width, side * side, -1)
            tokens.append(patches.permute(0, 3, 2, 1).reshape(-1, side * side, width))
        counts = [t.shape[1] for t in tokens]
        x = torch.cat(tokens, dim=1)
        for block in self.blocks:
            x = block(x)
        folded = []
        for m, t, side in zip(maps, x.split(counts, dim=1), self.windows, strict=True):
            patches = t.view(batch, -1, side * side, width).permute(0, 3, 2, 1).reshape(batch, width * side * side, -1)
            folded.append(F.fold(patches, m.shape[-2:], side, stride=side))
        size = maps[1].shape[-2:]
        resized = [F.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in folded]
        fused: Tensor = self.join(torch.cat(resized, dim=1))
        return fused


def plain_dice(p: Tensor, t: Tensor, w: Tensor) -> Tensor:
    """1 - mean_c (2 sum w p t + eps) / (sum w p^2 + sum w t^2 + eps), sums over batch and pixels."""
    scores = []
    for c in range(p.shape[1]):
        both = (w[:, 0] * p[:, c] * t[:, c]).sum()
        each = (w[:, 0] * p[:, c] ** 2).sum() + (w[:, 0] * t[:, c] ** 2).sum()
        scores.append((2 * both + EPSILON) / (each + EPSILON))
    return 1 - torch.stack(scores).mean()


def plain_refine(p: Tensor, features: Tensor, temperature: float) -> Tensor:
    """(p + p M) / 2, M the softmax over all pixels of the cosines of features resized to p's grid."""
    batch, classes, rows, columns = p.shape
    features = F.interpolate(features, size=(rows, columns), mode="bilinear", align_corners=False)
    refined = []
    for b in range(batch):
        f = F.normalize(features[b].reshape(features.shape[1], -1), dim=0)
        affinity = torch.softmax(f.T @ f / temperature, dim=1)
        refined.append(p[b].reshape(classes, -1) @ affinity.T)
    return (p + torch.stack(refined).view_as(p)) / 2


@dataclass
class PlainPrototypes:
    """``vectors[j][n][c]``: the prototype of class c in region n of labelled image j, or None."""

    vectors: list[list[list[Tensor | None]]]
    regions: list[tuple[slice, slice]]


def plain_regions(rows: int, columns: int, grid: int) -> list[tuple[slice, slice]]:
    """Position i of a side of n positions is in region i * grid // n."""
    down = [[i for i in range(rows) if i * grid // rows == r] for r in range(grid)]
    across = [[i for i in range(columns) if i * grid // columns == c] for c in range(grid)]
    return [(slice(r[0], r[-1] + 1), slice(c[0], c[-1] + 1)) for r in down for c in across]


def plain_prototypes(
    features: Tensor, labels: Tensor, classes: int, grid: int, memory: dict[int, Tensor]
) -> PlainPrototypes:
    """Means of features [batch, width, row, column] over class shares ``labels`` [batch, class, row, column].

    Absent from the region: the whole image's; absent from the image: None; absent from all images: the memory's.
    """
    regions = plain_regions(features.shape[2], features.shape[3], grid)
    vectors: list[list[list[Tensor | None]]] = []
    for f, y in zip(features, labels, strict=True):
        image: list[list[Tensor | None]] = []
        for down, across in regions:
            region: list[Tensor | None] = []
            for c in range(classes):
                share, part = y[c, down, across], f[:, down, across]
                if share.sum() == 0:
                    share, part = y[c], f
                region.append((part * share).sum((1, 2)) / share.sum() if share.sum() > 0 else None)
            image.append(region)
        vectors.append(image)
    for c in range(classes):
        if all(region[c] is None for image in vectors for region in image) and c in memory:
            for image in vectors:
                for region in image:
                    region[c] = memory[c]
    return PlainPrototypes(vectors, regions)


def plain_similarity(features: Tensor, prototypes: PlainPrototypes, classes: int) -> Tensor:
    """Cosines [unlabelled, labelled, class, row, column] with the prototype of the same region; nan where None."""
    batch, _, rows, columns = features.shape
    m = features.new_full((batch, len(prototypes.vectors), classes, rows, columns), torch.nan)
    for j, image in enumerate(prototypes.vectors):
        for (down, across), region in zip(prototypes.regions, image, strict=True):
            for c, vector in enumerate(region):
                if vector is not None:
                    part = features[:, :, down, across]
                    cosine = F.cosine_similarity(part, vector[None, :, None, None], dim=1)
                    m[:, j, c, down, across] = cosine.to(m.dtype)
    return m


def plain_prediction(m: Tensor, temperature: float) -> Tensor:
    """Equation 9 [unlabelled, class, row, column]: the mean over the images that have the class, over all classes."""
    exponentials = (m / temperature).exp()
    means = torch.nan_to_num(exponentials.nanmean(dim=1))
    return means / means.sum(dim=1, keepdim=True)


def plain_weight(m: Tensor, rate: float) -> Tensor:
    """Equations 10-12: mean_j exp(-rate KL(m_j || mean of m)), [unlabelled, 1, row, column].

    A class that an image lacks stands there with the mean of the other images: what is left out disagrees with nobody.
    A class that all lack is no class.
    """
    m = m[:, :, ~m.isnan().all(dim=1).any(dim=(0, 2, 3))].float()
    m = torch.where(m.isnan(), m.nanmean(dim=1, keepdim=True), m)
    shares = torch.softmax(m, dim=2)
    mean = shares.mean(dim=1, keepdim=True)
    divergence = (shares * (shares / mean).log()).sum(dim=2)
    return (-rate * divergence).exp().mean(dim=1, keepdim=True)


def plain_cross(p: Tensor, target: Tensor, weight: Tensor, threshold: float) -> Tensor:
    """Equation 13: cross-entropy with the most probable class of the target where the target is sure, weighted."""
    confidence, classes = target.max(dim=1)
    entropy = F.nll_loss((p + 1e-12).log(), classes, reduction="none")
    return ((confidence >= threshold) * entropy * weight[:, 0]).mean()


def _mixed(values: Tensor, box: Tensor, partner: Tensor) -> Tensor:
    return torch.where(box, values[partner], values)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels, classes).permute(0, 3, 1, 2).float()


def plain_losses(network: UNet, fusion: nn.Module, batch: PlainBatch, settings: PlainSettings) -> dict[str, Tensor]:
    """Return the four losses of a step and their ``total`` (equation 19), student and teacher being one network."""
    with torch.no_grad():
        network.eval()
        fusion.eval()
        maps = network.encode(batch.weak)
        p_weak, f_weak = network.decode(maps).float().softmax(dim=1), fusion(maps)
    network.train()
    fusion.train()
    size, classes = batch.weak.shape[-2:], p_weak.shape[1]

    maps = network.encode(batch.images)
    logits, f_labelled = network.decode(maps).float(), fusion(maps)
    truth, everywhere = _one_hot(batch.labels, classes), torch.ones_like(p_weak[:1, :1])
    supervised = (F.cross_entropy(logits, batch.labels) + plain_dice(logits.softmax(dim=1), truth, everywhere)) / 2

    maps = network.encode(batch.strong[0])
    p_strong, f_strong = network.decode(maps).float().softmax(dim=1), fusion(maps)
    target = _mixed(p_weak, batch.boxes[0], batch.partners[0])
    sure = (target.amax(dim=1, keepdim=True) >= settings.threshold).float()
    fixmatch = plain_dice(p_strong, _one_hot(target.argmax(dim=1), classes), sure)

    with torch.no_grad():
        refined = plain_refine(p_weak, f_weak, settings.affinity_temperature)
        target = _mixed(refined, batch.boxes[0], batch.partners[0])
        sure = (target.amax(dim=1, keepdim=True) >= settings.threshold).float()
    intra = plain_dice(plain_refine(p_strong, f_strong, settings.affinity_temperature), target, sure)

    def resized(features: Tensor) -> Tensor:
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)

    found = plain_prototypes(resized(f_labelled).detach(), truth, classes, settings.grid, {})
    with torch.no_grad():
        guess = plain_prediction(plain_similarity(resized(f_weak), found, classes), settings.prototype_temperature)
    similarity = plain_similarity(resized(fusion(network.encode(batch.strong[1]))), found, classes)
    prediction = plain_prediction(similarity, settings.prototype_temperature)
    target = _mixed(guess, batch.boxes[1], batch.partners[1])
    cross = plain_cross(prediction, target, plain_weight(similarity.detach(), settings.rate), settings.threshold)

    total = (supervised + 0.5 * fixmatch + 0.25 * intra + 0.25 * cross) / 2
    return {"supervised": supervised, "fixmatch": fixmatch, "intra": intra, "cross": cross, "total": total}
