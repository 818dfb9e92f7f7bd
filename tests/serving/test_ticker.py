"""The heartbeat: what it finds due, and that one failing look stops no other."""

import time

import pytest
from sqlalchemy import select

from serving import durable, ticker
from serving.index.models import StackVersion, Study
from serving.pipeline.states import move
from serving.ticker import Ticker
from tests.builders import Exam
from tests.journeys.running import until
from tests.serving.parts import Parts


@pytest.fixture
def parts(tmp_path):
    made = Parts(tmp_path, retention_days=1)
    yield made
    made.close()


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr(durable, "process", lambda *a, **k: calls.append((*a, k["after_release"])))
    monkeypatch.setattr(durable, "deliver", lambda *a: calls.append(a))
    for name in ("give_up_on_broken_work", "forget_broken_tries", "purge"):
        monkeypatch.setattr(durable, name, lambda *a: 0)
    return calls


def test_a_complete_study_is_settled_and_its_work_started_once(parts, started):
    parts.receive(Exam("beat").short_axis())
    beat = Ticker(parts.db, parts.archive, parts.settler, parts.settings)
    beat.start()
    until(lambda: started, 20, what="no work was started")
    time.sleep(3 * ticker.BEAT_S)
    beat.stop()
    assert started == [(1, 1, False)]


def test_a_look_that_fails_does_not_stop_the_others(parts, started, monkeypatch):
    parts.receive(Exam("beat").short_axis())
    parts.settle()
    monkeypatch.setattr(parts.settler, "settle_due", broken := _Broken())
    beat = Ticker(parts.db, parts.archive, parts.settler, parts.settings)
    beat.start()
    until(lambda: started, 20, what="no work was started")
    beat.stop()
    assert broken.calls


class _Broken:
    __name__ = "settle_due"
    calls = 0

    def __call__(self):
        self.calls += 1
        raise OSError("disk")


def test_a_released_stack_goes_on_where_it_was_held(parts, started):
    parts.receive(Exam("beat").short_axis())
    parts.settle()
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        move(session, stack, "processing", who="t")
        move(session, stack, "held", who="t")
        stack.attempt += 1
        move(session, stack, "processing", who="t", code="released")
    Ticker(parts.db, parts.archive, parts.settler, parts.settings)._start_work()
    assert started == [(1, 2, True)]


def test_work_that_the_engine_lost_is_started_again(parts, started):
    """Its database may be an older copy, or gone; for what it still knows, starting is nothing."""
    parts.receive(Exam("beat").short_axis())
    parts.settle()
    with parts.db.write() as session:
        move(session, session.scalars(select(StackVersion)).one(), "processing", who="t")
    beat = Ticker(parts.db, parts.archive, parts.settler, parts.settings)
    beat._start_work()
    beat._start_work()
    assert started == [(1, 1, False)]


@pytest.mark.parametrize(("state", "kept"), [("not_processed", False), ("complete", True)])
def test_retention_takes_old_studies_with_nothing_left_to_do(parts, started, state, kept):
    exam = Exam("old")
    parts.receive(exam.short_axis())
    parts.settle()
    with parts.db.write() as session:
        study = session.get_one(Study, exam.study_uid)
        study.last_received_at = study.settled_at = time.time() - 2 * 86400
        stack = session.scalars(select(StackVersion)).one()
        if stack.state != state:
            move(session, stack, state, who="t")
    Ticker(parts.db, parts.archive, parts.settler, parts.settings)._hourly()
    with parts.db.read() as session:
        assert (session.get(Study, exam.study_uid) is not None) == kept
