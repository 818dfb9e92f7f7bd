"""The rows of deliveries: who gets what, once, and when."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from serving.deliver import due, offer, offer_again, outstanding, queues, retry_now, withdraw
from serving.deliver.destinations import StowDestination, configured
from serving.deliver.queue import PER_DESTINATION, enqueue, hasten, postpone, sources_of
from serving.index.database import Database
from serving.index.models import Base, Delivery, History, Result, Sender, StackVersion, Study
from serving.settings import Settings

TWO_SITES = """
[[destination]]
name = "north"
protocol = "stow"
url = "http://north"
sources = ["ae:NORTH"]

[[destination]]
name = "south"
protocol = "dimse"
ae_title = "SOUTH"
host = "south"
port = 104
sources = ["ae:SOUTH", "token:south"]
phases = "all"
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'index.sqlite'}")
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Settings:
    path = tmp_path / "destinations.toml"
    path.write_text(TWO_SITES)
    return Settings(home=tmp_path, destinations=path)


def add_stack(
    db: Database,
    study_uid: str,
    *,
    sources: tuple[str, ...],
    phases: int = 5,
    chosen: tuple[int, int] | None = (1, 3),
    state: str = "delivering",
) -> int:
    """Put a study with one answered stack of ``phases`` results into the index; return the stack's id."""
    with db.write() as session:
        session.add(Study(study_uid=study_uid, first_received_at=1, last_received_at=1, attributes={}))
        session.flush()
        for source in sources:
            session.add(Sender(study_uid=study_uid, sop_uid=f"{study_uid}.1", source=source))
        session.add(Sender(study_uid=study_uid, sop_uid=f"{study_uid}.99", source="ae:SENT_ANOTHER_SERIES"))
        measured = {"ed_phase": chosen[0], "es_phase": chosen[1]} if chosen else {}
        stack = StackVersion(
            study_uid=study_uid,
            key="k",
            version=1,
            state=state,
            series_uids=[],
            instance_uids=[f"{study_uid}.1"],
            digest="d",
            completeness={},
            findings={"measurements": measured},
            created_at=1,
            changed_at=1,
        )
        session.add(stack)
        session.flush()
        for phase in range(1, phases + 1):
            uid = f"{study_uid}.5.{phase}"
            session.add(
                Result(
                    sop_uid=uid, stack_version_id=stack.id, kind="seg", phase=phase, key=f"{phase:032x}", created_at=7
                )
            )
        return stack.id


def rows(db: Database) -> list[Delivery]:
    with db.read() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.id)))


def offered(db: Database, stack_id: int, gateway: Settings) -> int:
    with db.write() as session:
        return offer(session, session.get_one(StackVersion, stack_id), gateway)


def test_a_result_goes_only_to_the_destinations_of_its_senders(db: Database, gateway: Settings) -> None:
    north = add_stack(db, "1.1", sources=("ae:NORTH",))
    south = add_stack(db, "1.2", sources=("token:south",))
    stranger = add_stack(db, "1.3", sources=("local",))
    assert offered(db, north, gateway) == 2  # end diastole and end systole
    assert offered(db, south, gateway) == 5  # phases = "all"
    assert offered(db, stranger, gateway) == 0
    pairs = {(row.stack_version_id, row.destination) for row in rows(db)}
    assert pairs == {(north, "north"), (south, "south")}
    assert {row.sop_uid for row in rows(db) if row.destination == "north"} == {"1.1.5.1", "1.1.5.3"}


def test_several_senders_get_it_once_each_and_other_series_senders_do_not(db: Database, gateway: Settings) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH", "ae:SOUTH", "token:south"))
    with db.read() as session:
        found = sources_of(session, session.get_one(StackVersion, stack_id))
    assert found == {"ae:NORTH", "ae:SOUTH", "token:south"}
    assert offered(db, stack_id, gateway) == 7
    assert offered(db, stack_id, gateway) == 7
    assert len(rows(db)) == 7


