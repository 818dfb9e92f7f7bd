"""From a checkpoint to one ONNX file that carries its contract. The only module here that needs torch."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from contracts.errors import Broken
from contracts.model_contract import ModelContract
from contracts.prepare import FloatImages
from export.metadata import set_contract, strip_metadata
from training.networks.exported import exported_runner
from training.networks.student import Student
from training.networks.trained import Trained

OPSET = 20
DECIDED = 1e-4
"""Where the two most probable classes are closer than this, torch and ONNX Runtime may answer differently."""


@dataclass(frozen=True)
class Parity:
    """How the file's labels compare with torch's: pixels, pixels that differ, and those where torch had decided."""

    pixels: int
    different: int
    decided_different: int


def export_onnx(trained: Trained, contract: ModelContract, path: Path) -> None:
    """Write a student as one ONNX file: opset 20, fixed height and width, free batch, labels out, contract inside.

    The same checkpoint gives the same bytes. Traces of the exporting machine (paths of source files) are removed.
    """
    student = Student(trained.network, contract.output.shape[0]).eval()
    example = torch.zeros(1, *contract.input.shape)
    proto = _export(student, example, contract)
    strip_metadata(proto)
    set_contract(proto, contract)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def parity(trained: Trained, contract: ModelContract, path: Path, images: FloatImages) -> Parity:
    """Compare torch and the file on prepared images float32 [n, 1, input_side, input_side], a few at a time.

    Raises ``Broken`` ``no_parity`` where labels differ at pixels that torch had decided.
    """
    student = Student(trained.network, contract.output.shape[0]).eval()
    run = exported_runner(path, contract, threads=1)
    different = decided = pixels = 0
    for start in range(0, len(images), 8):
        part = images[start : start + 8]
        with torch.inference_mode():
            best = student.probabilities(torch.from_numpy(part)).topk(2, dim=1)
        unequal = best.indices[:, 0].numpy().astype(np.uint8) != run(part)
        margin = (best.values[:, 0] - best.values[:, 1]).numpy()
        pixels += unequal.size
        different += int(unequal.sum())
        decided += int((unequal & (margin >= DECIDED)).sum())
    if decided:
        raise Broken("no_parity", f"The exported model differs from the trained one at {decided} of {pixels} pixels.")
    return Parity(pixels, different, decided)


def _export(student: Student, example: torch.Tensor, contract: ModelContract) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            student,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[contract.input.name],
            output_names=[contract.output.name],
            dynamic_shapes=({0: "batch"},),
            verbose=False,
        )
    proto: onnx.ModelProto = program.model_proto
    return proto
