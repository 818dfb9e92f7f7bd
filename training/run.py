"""The state of a training run: how it starts, how it is kept, and how it goes on."""

import logging
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from contracts.errors import Usage
from training.data.pool import unlabelled_slices
from training.data.slices import slices_of
from training.data.sources import Source
from training.data.streams import Streams
from training.methods.build import build_method
from training.networks.trained import LAST, averaged_network, build_network, read_checkpoint, write_atomically
from training.precision import choose_precision
from training.preset import Preset
from training.watch import Watch

log = logging.getLogger(__name__)


@dataclass
class Training:
    """A run in memory. ``method`` is what is trained, as Fabric wraps it; ``average`` its running average."""

    preset: Preset
    source: Source
    streams: Streams
    out: Path
    fabric: Fabric
    method: Any
    optimizer: Any
    average: AveragedModel
    watch: Watch
    iteration: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    stopped: bool = False
    precision: str = ""
    code_version: str = field(default_factory=lambda: code_version())
    cpu_before: float = 0.0
    cpu_started: float = field(default_factory=time.process_time)

    @property
    def student(self) -> nn.Module:
        """The network with averaged weights: what is judged, kept and exported."""
        network: nn.Module = self.average.module.network  # type: ignore[assignment]
        return network


def start(preset: Preset, source: Source, out: Path) -> Training:
    """Return a run before its first step; ``out`` is made, and what the teachers see is kept there.

    Raises ``Usage`` ``no_teacher``, and ``Missing`` and ``Refused`` for checkpoints that cannot be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    precision = choose_precision(preset.precision)
    logger = TensorBoardLogger(root_dir=out, name="curves", version="")
    strategy = "ddp" if preset.devices > 1 else "auto"
    fabric = Fabric(devices=preset.devices, strategy=strategy, precision=precision, loggers=logger)
    fabric.launch()
    streams = make_streams(preset, source, out)
    counts = len(streams.labelled), len(streams.unlabelled)
    log.info("precision %s, %d threads, slices %d labelled, %d not", precision, torch.get_num_threads(), *counts)
    torch.manual_seed(preset.seed)
    plain = build_method(preset, build_network(preset.task)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if preset.init:
        plain.network.load_state_dict(averaged_network(read_checkpoint(Path(preset.init))))
    ema = get_ema_multi_avg_fn(preset.ema)  # type: ignore[no-untyped-call]
    average = AveragedModel(plain, multi_avg_fn=ema, use_buffers=True).eval()
    method, optimizer = fabric.setup(plain, _optimizer(preset, plain))
    return Training(
        preset, source, streams, out, fabric, method, optimizer, average.to(fabric.device), Watch(), precision=precision
    )


def make_streams(preset: Preset, source: Source, out: Path) -> Streams:
    """Return the streams of a run; what teachers see of the unlabelled cases is kept in ``out``."""
    return Streams(
        labelled=[piece for case in source.labelled for piece in slices_of(case, preset.prepare)],
        unlabelled=unlabelled_slices(preset, source.unlabelled, out),
        batch=preset.batch,
        batch_unlabelled=preset.batch_unlabelled,
        views=preset.views,
        strong=preset.strong,
        prepare=preset.prepare,
        seed=preset.seed,
    )


def _optimizer(preset: Preset, method: nn.Module) -> torch.optim.Optimizer:
    rate, decay = preset.learning_rate, preset.weight_decay
    if preset.optimizer == "sgd":
        return torch.optim.SGD(method.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
    return torch.optim.AdamW(method.parameters(), lr=rate, weight_decay=decay)


def save(run: Training) -> None:
    """Write the checkpoint; of several processes the first does so."""
    state: dict[str, Any] = {
        "method": run.method.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "iteration": run.iteration,
        "preset": run.preset.model_dump_json(),
        "patients": list(run.source.seen),
        "scores": dict(run.scores),
        "code_version": run.code_version,
        "unlabelled": len(run.source.unlabelled),
        "precision": run.precision,
        "device": device_name(run.fabric.device),
        "cpu_seconds": run.cpu_before + time.process_time() - run.cpu_started,
    }
    if run.fabric.is_global_zero:
        write_atomically(run.out / LAST, state)


def load(run: Training) -> None:
    """Go on with the checkpoint in the run's folder. Raises ``Usage`` where it is another preset's."""
    state = read_checkpoint(run.out / LAST)
    if state["preset"] != run.preset.model_dump_json():
        raise Usage("other_preset", f"The run in {run.out} was started with another preset; choose another --out.")
    run.method.load_state_dict(state["method"])
    run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.iteration, run.scores = int(state["iteration"]), dict(state["scores"])
    run.cpu_before = float(state["cpu_seconds"])
    log.info("resumed at iteration %d", run.iteration)


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


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
