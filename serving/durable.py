"""The thin module around DBOS: what must go on after the process was killed, and nothing else knows the engine.

Workflows are plain lists of steps. Each is named by what it works on, so starting one twice is starting it once. The
application version is fixed: it changes only when the order of steps does, and then old work must be drained first.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from contracts.errors import Usage
from serving import faults
from serving.settings import Settings

APPLICATION_VERSION = "segloop-wf-1"
STACKS = "stacks"
DELIVERIES = "deliveries"
FULL = ("read", "predict", "write", "offer")
AFTER_RELEASE = ("write", "offer")


class Work(Protocol):
    """What the workflows call."""

    def run(self, step: str, stack_id: int) -> str:
        """Run a step of a stack version; a word other than "" ends the workflow."""
        ...

    def give_up(self, stack_id: int, reason: str) -> None:
        """Mark a stack version as failed."""
        ...


_work: Work
_attempt: Callable[[int, int], None]
_lock: int


@DBOS.step(name="step")
def _step(name: str, stack_id: int) -> str:
    return _work.run(name, stack_id)


@DBOS.workflow(name="process", max_recovery_attempts=5)
def _process(stack_id: int, steps: list[str]) -> str:
    for name in steps:
        outcome = _step(name, stack_id)
        faults.point(f"{name}:after")
        if outcome:
            return outcome
    return "answered"


@DBOS.step(name="attempt")
def _try_delivery(delivery_id: int, number: int) -> None:
    _attempt(delivery_id, number)


@DBOS.workflow(name="deliver", max_recovery_attempts=100_000)
def _deliver(delivery_id: int, number: int) -> None:
    _try_delivery(delivery_id, number)


def claim(home: Path) -> None:
    """Make this process the only one on a HOME until it ends: two would run each other's work a second time.

    Raises ``Usage`` ``home_in_use``.
    """
    global _lock
    handle = os.open(home / "executor.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise Usage("home_in_use", f"Another gateway already runs on {home}: stop it or set SEGLOOP_HOME.") from error
    _lock = handle


def launch(settings: Settings, work: Work, attempt: Callable[[int, int], None]) -> None:
    """Start the engine on a HOME that was claimed; work that was under way when the process ended goes on by itself."""
    global _work, _attempt
    _work, _attempt = work, attempt
    database = settings.home.resolve() / "dbos.sqlite"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    config: DBOSConfig = {
        "name": "segloop",
        "system_database_url": f"sqlite:///{database}",
        "application_version": APPLICATION_VERSION,
        "executor_id": "gateway",
        "serializer": DBOSPortableJSONSerializer(),
        "log_level": "ERROR",
        "max_executor_threads": 16,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(STACKS, worker_concurrency=1, polling_interval_sec=0.25)
    DBOS.register_queue(DELIVERIES, worker_concurrency=4, polling_interval_sec=1.0)


def stop(seconds: int = 20) -> None:
    """Stop the engine; what is under way gets some seconds, and goes on at the next start otherwise."""
    DBOS.destroy(workflow_completion_timeout_sec=seconds)
    os.close(_lock)


def process(stack_id: int, attempt: int, *, after_release: bool = False) -> None:
    """Enqueue the work on a stack version; the same attempt is enqueued once."""
    steps = AFTER_RELEASE if after_release else FULL
    with SetWorkflowID(f"stack-{stack_id}-{attempt}"):
        DBOS.enqueue_workflow(STACKS, _process, stack_id, list(steps))


def deliver(delivery_id: int, number: int) -> None:
    """Enqueue one try of a delivery, counted from 1; the same try is enqueued once."""
    with SetWorkflowID(f"deliver-{delivery_id}-{number}"):
        DBOS.enqueue_workflow(DELIVERIES, _deliver, delivery_id, number)


BROKEN = {
    "ERROR": "Its end could not be written down; see the log, then retry.",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "The gateway died on it several times; see the log, then retry.",
}
"""Ends of a workflow that no step has noted, and what to say about them."""


def give_up_on_broken_work() -> None:
    """Fail the stacks whose work killed the process too often or broke, so that they are shown and can be retried."""
    for status in DBOS.list_workflows(status=list(BROKEN), name="process"):
        _work.give_up(int(status.workflow_id.split("-")[1]), BROKEN[status.status])
        DBOS.delete_workflows([status.workflow_id])


def forget_broken_tries() -> int:
    """Forget tries of deliveries that broke before they could book their end, so that they are made again."""
    broken = DBOS.list_workflows(status=list(BROKEN), name="deliver")
    if broken:
        DBOS.delete_workflows([status.workflow_id for status in broken])
    return len(broken)


def purge(before: str) -> int:
    """Forget finished workflows that ended before a time (ISO 8601); return how many."""
    done = DBOS.list_workflows(
        status=["SUCCESS", "ERROR"], completed_before=before, load_input=False, load_output=False
    )
    if done:
        DBOS.delete_workflows([status.workflow_id for status in done])
    return len(done)
