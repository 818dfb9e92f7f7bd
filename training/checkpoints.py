"""Checkpoints: how a run is kept, resumed, and handed to evaluation and export."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from contracts.errors import Missing, Refused
from contracts.model_contract import ModelContract, draft_contract
from contracts.tasks import LABELS
from training.networks.unet import UNet
from training.preset import Preset

LAST = "last.ckpt"


@dataclass(frozen=True, eq=False)
class Trained:
    """A student as training left it: the averaged weights, what it was made with, and whom it has seen."""

    network: nn.Module
    contract: ModelContract
    preset: Preset
    patients: tuple[str, ...]
    iteration: int
    code_version: str
    scores: dict[str, float]


def build_network(preset: Preset) -> nn.Module:
    """Return the untrained network of a preset, weights drawn from torch's current random state."""
    return UNet(channels=1, classes=len(LABELS[preset.task]) + 1)


def write_atomically(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint beside its place and move it there: a killed run leaves the old one or the new one."""
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; tensors and plain values only. Raises ``Missing`` and ``Refused``."""
    if not path.is_file():
        raise Missing("no_checkpoint", f"There is no checkpoint {path}.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise Refused("bad_checkpoint", f"{path} is not a checkpoint of this program.") from error
    return state


def read_trained(path: Path) -> Trained:
    """Read the student of a checkpoint: its averaged weights in evaluation mode."""
    state = read_checkpoint(path)
    preset = Preset.model_validate_json(state["preset"])
    network = build_network(preset)
    network.load_state_dict(
        {k.removeprefix("module."): v for k, v in state["average"].items() if k.startswith("module.")}
    )
    return Trained(
        network=network.eval(),
        contract=draft_contract(preset.task, preset.prepare),
        preset=preset,
        patients=tuple(state["patients"]),
        iteration=int(state["iteration"]),
        code_version=str(state["code_version"]),
        scores=dict(state["scores"]),
    )