def test_a_report_goes_everywhere_after_what_it_points_at(db: Database, gateway: Settings) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH", "token:south"))
    with db.write() as session:
        session.add(Result(sop_uid="1.1.6", stack_version_id=stack_id, kind="sr", phase=0, key="f" * 32, created_at=7))
    assert offered(db, stack_id, gateway) == 9
    for place, segs in (("north", [1, 3]), ("south", [1, 2, 3, 4, 5])):
        sent = [row.sop_uid for row in rows(db) if row.destination == place]
        assert sent == [*(f"1.1.5.{phase}" for phase in segs), "1.1.6"]


def test_without_chosen_phases_every_result_goes(db: Database, gateway: Settings) -> None:
    assert offered(db, add_stack(db, "1.1", sources=("ae:NORTH",), chosen=None), gateway) == 5


def test_one_phase_that_is_both_goes_once(db: Database, gateway: Settings) -> None:
    assert offered(db, add_stack(db, "1.1", sources=("ae:NORTH",), phases=1, chosen=(1, 1)), gateway) == 1


def test_a_sender_that_comes_later_reopens_a_finished_stack_for_its_destinations(
    db: Database, gateway: Settings
) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH",), state="done")
    with db.write() as session:
        stack = session.get_one(StackVersion, stack_id)
        offer(session, stack, gateway)
        for row in session.scalars(select(Delivery)):
            row.state = "delivered"
        assert offer_again(session, stack, gateway) == 0
        assert stack.state == "done"
        session.add(Sender(study_uid="1.1", sop_uid="1.1.1", source="ae:SOUTH"))
        session.flush()
        assert offer_again(session, stack, gateway) == 5
        assert stack.state == "delivering"
        assert session.scalars(select(History.after)).all() == ["delivering"]


@pytest.mark.parametrize("state", ["complete", "processing", "held", "refused", "dismissed"])
def test_nothing_is_offered_again_before_its_time(db: Database, gateway: Settings, state: str) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH",), state=state)
    with db.write() as session:
        assert offer_again(session, session.get_one(StackVersion, stack_id), gateway) == 0
    assert rows(db) == []


def test_what_was_superseded_is_withdrawn_and_what_was_delivered_stays(db: Database, gateway: Settings) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH",))
    offered(db, stack_id, gateway)
    with db.write() as session:
        session.get_one(Delivery, rows(db)[0].id).state = "delivered"
    with db.write() as session:
        assert outstanding(session, stack_id) == 1
        assert withdraw(session, stack_id) == 1
        assert outstanding(session, stack_id) == 0
        assert due(session, 1e12) == []
    assert [row.state for row in rows(db)] == ["delivered", "withdrawn"]


