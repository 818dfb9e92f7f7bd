"""kill -9 in the middle of a run: what was saved goes on, and ends as a run that was left alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from training.data.sources import read_source
from training.loop import train
from training.networks.trained import LAST, read_checkpoint
from training.preset import Preset

CHANGES = ("iterations=40", "warm_up=2", "batch=2", "checkpoint_every=2", "evaluate_every=999", "prepare.input_side=32")


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "training", "train", "ci", "--out", str(out)]
    process = subprocess.Popen([*command, *(word for change in CHANGES for word in ("--set", change))])
    deadline = time.monotonic() + 120
    while not (out / LAST).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    saved = read_checkpoint(out / LAST)["iteration"]
    assert saved % 2 == 0
    assert saved > 0
    preset = Preset.read(Path("ci"), CHANGES)
    source = read_source(preset, None)
    train(preset, source, out, resume=True)
    train(preset, source, tmp_path / "whole")
    ended, whole = read_checkpoint(out / LAST), read_checkpoint(tmp_path / "whole" / LAST)
    assert ended["iteration"] == whole["iteration"] == 40
    assert all(ended["method"][name].equal(value) for name, value in whole["method"].items())
    assert all(ended["average"][name].equal(value) for name, value in whole["average"].items())
