"""On what the figures were measured: processor, programs, commit, load before the run, how long a sync takes."""

import os
import re
import shutil
import statistics
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

from serving.archive import sync_folder
from tests.conftest import ROOT, SYSTEM_PATH

PACKAGES = ("onnxruntime", "numpy", "pydicom", "pynetdicom", "highdicom", "fastapi", "uvicorn", "sqlalchemy", "dbos")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
"""Those that decide how fast a network runs."""
SYNCS = 50


def describe(folder: Path) -> dict[str, Any]:
    """Return all of it as plain JSON values; ``folder`` is where both sides keep what they receive."""
    said = Path("/proc/cpuinfo").read_text()
    flags = set(_first(r"^flags\s*:\s*(.*)$", said).split())
    return {
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load_before": [round(load, 2) for load in os.getloadavg()],
        "processor": _first(r"^model name\s*:\s*(.*)$", said),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "file_system": _said(["findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)]),
        "sync_ms": round(_sync_ms(folder), 2),
        "commit": _said(["git", "rev-parse", "--short=12", "HEAD"]),
        "changed": bool(_said(["git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/results"])),
        "python": python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "orthanc": _first(r"(\d+\.\d+\.\d+)", _said(["Orthanc", "--version"])),
        "dcmtk": _first(r"v(\d+\.\d+\.\d+)", _said(["storescu", "--version"])),
    }


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def _said(command: list[str]) -> str:
    program = shutil.which(command[0], path=SYSTEM_PATH) or command[0]
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _sync_ms(folder: Path) -> float:
    """Return the median of what it takes to write 131 kB, sync file and folder: the floor of a durable receiver."""
    content, taken = os.urandom(131_072), []
    for number in range(SYNCS):
        path = folder / f"sync-{number}"
        started = time.perf_counter()
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)
        taken.append(time.perf_counter() - started)
    for number in range(SYNCS):
        (folder / f"sync-{number}").unlink()
    return 1000 * statistics.median(taken)
