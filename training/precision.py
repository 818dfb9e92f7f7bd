"""Which arithmetic a machine trains in."""

from pathlib import Path
from typing import Literal

import torch

Precision = Literal["bf16-mixed", "32-true"]
_FAST = ("avx512_bf16", "amx_bf16")


def choose_precision(wanted: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> Precision:
    """Return the precision for ``auto``, ``bf16`` or ``fp32``.

    ``auto`` takes bfloat16 where the GPU or the processor computes in it; without such units it is many times slower.
    """
    if wanted == "fp32":
        return "32-true"
    if wanted == "bf16" or torch.cuda.is_available() or _has_bfloat16(cpuinfo):
        return "bf16-mixed"
    return "32-true"


def _has_bfloat16(cpuinfo: Path) -> bool:
    try:
        flags = next(line for line in cpuinfo.read_text("utf-8").splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return any(flag in flags.split() for flag in _FAST)
