"""Checkpoints: how a run is kept, resumed, and handed to evaluation and export."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from contracts.errors import Missing, Refused
from contracts.model_contract import ModelContract, draft_contract
from contracts.prepare import Prepare, prepare_for
from contracts.tasks import LABELS, Task
from training.networks.unet import UNet

LAST = "last.ckpt"


@dataclass(frozen=True, eq=False)
class Trained:
    """A student as training left it: the averaged weights, what it was made with, and whom it has seen.

    ``preset`` holds the numbers of the run as plain values, ``scores`` its last figures on the validation list.
    """

    network: nn.Module
    contract: ModelContract
    preset: dict[str, Any]
    patients: tuple[str, ...]
    iteration: int
    code_version: str
    scores: dict[str, float]


def build_network(task: Task) -> UNet:
    """Return the untrained network of a task, weights drawn from torch's current random state."""
    return UNet(channels=prepare_for(task).channels, classes=len(LABELS[task]) + 1)


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


def averaged_network(state: dict[str, Any]) -> dict[str, Any]:
    """Return the averaged weights of the network in a checkpoint, without whatever a method trains beside it."""
    prefix = "module.network."
    return {key.removeprefix(prefix): value for key, value in state["average"].items() if key.startswith(prefix)}


def read_trained(path: Path) -> Trained:
    """Read the student of a checkpoint: its averaged weights in evaluation mode."""
    state = read_checkpoint(path)
    preset = json.loads(state["preset"])
    task = Task(preset["task"])
    network = build_network(task)
    network.load_state_dict(averaged_network(state))
    return Trained(
        network=network.eval(),
        contract=draft_contract(task, Prepare.model_validate(preset["prepare"])),
        preset=preset,
        patients=tuple(state["patients"]),
        iteration=int(state["iteration"]),
        code_version=str(state["code_version"]),
        scores=dict(state["scores"]),
    )
