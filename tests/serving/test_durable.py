"""The durable engine in a process of its own that is killed at every step and started again."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from contracts.errors import Usage, answer_to
from serving import durable
from tests.conftest import ROOT

PROGRAM = textwrap.dedent(
    """
    import json, os, signal, sys, time
    from pathlib import Path
    from serving import durable
    from serving.settings import Settings

    home, kill_at = Path(sys.argv[1]), sys.argv[2]
    journal = home / "journal"

    class Work:
        def run(self, step, stack_id):
            with journal.open("a") as out:
                out.write(json.dumps([step, stack_id]) + "\\n")
            if kill_at == step and stack_id == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if kill_at == f"break {step}" and stack_id == 1:
                raise OSError("the disk is full")
            return "stopped" if stack_id == 2 and step == "predict" else ""

        def give_up(self, stack_id, reason):
            (home / "given-up").write_text(str(stack_id))

    durable.claim(home)
    durable.launch(Settings(home=home), Work(), lambda delivery_id, number: None)
    for stack_id in (1, 2):
        durable.process(stack_id, 1)
        durable.process(stack_id, 1)
    end = time.monotonic() + 30
    from dbos import DBOS
    while DBOS.list_workflows(status=["PENDING", "ENQUEUED"]) and time.monotonic() < end:
        time.sleep(0.1)
    durable.give_up_on_broken_work()
    durable.stop(5)
    """
)


def run(home: Path, kill_at: str = "") -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM, str(home), kill_at], cwd=ROOT, timeout=90).returncode


def steps(home: Path) -> list[tuple[str, int]]:
    return [tuple(json.loads(line)) for line in (home / "journal").read_text().splitlines()]


def test_each_step_runs_once_in_order_and_a_word_ends_the_workflow(tmp_path):
    assert run(tmp_path) == 0
    assert [step for step, stack in steps(tmp_path) if stack == 1] == ["read", "predict", "write", "offer"]
    assert [step for step, stack in steps(tmp_path) if stack == 2] == ["read", "predict"]


@pytest.mark.parametrize("step", ["read", "write"])
def test_a_killed_step_runs_again_and_recorded_ones_do_not(tmp_path, step):
    assert run(tmp_path, kill_at=step) == -signal.SIGKILL
    assert run(tmp_path) == 0
    ran = [name for name, stack in steps(tmp_path) if stack == 1]
    assert [name for name in ran if name != step] == [
        name for name in ("read", "predict", "write", "offer") if name != step
    ]
    assert ran.count(step) == 2


def test_work_that_kills_the_process_every_time_is_given_up(tmp_path):
    ends = [run(tmp_path, kill_at="predict") for _ in range(7)]
    assert ends == [-signal.SIGKILL] * 6 + [0]
    assert (tmp_path / "given-up").read_text() == "1"
    assert ("predict", 2) in steps(tmp_path)


def test_work_whose_end_cannot_be_written_down_is_given_up(tmp_path):
    assert run(tmp_path, kill_at="break write") == 0
    assert (tmp_path / "given-up").read_text() == "1"
    assert ("offer", 1) not in steps(tmp_path)


def test_two_gateways_never_share_a_home(tmp_path):
    durable.claim(tmp_path)
    with pytest.raises(Usage) as refused:
        durable.claim(tmp_path)
    os.close(durable._lock)
    assert answer_to(refused.value).exit == 2
    assert "SEGLOOP_HOME" in refused.value.sentence
