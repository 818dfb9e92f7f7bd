"""The embedded engine: ONNX Runtime inside the gateway's process, one session shared by all callers."""

import os
import threading
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contracts.errors import Missing, Usage
from contracts.model_contract import ModelContract
from contracts.model_repository import Model


def check_installation() -> None:
    """Refuse two builds of ONNX Runtime side by side: which one is imported would be luck.

    Raises ``Usage`` when both are installed, ``Missing`` when none is.
    """
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(found) == 2:
        raise Usage(
            "two_runtimes", "Both onnxruntime and onnxruntime-gpu are installed: uninstall both, then install one."
        )
    if not found:
        raise Missing("no_runtime", "ONNX Runtime is not installed: install the extra 'cpu' or the extra 'gpu'.")


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


BY_ITSELF = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""What PROVIDER empty chooses from, best first. Builds list more, and first what does not compute by itself (Azure)."""


class OnnxRuntimeEngine:
    """A session on one model file. Calls may come from any thread; they run one after the other.

    Memory is bounded by the largest batch that callers pass: the arena keeps what it took and takes no more.
    """

    def __init__(self, model: Model, *, threads: int = 0, provider: str = "") -> None:
        """Load the model; raises ``Usage`` when the provider asked for is not the one that runs."""
        self.contract: ModelContract = model.contract
        available = onnxruntime.get_available_providers()
        wanted = provider or next(name for name in BY_ITSELF if name in available)
        if wanted not in available:
            raise Usage("no_provider", f"PROVIDER asks for {wanted}; this ONNX Runtime offers {', '.join(available)}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.inter_op_num_threads = 1
        # A plan of memory for each size of batch is taken afresh, page by page, in every run. Without plans the arena
        # serves all sizes from what it has: a run takes an eighth less, and after batches of many sizes a third less
        # memory is in use.
        options.enable_mem_pattern = False
        # Threads that spin between calls fight with numpy's for the cores: preparing a batch took three times as long.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model.file.read_bytes(), options, providers=[wanted])
        self.provider: str = self._session.get_providers()[0]
        if provider and self.provider != provider:
            raise Usage(
                "other_provider",
                f"PROVIDER asks for {provider}, but {self.provider} would run: its libraries are missing.",
            )
        asked = f"PROVIDER={provider}" if provider else f"best of {', '.join(available)}"
        self.why = f"{asked}; {options.intra_op_num_threads} threads"
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return labels uint8 [n, row, column] of prepared slices float32 [n, 1, row, column]."""
        with self._lock:
            (labels,) = self._session.run([self.contract.output.name], {self.contract.input.name: batch})
        return np.asarray(labels, dtype=np.uint8)