def test_due_is_fair_ordered_and_counts_what_is_being_sent(db: Database) -> None:
    stack_id = add_stack(db, "1.1", sources=("local",), phases=30)
    places = [
        StowDestination(name=name, protocol="stow", url="http://h", sources=("*",), phases="all") for name in ("a", "b")
    ]
    with db.write() as session:
        stack = session.get_one(StackVersion, stack_id)
        enqueue(session, stack, session.scalars(select(Result)).all(), ["local"], places[:1], 10.0)
        enqueue(session, stack, session.scalars(select(Result)).all(), ["local"], places[1:], 20.0)
        now = due(session, 25.0)
        assert [row.destination for row in now] == ["a"] * PER_DESTINATION + ["b"] * PER_DESTINATION
        assert len(due(session, 25.0, limit=3)) == 3
        assert [row.destination for row in due(session, 15.0)] == ["a"] * PER_DESTINATION
        assert due(session, 9.0) == []
        for row in now[:3]:
            row.state, row.next_at = "sending", 900.0
        session.flush()
        assert [row.destination for row in due(session, 25.0)].count("a") == PER_DESTINATION - 3
        for row in session.scalars(select(Delivery).where(Delivery.state == "waiting")):
            row.next_at = 1e9
        session.flush()
        assert due(session, 899.0) == []
        assert {row.id for row in due(session, 901.0)} == {row.id for row in now[:3]}  # their leases are over


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    states=st.lists(
        st.tuples(
            st.sampled_from(["waiting", "rejected", "sending", "delivered", "withdrawn"]),
            st.sampled_from(["a", "b", "c"]),
            st.floats(0, 100),
        ),
        max_size=30,
    ),
    now=st.floats(0, 100),
)
def test_due_gives_nothing_that_is_over_or_early_and_starves_no_destination(
    db: Database, states: list[tuple[str, str, float]], now: float
) -> None:
    with db.write() as session:
        for n, (state, place, next_at) in enumerate(states):
            session.add(
                Delivery(
                    stack_version_id=0, sop_uid=str(n), destination=place, state=state, next_at=next_at, changed_at=0
                )
            )
        session.connection().exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        session.flush()
        chosen = due(session, now, limit=100)
        ready = {p for s, p, at in states if s in ("waiting", "rejected", "sending") and at <= now}
        busy = {p for s, p, at in states if s == "sending" and at > now}
        assert all(row.next_at <= now and row.state in ("waiting", "rejected", "sending") for row in chosen)
        assert ready - busy <= {row.destination for row in chosen} <= ready
        assert all([row.destination for row in chosen].count(p) <= PER_DESTINATION for p in "abc")
        session.rollback()


def test_retry_moves_one_study_or_all_and_only_what_waits(db: Database, gateway: Settings) -> None:
    first, second = (add_stack(db, uid, sources=("ae:NORTH",)) for uid in ("1.1", "1.2"))
    offered(db, first, gateway)
    offered(db, second, gateway)
    with db.write() as session:
        for row, state in zip(
            session.scalars(select(Delivery)), ("waiting", "rejected", "sending", "delivered"), strict=True
        ):
            row.state, row.next_at = state, 1e12
    with db.write() as session:
        assert retry_now(session, "1.2") == 0
        assert retry_now(session, "1.1") == 2
        assert retry_now(session) == 2
    assert [row.next_at < 1e11 for row in rows(db)] == [True, True, False, False]


def test_a_silent_destination_is_left_alone_and_a_live_one_is_drained(db: Database, gateway: Settings) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH", "ae:SOUTH"))
    offered(db, stack_id, gateway)
    with db.write() as session:
        postpone(session, "north", 1e12)
        assert {row.next_at for row in session.scalars(select(Delivery)) if row.destination == "north"} == {1e12}
        assert all(row.next_at < 1e12 for row in session.scalars(select(Delivery)) if row.destination == "south")
        assert postpone(session, "north", 5.0) == 0  # never earlier
        assert hasten(session, "north", 7.0) == 2
        assert {row.next_at for row in session.scalars(select(Delivery)) if row.destination == "north"} == {7.0}


def test_queues_show_each_destination_and_what_it_said_last(db: Database, gateway: Settings) -> None:
    stack_id = add_stack(db, "1.1", sources=("ae:NORTH",))
    offered(db, stack_id, gateway)
    with db.write() as session:
        one, two = session.scalars(select(Delivery).order_by(Delivery.id))
        one.state, one.last_answer, one.changed_at = "rejected", "old", 1.0
        two.state, two.last_answer, two.changed_at = "delivered", "stored", 2.0
        session.add(
            Delivery(
                stack_version_id=stack_id, sop_uid="x", destination="gone", state="waiting", next_at=1, changed_at=0
            )
        )
        session.flush()
        north, south, gone = queues(session, configured(gateway.destinations))
    assert (north.waiting, north.rejected, north.delivered, north.last_answer) == (0, 1, 1, "stored")
    assert (north.oldest_at, north.address) == (7.0, "http://north")
    assert (south.waiting, south.oldest_at, south.next_at, south.last_answer) == (0, 0.0, 0.0, "")
    assert (gone.destination, gone.address, gone.waiting) == ("gone", "", 1)
