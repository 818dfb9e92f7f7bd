"""The receiving side as a process of its own, for tests that kill it or measure its memory.

``python -m tests.serving.receiver_process HOME`` prints one line of JSON with its ports, then serves until it is ended.
"""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from serving.receive import dimse
from tests.conftest import ROOT, find_free_port
from tests.serving.receiving import receiving


def main() -> None:
    """Serve DICOM and HTTP over the folder that the first argument names."""
    with receiving(Path(sys.argv[1])) as side:
        side.intake.sweep()
        listener = dimse.start(side.settings, side.intake, side.activity, side.guard)
        port = find_free_port()
        print(json.dumps({"dicom": listener.port, "http": port}), flush=True)
        uvicorn.run(side.app(), host="127.0.0.1", port=port, log_level="error", lifespan="off")
        listener.stop()


@dataclass
class Process:
    """A running receiving side."""

    process: "subprocess.Popen[str]"
    dicom: int
    http: int

    @property
    def memory_mb(self) -> float:
        """What is resident now."""
        return self._status("VmRSS")

    @property
    def peak_mb(self) -> float:
        """The most that was resident since :meth:`forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """Let the peak begin again at what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def wait_for_port(port: int) -> None:
    """Wait up to twenty seconds until something listens on a port of loopback."""
    waiting = threading.Event()
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        waiting.wait(0.02)
    raise TimeoutError(f"nothing listens on port {port}")


@contextmanager
def running(home: Path) -> Iterator[Process]:
    """Start the receiving side over ``home`` and end it after the block."""
    command = [sys.executable, "-m", "tests.serving.receiver_process", str(home)]
    with (home.parent / f"{home.name}.log").open("a") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        ports = json.loads(process.stdout.readline())
        wait_for_port(ports["http"])
        yield Process(process, ports["dicom"], ports["http"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    main()
