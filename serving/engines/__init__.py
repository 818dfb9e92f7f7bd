"""What runs a student network: a batch of prepared slices in, a batch of label maps out."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.model_contract import ModelContract


class Engine(Protocol):
    """One loaded version of one model."""

    contract: ModelContract
    provider: str
    """What really computes, such as ``CPUExecutionProvider``."""
    why: str
    """Why this one, for the system page."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return labels uint8 [n, row, column] of prepared slices float32 [n, 1, row, column]."""
        ...
