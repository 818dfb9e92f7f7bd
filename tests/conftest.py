"""What tests of every room share: where the data sets are, free ports, programs of other people."""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SEGLOOP_DATA", ROOT.parent / "shared" / "data"))
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs of the system are looked up: pynetdicom puts scripts named like DCMTK's into the environment's own."""

IN_CI = os.environ.get("CI") == "true"


CLONE_NEWNET = 0x40000000
PRIVATE_NETWORK = False
"""Whether this process has a loopback of its own, where a server that listens on every address reaches nobody."""


def pytest_sessionstart() -> None:
    """Move this process into a network namespace of its own, loopback only, where the system allows it.

    Orthanc and DCMTK listen on all interfaces, so they and their peers must stand apart. It also proves that nothing
    under test needs a network, and keeps the ports of parallel test processes apart.
    """
    global PRIVATE_NETWORK
    ip = shutil.which("ip", path=SYSTEM_PATH)
    if PRIVATE_NETWORK or ip is None or ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        return
    PRIVATE_NETWORK = subprocess.run([ip, "link", "set", "lo", "up"], check=False).returncode == 0


@pytest.fixture(scope="session")
def private_network() -> None:
    """Skip the test where this process could not get a network of its own."""
    if not PRIVATE_NETWORK:
        skip_or_fail("No network namespace of our own: run as root with iproute2 installed.")


def skip_or_fail(reason: str) -> None:
    """Skip a test with its reason; in CI nothing is skipped, so there it fails."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def data() -> Callable[[str], Path]:
    """Return a function that gives the folder of a data set, or skips the test where it is absent."""

    def folder(name: str) -> Path:
        path = DATA / name
        if not path.is_dir():
            skip_or_fail(f"The data set '{name}' is not under {DATA}: set SEGLOOP_DATA.")
        return path

    return folder


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Return a function that gives the system path of a program, or skips the test where it is absent."""

    def path(name: str) -> str:
        found = shutil.which(name, path=SYSTEM_PATH)
        if found is None:
            skip_or_fail(f"The program '{name}' is not installed: scripts/install-test-programs names its package.")
        assert found is not None
        return found

    return path


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a function that gives a port of loopback that was free a moment ago."""
    return find_free_port


def find_free_port() -> int:
    """Return a port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
