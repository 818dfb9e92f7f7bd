"""The one training loop, on Lightning Fabric.

Step ``n`` depends on the weights, the optimiser, the preset and ``n`` alone: the batch and the dropout of a step are
drawn from generators seeded with (seed, n). So a run that was stopped and resumed gives, bit for bit, what the
uninterrupted run gives on the same machine.
"""

import logging
import math
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from contracts.cases import Case
from contracts.errors import Broken, Usage
from contracts.model_contract import draft_contract
from contracts.prepare import Masks
from training.data.acdc import drawn
from training.data.augment import make_batch
from training.data.sources import Source
from training.evaluation.cardiac import VolumeScore, evaluate_cardiac, summary
from training.evaluation.overlay import save_overlay
from training.methods.supervised import Supervised
from training.networks.student import runner
from training.networks.trained import LAST, build_network, read_checkpoint, write_atomically
from training.precision import choose_precision
from training.preset import Preset

log = logging.getLogger(__name__)


@dataclass
class Training:
    """The state of a run; everything that a checkpoint holds, and the tools around it."""

    preset: Preset
    source: Source
    out: Path
    fabric: Fabric
    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel
    code_version: str
    iteration: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    stopped: bool = False


def train(preset: Preset, source: Source, out: Path, resume: bool = False) -> Training:
    """Train a student and return the finished run; ``out`` gets ``last.ckpt``, curves and overlay pictures.

    With ``resume`` a run found in ``out`` goes on (a fresh one starts where there is none). On SIGTERM or SIGINT the
    current step is finished and saved, and the returned run has ``stopped``. Raises ``Broken`` ``not_a_number`` when a
    loss is not finite and ``Usage`` where the run in ``out`` is another preset's.
    """
    if preset.threads:
        torch.set_num_threads(preset.threads)
    run = _start(preset, source, out)
    if resume and (out / LAST).is_file():
        _load(run)
    with _stoppable(run), _progress() as bar:
        task = bar.add_task(preset.name, total=preset.iterations, completed=run.iteration, loss="")
        while run.iteration < preset.iterations and not run.stopped:
            loss = _step(run)
            bar.update(task, completed=run.iteration, loss=f"{loss:.4f}")
            _housekeeping(run, loss)
        _save(run)
    return run


def learning_rate(preset: Preset, step: int) -> float:
    """Return the learning rate of a step: a linear rise, then a cosine down to ``final_share``."""
    if step < preset.warm_up:
        return preset.learning_rate * (step + 1) / preset.warm_up
    done = (step - preset.warm_up) / max(1, preset.iterations - preset.warm_up)
    share = preset.final_share + (1 - preset.final_share) * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return preset.learning_rate * share


def _start(preset: Preset, source: Source, out: Path) -> Training:
    out.mkdir(parents=True, exist_ok=True)
    precision = choose_precision(preset.precision)
    log.info("precision %s, %d threads, %d slices", precision, torch.get_num_threads(), len(source.slices))
    logger = TensorBoardLogger(root_dir=out, name="curves", version="")
    fabric = Fabric(accelerator="auto", devices=1, precision=precision, loggers=logger)
    torch.manual_seed(preset.seed)
    plain = build_network(preset.task).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = get_ema_multi_avg_fn(preset.ema)  # type: ignore[no-untyped-call]
    average = AveragedModel(plain, multi_avg_fn=ema, use_buffers=True)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay)
    network, wrapped = fabric.setup(plain, optimizer)
    return Training(preset, source, out, fabric, network, wrapped, average.to(fabric.device), code_version())


def _step(run: Training) -> float:
    preset, step = run.preset, run.iteration
    chosen = drawn(len(run.source.slices), preset.batch, step, preset.seed)
    random = np.random.default_rng((preset.seed, 0, step))
    batch = make_batch([run.source.slices[i] for i in chosen], preset.views, preset.prepare, random)
    torch.manual_seed(int(random.integers(2**62)))
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(preset, step)
    run.network.train()
    losses = Supervised().losses(run.network, batch.to(run.fabric.device))
    total = torch.stack(list(losses.values())).sum()
    if not torch.isfinite(total):
        raise Broken("not_a_number", f"The loss of iteration {step} is not a finite number; the run stops.")
    run.optimizer.zero_grad()
    run.fabric.backward(total)
    run.fabric.clip_gradients(run.network, run.optimizer, max_norm=preset.gradient_norm, error_if_nonfinite=False)
    run.optimizer.step()
    run.average.update_parameters(run.network)
    run.iteration += 1
    return float(total.detach())


def _housekeeping(run: Training, loss: float) -> None:
    preset, at = run.preset, run.iteration
    if at % preset.log_every == 0:
        run.fabric.log_dict({"loss": loss, "learning_rate": learning_rate(preset, at - 1)}, step=at)
    if at % (preset.log_every * 10) == 0:
        log.info("iteration %d of %d, loss %.4f", at, preset.iterations, loss)
    if at % preset.checkpoint_every == 0:
        _save(run)
    if at % preset.evaluate_every == 0 or at == preset.iterations:
        _evaluate(run)
        _save(run)


def _evaluate(run: Training) -> None:
    """Score the averaged weights on the validation cases and draw the worst of them."""
    predicted: dict[str, tuple[Case, Masks]] = {}

    def keep(case: Case, labels: Masks) -> None:
        predicted[case.name] = (case, labels)

    contract = draft_contract(run.preset.task, run.preset.prepare)
    network = runner(run.average.module, contract.output.shape[0])
    scores = evaluate_cardiac(run.source.validation, contract, network, seen=keep)
    figures = summary(scores)
    run.scores = {"mean_dice": _number(figures["mean_dice"]), **_numbers(figures["dice"])}
    run.fabric.log_dict({f"validation/{k}": v for k, v in run.scores.items()}, step=run.iteration)
    worst = min(scores, key=lambda score: score.mean)
    log.info("iteration %d: validation %s; worst %s %.3f", run.iteration, _rounded(run.scores), worst.name, worst.mean)
    case, labels = predicted[_patient(worst)]
    save_overlay(run.out / f"worst-{run.iteration:06d}.png", case, labels)


def _save(run: Training) -> None:
    state: dict[str, Any] = {
        "network": run.network.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "iteration": run.iteration,
        "preset": run.preset.model_dump_json(),
        "patients": list(run.source.patients),
        "scores": dict(run.scores),
        "code_version": run.code_version,
    }
    write_atomically(run.out / LAST, state)


def _load(run: Training) -> None:
    state = read_checkpoint(run.out / LAST)
    if state["preset"] != run.preset.model_dump_json():
        raise Usage("other_preset", f"The run in {run.out} was started with another preset; choose another --out.")
    run.network.load_state_dict(state["network"])
    run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.iteration, run.scores = int(state["iteration"]), dict(state["scores"])
    log.info("resumed at iteration %d", run.iteration)


def code_version() -> str:
    """Return the code's commit, with ``+changes`` where its files differ from it; ``unknown`` outside a checkout."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changes = _git("diff", "--name-only", "HEAD", "--", "training", "contracts") if commit else ""
    return (commit or "unknown") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


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


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]}"),
        console=Console(stderr=True),
    )


def _patient(score: VolumeScore) -> str:
    return score.name.split("_")[0]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _numbers(value: object) -> dict[str, float]:
    return {str(k): _number(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _rounded(values: dict[str, float]) -> str:
    return " ".join(f"{key} {value:.3f}" for key, value in values.items())
