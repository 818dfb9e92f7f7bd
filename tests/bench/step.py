"""One training step of SemSim beside the straightforward one; ``python -m tests.bench.step ours fp32`` prints its cost.

CPU seconds with 4 labelled and 4 unlabelled images of 96 x 96, fused features of width 128 in three layers, the same
losses, one thread. A step is forward, losses and backward. The straightforward side is ``semsim_plain``, frozen.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tests.bench.measuring import Cost, Pairs, python, run
from tests.bench.semsim_plain import PlainBatch, PlainSettings, PlainSpatialAwareFusion, plain_losses
from training.data.streams import Batch, Unlabelled
from training.data.strong import Mix
from training.methods.options import Consistency
from training.methods.semsim import SemSim
from training.methods.similarity import Similarity
from training.networks.spatial_fusion import SpatialAwareFusion
from training.networks.unet import UNet

IMAGES, SIDE, CLASSES, STEPS = 4, 96, 4, 2
PRECISIONS = ("fp32", "bf16")


def pairs(precision: str, count: int, tell: Callable[[str], None]) -> Pairs:
    """Measure both sides in turn, ``count`` times, each run in a process of its own."""
    costs: dict[str, list[Cost]] = {"ours": [], "plain": []}
    for number in range(count):
        for side in ("ours", "plain") if number % 2 else ("plain", "ours"):
            whole, words = run(python("tests.bench.step", side, precision))
            seconds = float(words)
            costs[side].append(Cost(wall_s=seconds, cpu_s=seconds, peak_mb=whole.peak_mb))
            tell(f"step of SemSim, {precision}, {side}: {seconds:.2f} s CPU")
    return Pairs(costs["ours"], costs["plain"])


def seconds_of_a_step(side: str, precision: str) -> float:
    """Return the CPU seconds of a step, the mean of ``STEPS`` after a smaller one."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = {"ours": _ours, "plain": _plain}[side]()

    def taken(size: int) -> float:
        batch = _batch(size)
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = step(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return time.process_time() - started

    taken(32)
    return sum(taken(SIDE) for _ in range(STEPS)) / STEPS


def _ours() -> Callable[[PlainBatch], Tensor]:
    options = Consistency(threshold=0.0)
    method = SemSim(UNet(), Similarity(SpatialAwareFusion(), options, CLASSES), options)
    method = method.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def step(batch: PlainBatch) -> Tensor:
        first, second = (Mix(box, partner) for box, partner in zip(batch.boxes, batch.partners, strict=True))
        views = Unlabelled(batch.weak, batch.strong, (first, second), torch.zeros_like(batch.labels))
        losses, _ = method(Batch(batch.images, batch.labels, views), method)
        return torch.stack(list(losses.values())).sum()

    return step


def _plain() -> Callable[[PlainBatch], Tensor]:
    network, fusion = UNet(), PlainSpatialAwareFusion()
    return lambda batch: plain_losses(network, fusion, batch, PlainSettings(threshold=0.0))["total"]


def _batch(side: int) -> PlainBatch:
    box = torch.zeros(IMAGES, 1, side, side, dtype=torch.bool)
    box[:, :, side // 4 : side // 2, side // 3 : side // 2] = True
    partner = (torch.arange(IMAGES) + 1) % IMAGES
    images, weak, first, second = (torch.rand(IMAGES, 1, side, side) for _ in range(4))
    labels = torch.randint(CLASSES, (IMAGES, side, side))
    return PlainBatch(images, labels, weak, (first, second), (box, box), (partner, partner))


if __name__ == "__main__":
    print(seconds_of_a_step(*sys.argv[1:]))
