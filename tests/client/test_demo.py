"""The demo's script: where it succeeds, and what it says where it cannot."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, find_free_port

DEMO = ROOT / "scripts" / "demo.py"


def run(timeout: float = 60, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGLOOP_")}
    environment |= {"PYTHONPATH": str(ROOT), "DEMO_EXIT": "1", "COLUMNS": "200"} | settings
    return subprocess.run([sys.executable, str(DEMO)], env=environment, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("busy", "other"), [("SEGLOOP_HTTP_PORT", "SEGLOOP_DICOM_PORT"), ("SEGLOOP_DICOM_PORT", "SEGLOOP_HTTP_PORT")]
)
def test_a_busy_port_is_one_sentence_that_says_what_to_do(busy: str, other: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run(**{busy: str(port), other: str(find_free_port())})
    assert ended.returncode == 2
    assert f"Port {port} is in use" in ended.stdout
    assert f"{busy}=" in ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_setting_that_cannot_be_is_named() -> None:
    ended = run(SEGLOOP_AE_TITLE="A TITLE THAT IS FAR TOO LONG")
    assert ended.returncode == 2
    assert "SEGLOOP_AE_TITLE" in ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout


@pytest.mark.timeout(900)
def test_it_ends_with_a_right_answer_and_says_where_everything_is(tmp_path: Path) -> None:
    ports = {"SEGLOOP_HTTP_PORT": str(find_free_port()), "SEGLOOP_DICOM_PORT": str(find_free_port())}
    ended = run(840, DEMO_FOLDER=str(tmp_path), **ports)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert "20 DICOM SEG, one a phase, and the measurements as SR" in ended.stdout
    for word in ("Worklist", "Picture", "Research use only"):
        assert word in ended.stdout
    assert (tmp_path / "overlay.png").is_file()
