"""A student that learned nothing, but has statistics of its own in its normalisations, as a trained one has."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from typer.testing import CliRunner

from contracts.prepare import Prepare
from contracts.tasks import Task
from export.__main__ import app
from training.methods.supervised import Supervised
from training.networks.trained import build_network, write_atomically


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained student on a small grid."""
    torch.manual_seed(3)
    network = build_network(Task.CARDIAC)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.randn(part.num_features) * 0.2
            part.running_var = torch.rand(part.num_features) + 0.5
    prepare = Prepare(input_side=32, output_side=64).model_dump_json()
    preset = '{"name": "t", "task": "cardiac", "seed": 5, "ema": 0.9, "train_list": "l", "prepare": ' + prepare + "}"
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    state = {
        "average": AveragedModel(Supervised(network)).state_dict(),
        "preset": preset,
        "patients": ["patient002", "patient001"],
        "iteration": 7,
        "scores": {"mean_dice": 0.5},
        "code_version": "abc",
    }
    write_atomically(path, state)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``export onnx`` makes of it."""
    out = tmp_path_factory.mktemp("exported")
    result = CliRunner().invoke(app, ["onnx", "--checkpoint", str(checkpoint), "--out", str(out)])
    assert result.exit_code == 0, (result.output, result.exception)
    return out


@pytest.fixture(scope="session")
def acdc(data: Callable[[str], Path]) -> Path:
    """The folder of the ACDC data set."""
    return data("acdc")
