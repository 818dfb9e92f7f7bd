"""The one training loop, on Lightning Fabric.

Step ``n`` depends on the weights, the optimiser, the preset and ``n`` alone: the batch and the dropout of a step are
drawn from generators seeded with (seed, n). So a run that was stopped and resumed gives, bit for bit, what the
uninterrupted run gives on the same machine. Where several processes train together, each draws steps of its own: of
``d`` processes number ``r`` takes the batches ``n d + r``.
"""

import logging
import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from contracts.errors import Broken
from training.data.sources import Source
from training.data.streams import Batch
from training.evaluation.during import judge
from training.networks.trained import LAST
from training.preset import Preset
from training.run import Training, load, save, start

log = logging.getLogger(__name__)


def train(preset: Preset, source: Source, out: Path, resume: bool = False) -> Training:
    """Train a student and return the finished run; ``out`` gets ``last.ckpt``, curves and pictures.

    With ``resume`` a run found in ``out`` goes on (a fresh one starts where there is none). On SIGTERM or SIGINT the
    current step is finished and saved, and the returned run has ``stopped``. Raises ``Broken`` ``not_a_number`` when a
    loss or gradient is not finite and ``Usage`` where the run in ``out`` is another preset's.
    """
    if preset.threads:
        torch.set_num_threads(preset.threads)
    run = start(preset, source, out)
    if resume and (out / LAST).is_file():
        load(run)
    with _stoppable(run), _progress(run) as bar:
        task = bar.add_task(preset.name, total=preset.iterations, completed=run.iteration, loss="")
        while run.iteration < preset.iterations and not _stopped(run):
            loss = _step(run)
            bar.update(task, completed=run.iteration, loss=f"{loss:.4f}")
            _housekeeping(run, loss)
        save(run)
    return run


def learning_rate(preset: Preset, step: int) -> float:
    """Return the learning rate of a step: a linear rise, then a cosine down to ``final_share`` or a power of 0.9."""
    if step < preset.warm_up:
        return preset.learning_rate * (step + 1) / preset.warm_up
    done = min(1.0, (step - preset.warm_up) / max(1, preset.iterations - preset.warm_up))
    falling = (1 - done) ** 0.9 if preset.schedule == "poly" else (1 + math.cos(math.pi * done)) / 2
    return preset.learning_rate * (preset.final_share + (1 - preset.final_share) * falling)


def reseed(preset: Preset, micro: int) -> None:
    """Set torch's random state to that of a step of one process: dropout is a function of seed and step alone."""
    torch.manual_seed(int(np.random.default_rng((preset.seed, 4, micro)).integers(2**62)))


def _step(run: Training) -> float:
    preset, step = run.preset, run.iteration
    micro = step * run.fabric.world_size + run.fabric.global_rank
    batch = run.streams.draw(micro).to(run.fabric.device)
    reseed(preset, micro)
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(preset, step)
    run.method.train()
    losses, counters = run.method(batch, run.average.module)
    total = torch.stack(list(losses.values())).sum()
    run.watch.see({name: float(value.detach()) for name, value in {**losses, **counters}.items()})
    run.optimizer.zero_grad()
    run.fabric.backward(total)
    norm = run.fabric.clip_gradients(run.method, run.optimizer, max_norm=preset.gradient_norm, error_if_nonfinite=False)
    if not (torch.isfinite(total) and (norm is None or torch.isfinite(norm))):
        _spoiled(run, batch)
    run.optimizer.step()
    run.average.update_parameters(run.method.module)
    run.iteration += 1
    return float(total.detach())


def _spoiled(run: Training, batch: Batch) -> None:
    """Keep the batch whose loss or gradient is not finite, and stop before it spoils the weights."""
    kept = run.out / f"spoiled-{run.iteration:06d}.pt"
    tensors = {"images": batch.images, "labels": batch.labels}
    if batch.unlabelled:
        views = batch.unlabelled
        tensors |= {"weak": views.weak, "strong": torch.stack(views.strong), "stored": views.stored}
    torch.save(tensors, kept)
    raise Broken(
        "not_a_number",
        f"The loss or a gradient of iteration {run.iteration} is not a finite number; the run stops. Its batch is kept "
        f"in {kept.name}, and the last checkpoint is from before.",
    )


def _housekeeping(run: Training, loss: float) -> None:
    preset, at = run.preset, run.iteration
    if at % preset.log_every == 0:
        rate = learning_rate(preset, at - 1)
        run.fabric.log_dict({"loss": loss, "learning_rate": rate, **run.watch.means()}, step=at)
    if at % (preset.log_every * 10) == 0:
        log.info("iteration %d of %d, loss %.4f", at, preset.iterations, loss)
    last = at == preset.iterations
    if at % preset.evaluate_every == 0 or last:
        judge(run)
    if at % preset.checkpoint_every == 0 or at % preset.evaluate_every == 0:
        save(run)


def _stopped(run: Training) -> bool:
    """Whether any of the processes was asked to stop: all must end with the same step."""
    if run.fabric.world_size == 1:
        return run.stopped
    asked = run.fabric.all_reduce(torch.tensor(float(run.stopped)), reduce_op="sum")
    run.stopped = bool(asked)
    return run.stopped


@contextmanager
def _stoppable(run: Training) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        run.stopped = True

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _progress(run: Training) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
        console=Console(stderr=True),
        disable=not run.fabric.is_global_zero,
    )
