"""A real gateway in a process of its own, as an operator starts it, and what journeys ask it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.conftest import ROOT, SYSTEM_PATH, find_free_port

STUCK = frozenset({"held", "not_processed", "refused", "failed"})
"""States that a stack does not leave by itself: waiting on would tell nothing."""

T = TypeVar("T")

FINAL = frozenset({"done", "delivering", "held", "not_processed", "refused", "failed", "dismissed"})


class RunningGateway:
    """``python -m serving`` with a HOME of its own. Settings are given without their prefix, in lower case."""

    def __init__(self, home: Path, **settings: object) -> None:
        """Nothing starts before ``start``."""
        self.home = home
        self.http_port, self.dicom_port = find_free_port(), find_free_port()
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.log = home.parent / f"{home.name}.log"

    @property
    def url(self) -> str:
        """Address of the HTTP side."""
        return f"http://127.0.0.1:{self.http_port}"

    def environment(self, **more: object) -> dict[str, str]:
        """The environment a gateway or a client of it is started with."""
        settings = {
            "home": self.home,
            "http_port": self.http_port,
            "dicom_port": self.dicom_port,
            "quiet_period_s": 0.5,
            "min_free_gb": 0.1,
            **self.settings,
            **more,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEGLOOP_")}
        return {**kept, **{f"SEGLOOP_{name.upper()}": str(value) for name, value in settings.items()}}

    def start(self, *, wait: bool = True, **more: object) -> "RunningGateway":
        """Start the process and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving"], cwd=ROOT, env=self.environment(**more), stdout=log, stderr=log
            )
        if wait:
            until(self.alive, 60, what=f"the gateway did not start; see {self.log}")
        return self

    def alive(self) -> bool:
        """Whether the HTTP side answers; a process that ended is an error at once."""
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}: {self.log.read_text()[-2000:]}")
        try:
            return httpx.get(f"{self.url}/livez", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process and return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=60)

    def died(self, seconds: float = 60) -> None:
        """Wait until the process has killed itself at the point its FAULT names."""
        assert self.process is not None
        assert self.process.wait(timeout=seconds) == -signal.SIGKILL

    def study(self, study_uid: str) -> dict[str, Any]:
        """What the API says of a study; an empty answer where it is not known (yet)."""
        answer = httpx.get(f"{self.url}/api/studies/{study_uid}", timeout=30)
        return answer.json() if answer.status_code == 200 else {}

    def complete(self, study_uid: str) -> None:
        """End a study's quiet period."""
        httpx.post(f"{self.url}/api/studies/{study_uid}/complete", timeout=30).raise_for_status()

    def settled(
        self, study_uid: str, seconds: float = 120, states: Iterable[str] = FINAL, *, version: int = 1
    ) -> dict[str, Any]:
        """Wait until every stack of a study has come to one of ``states`` and return the study."""
        wanted = frozenset(states)

        def there() -> dict[str, Any]:
            found = self.study(study_uid)
            stacks = found.get("stacks", [])
            stuck = [f"{stack['state']}: {stack['reason']}" for stack in stacks if stack["state"] in STUCK - wanted]
            assert not stuck, stuck
            done = found.get("state") != "receiving" and all(stack["state"] in wanted for stack in stacks)
            return found if stacks and done and max(stack["version"] for stack in stacks) >= version else {}

        return until(there, seconds, what=f"the study did not settle; see {self.log}")


def until(ask: Callable[[], T], seconds: float, *, what: str) -> T:
    """Ask again and again until the answer is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError(what)


def storescu(port: int, paths: Sequence[Path], *options: str, calling: str = "TESTER", called: str = "SEGLOOP") -> bool:
    """Send files and folders with DCMTK's ``storescu``; return whether every one was acknowledged.

    Compressed files need the one of its options that proposes their transfer syntax.
    """
    sent = subprocess.run(
        [
            "/usr/bin/storescu",
            "-R",
            "+sd",
            "+r",
            "-aet",
            calling,
            "-aec",
            called,
            *options,
            "127.0.0.1",
            str(port),
            *map(str, paths),
        ],
        check=False,
        capture_output=True,
        env={"PATH": SYSTEM_PATH, "TCP_NODELAY": "1", "DCMDICTPATH": "/usr/share/libdcmtk17/dicom.dic"},
        timeout=300,
    )
    return sent.returncode == 0


def send(running: RunningGateway, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run ``client send --json`` against a gateway; return its exit code and document."""
    done = subprocess.run(
        [sys.executable, "-m", "client", "send", *arguments, "--to", f"{running.url}/dicom-web", "--json"],
        cwd=ROOT,
        env=running.environment(),
        capture_output=True,
        timeout=200,
    )
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


def retrieve(running: RunningGateway, study_uid: str, result: dict[str, Any]) -> bytes:
    """One result by WADO-RS."""
    address = f"{running.url}/dicom-web/studies/{study_uid}/series/{result['series_uid']}/instances/{result['sop_uid']}"
    answer = httpx.get(address, headers={"Accept": 'multipart/related; type="application/dicom"'}, timeout=60)
    answer.raise_for_status()
    boundary = answer.headers["content-type"].split("boundary=")[1].split(";")[0].strip('"').encode()
    part = answer.content.split(b"--" + boundary)[1]
    return part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
