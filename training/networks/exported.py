"""An exported student, run by ONNX Runtime on the CPU: for evaluation and parity. Imports no torch."""

from pathlib import Path

import numpy as np
import onnxruntime

from contracts.errors import Broken
from contracts.model_contract import ModelContract
from contracts.prepare import FloatImages, Masks
from contracts.segment import Run


def exported_runner(model: Path, contract: ModelContract, threads: int = 0) -> Run:
    """Return ``run`` of ``contracts.segment`` for a model file; ``threads`` 0: as many as the machine has cores.

    Raises ``Broken`` ``bad_model`` where the file cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Broken("bad_model", f"ONNX Runtime cannot load {model.name} of {contract.name}.") from error

    def run(images: FloatImages) -> Masks:
        labels: Masks = np.asarray(session.run([contract.output.name], {contract.input.name: images})[0])
        return labels

    return run
