"""Two processes that train together take the step that one would take on the mean of their gradients."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from training.data.sources import read_source
from training.loop import reseed
from training.methods.build import build_method
from training.networks.trained import LAST, build_network, read_checkpoint
from training.preset import Preset
from training.run import make_streams

RATE = 0.125
CHANGES = (
    "method=semsim", "unlabelled_list=synthetic", "iterations=1", "warm_up=0", "batch=2", "batch_unlabelled=2",
    "prepare.input_side=32", "prepare.output_side=32", "optimizer=sgd", f"learning_rate={RATE}", "weight_decay=0.0",
    "gradient_norm=1e9", "precision=fp32", "threads=1", "consistency.threshold=0.0", "consistency.fusion_width=16",
    "consistency.fusion_layers=1",
)  # fmt: skip


def test_two_gloo_processes_agree_with_one_on_the_same_two_batches(tmp_path: Path) -> None:
    """Losses that couple samples (Dice, prototypes) couple those of one process; so do running statistics."""
    command = [sys.executable, "-m", "training", "train", "ci", "--out", str(tmp_path)]
    changes = [word for change in (*CHANGES, "devices=2") for word in ("--set", change)]
    done = subprocess.run([*command, *changes], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    after = read_checkpoint(tmp_path / LAST)["method"]

    preset = Preset.read(Path("ci"), CHANGES)
    torch.manual_seed(preset.seed)
    method = build_method(preset, build_network(preset.task)).train()
    method = method.to(memory_format=torch.channels_last)  # dropout draws in the order of memory
    streams = make_streams(preset, read_source(preset, None), tmp_path)
    processes = [copy.deepcopy(method) for _ in range(2)]  # each with running statistics of its own
    for micro, one in enumerate(processes):
        reseed(preset, micro)
        losses, _ = one(streams.draw(micro), one)
        torch.stack(list(losses.values())).sum().backward()
    first, second = (dict(one.named_parameters()) for one in processes)
    for name, before in method.named_parameters():
        moved = (before.detach() - after[name]) / RATE
        mean = (first[name].grad + second[name].grad) / 2
        assert (moved - mean).abs().max() <= 1e-3 * mean.abs().max() + 1e-5, name


@pytest.mark.prove
@pytest.mark.parametrize("name", ["cardiac-paper", "cardiac-paper-literal"])
def test_the_published_recipe_runs_on_this_machine(name: str, data, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """20 iterations at the published size and batch, on the CPU, through the same code: finite, and all terms on."""
    command = [sys.executable, "-m", "training", "train", name, "--data", str(data("acdc")), "--out", str(tmp_path)]
    changes = ("iterations=20", "threads=2", "unlabelled_limit=4", "validation_list=lists/labelled_1.txt")
    done = subprocess.run(
        [*command, *(word for change in changes for word in ("--set", change))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = read_checkpoint(tmp_path / LAST)
    assert state["iteration"] == 20
    assert all(value.isfinite().all() for value in state["method"].values())
