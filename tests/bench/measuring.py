"""What a run costs, as the operating system accounts for it, and what two kinds of runs cost beside each other."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]

from tests.conftest import ROOT

LOOK_S = 0.05


@dataclass
class Cost:
    """One run of one side: wall and CPU seconds (user and system, all threads and children), peak RSS in 1e6 bytes.

    ``count`` is how many instances were received where that was measured. ``parts`` are seconds by name, as far as the
    side tells them.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    count: int = 0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Instances a second."""
        return self.count / self.wall_s


@dataclass(frozen=True)
class Pairs:
    """Runs of two sides in turn: ``ours[n]`` ran right before or after ``theirs[n]``."""

    ours: Sequence[Cost]
    theirs: Sequence[Cost]

    def ratios(self, of: str) -> list[float]:
        """Return ours / theirs pair by pair, of an attribute of :class:`Cost`."""
        return [getattr(a, of) / getattr(b, of) for a, b in zip(self.ours, self.theirs, strict=True)]

    def ratio(self, of: str) -> float:
        """Return the median of the ratios of the pairs: what both sides suffered at the same time cancels out."""
        return median(self.ratios(of))

    def medians(self, of: str) -> tuple[float, float]:
        """Return the medians of both sides."""
        return median(getattr(a, of) for a in self.ours), median(getattr(b, of) for b in self.theirs)


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Cost, str]:
    """Run a command of this checkout to its end; return its cost and what it wrote to stdout.

    Raises ``RuntimeError`` with the end of its stderr where it fails.
    """
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complained:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=complained)
        with _peak_of(process.pid) as peak:
            _, status, used = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        complained.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command[:4]} ended with {process.returncode}: {complained.read()[-2000:]}")
        words = said.read()
    return Cost(wall, used.ru_utime + used.ru_stime, max(peak)), words


@contextmanager
def _peak_of(pid: int) -> Iterator[list[float]]:
    """Give a list that grows by the peak of a process, several times a second until the block ends.

    What ``wait4`` says of it begins with what *this* process had resident when it forked.
    """
    found, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            with suppress(OSError, StopIteration):  # it has just ended
                found.append(peak_mb(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def python(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module of this checkout."""
    return [sys.executable, "-m", module, *map(str, arguments)]


@contextmanager
def metered(pid: int) -> Iterator[Cost]:
    """Give a cost that is complete after the block: what it took, and what the running process used meanwhile.

    The peak is that of the whole life of the process.
    """
    cost, process = Cost(), psutil.Process(pid)
    before, started = _cpu_s(process), time.perf_counter()
    yield cost
    cost.wall_s = time.perf_counter() - started
    cost.cpu_s = _cpu_s(process) - before
    cost.peak_mb = peak_mb(pid)


def peak_mb(pid: int) -> float:
    """Return the most that a process ever had resident (VmHWM), in 1e6 bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
