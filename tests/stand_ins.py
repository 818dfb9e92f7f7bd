"""Models for tasks of which no student is shipped yet: thresholds, published as any student is."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contracts.model_contract import draft_contract
from contracts.model_repository import serving_version
from contracts.prepare import prepare_for
from contracts.tasks import Task
from export.repository import promote, publish
from tests.conftest import ROOT

SHIPPED = ROOT / "model_repository"


def shipped(task: Task) -> bool:
    """Whether a student of a task comes with the software."""
    return serving_version(SHIPPED, task.value) is not None


def models_for(task: Task, folder: Path) -> Path:
    """Return a model repository that serves a task: a copy of the shipped one, with a stand-in where it has none."""
    repository = folder / "models"
    shutil.copytree(SHIPPED, repository)
    if not shipped(task):
        publish(threshold(task, folder / "exported"), repository, who="test", why="stand-in")
        promote(repository, task.value, 1, who="test", why="stand-in")
    return repository


def threshold(task: Task, folder: Path) -> Path:
    """Write an exported model that calls dark cells (of photographs) or bright ones (of MR) the task's only label."""
    folder.mkdir()
    contract = draft_contract(task, prepare_for(task))
    twice = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("ReduceMean", [contract.input.name], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Less" if task is Task.SKIN else "Greater", ["mean", "half"], ["found"]),
        helper.make_node("Cast", ["found"], ["cells"], to=TensorProto.FLOAT),
        helper.make_node("Resize", ["cells", "", "twice"], ["enlarged"], mode="nearest"),
        helper.make_node("Squeeze", ["enlarged", "channel"], ["plane"]),
        helper.make_node("Cast", ["plane"], [contract.output.name], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "threshold",
        [helper.make_tensor_value_info(contract.input.name, TensorProto.FLOAT, ["n", *contract.input.shape])],
        [helper.make_tensor_value_info(contract.output.name, TensorProto.UINT8, ["n", *contract.output.shape])],
        [
            numpy_helper.from_array(np.float32(0.5), "half"),
            numpy_helper.from_array(twice, "twice"),
            numpy_helper.from_array(np.array([1], np.int64), "channel"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    (folder / "contract.json").write_text(contract.to_json())
    record = {"preset": "none", "data": {"set": "none", "list": "none", "patients": []}}
    (folder / "training.json").write_text(json.dumps(record))
    return folder
