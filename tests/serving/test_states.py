"""The transition table, and the one function that applies it."""

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from contracts.errors import Broken
from serving.index.models import Base, History, StackVersion, Webhook
from serving.pipeline.states import NEEDS_PERSON, TRANSITIONS, move, note_step


@pytest.fixture
def session():
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def stack_in(session: Session, state: str) -> StackVersion:
    stack = StackVersion(
        study_uid="1.2",
        key="k",
        version=1,
        state=state,
        series_uids=[],
        instance_uids=[],
        digest="d",
        completeness={},
        created_at=0.0,
        changed_at=0.0,
    )
    session.add(stack)
    session.flush()
    return stack


STATES = sorted({*TRANSITIONS} | {state for after in TRANSITIONS.values() for state in after})


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_pair_moves_exactly_when_the_table_has_it(session, before, after):
    stack = stack_in(session, before)
    if after in TRANSITIONS.get(before, ()):
        move(session, stack, after, who="test", reason="why", code="c")
        session.flush()
        row = session.query(History).one()
        assert (row.before, row.after, row.who, row.reason) == (before, after, "test", "why")
        assert (stack.state, stack.reason, stack.code) == (after, "why", "c")
        assert session.query(Webhook).count() == (after in NEEDS_PERSON)
    else:
        with pytest.raises(Broken):
            move(session, stack, after, who="test")
        assert stack.state == before


def test_every_state_but_the_first_can_be_reached():
    reached, frontier = set(), {""}
    while frontier:
        reached |= frontier
        frontier = {after for state in frontier for after in TRANSITIONS.get(state, ())} - reached
    assert reached == set(STATES)


def test_every_state_leads_to_a_final_one():
    for state in STATES:
        seen, frontier = set(), {state}
        while frontier - seen:
            seen |= frontier
            frontier = {after for found in frontier for after in TRANSITIONS.get(found, ())}
        assert seen & {"done", "not_processed", "refused", "failed", "dismissed"}


def test_a_long_reason_is_cut_not_refused(session):
    stack = stack_in(session, "complete")
    move(session, stack, "refused", who="test", reason="x" * 2000)
    session.flush()
    assert len(stack.reason) == 500


def test_a_step_is_noted_with_its_seconds(session):
    stack = stack_in(session, "processing")
    note_step(session, stack, "read", 1.25)
    session.flush()
    row = session.query(History).one()
    assert (row.event, row.seconds, row.before) == ("read", 1.25, "")
