"""The rows of deliveries: offered once, due when their stored time has come, withdrawn when superseded."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Update, func, select, update
from sqlalchemy.orm import Session

from serving.deliver.destinations import Destination, configured
from serving.index.models import Delivery, Result, Sender, StackVersion
from serving.pipeline.states import move
from serving.settings import Settings

OPEN = ("waiting", "rejected", "sending")
"""States of a delivery that is not over."""
PER_DESTINATION = 4
"""Deliveries to one destination at a time: one that swallows connections must not take every thread."""


@dataclass(frozen=True)
class Queue:
    """What stands before one destination. Times are UTC seconds, 0 where there is none."""

    destination: str
    address: str
    waiting: int
    rejected: int
    delivered: int
    oldest_at: float
    next_at: float
    last_answer: str


def sources_of(session: Session, stack: StackVersion) -> frozenset[str]:
    """Every source that sent an instance of this stack: ``ae:TITLE``, ``token:NAME`` or ``local``."""
    wanted = set(stack.instance_uids)
    senders = session.execute(select(Sender.sop_uid, Sender.source).where(Sender.study_uid == stack.study_uid))
    return frozenset(source for sop_uid, source in senders if sop_uid in wanted)


def offer(session: Session, stack: StackVersion, settings: Settings) -> int:
    """Queue a stack's results for the destinations of its senders; return how many deliveries are outstanding.

    A pair of result and destination is queued once, however often this is called.
    """
    mine = select(Result).where(Result.stack_version_id == stack.id)
    results = session.scalars(mine.order_by(Result.kind, Result.phase)).all()  # a report after what it points at
    places = configured(settings.destinations)
    enqueue(session, stack, results, sources_of(session, stack), places, time.time())
    return outstanding(session, stack.id)


def offer_again(session: Session, stack: StackVersion, settings: Settings) -> int:
    """Queue an answered stack for a sender that sent the same instances later; return how many are outstanding.

    Stacks that were not offered yet stay as they are: their own offer sees every sender.
    """
    if stack.state not in {"delivering", "done"}:
        return 0
    waiting = offer(session, stack, settings)
    if waiting and stack.state == "done":
        move(session, stack, "delivering", who="segloop", reason=f"{waiting} to deliver: another sender's destinations")
    return waiting


def enqueue(
    session: Session,
    stack: StackVersion,
    results: Sequence[Result],
    sources: Iterable[str],
    destinations: Sequence[Destination],
    now: float,
) -> int:
    """Add the deliveries that are missing and return how many.

    Destinations with ``phases = "ed-es"`` get the SEGs of the end-diastolic and end-systolic phase of the stack's
    measurements, and all of them where the stack has no such phases. Every destination gets what is not of one phase.
    """
    sources = frozenset(sources)
    known = set(
        session.execute(
            select(Delivery.sop_uid, Delivery.destination).where(Delivery.sop_uid.in_([r.sop_uid for r in results]))
        )
    )
    count = 0
    for place in destinations:
        chosen = _chosen(stack, results, place) if place.takes(sources) else []
        for result in chosen:
            if (result.sop_uid, place.name) not in known:
                session.add(
                    Delivery(
                        stack_version_id=stack.id,
                        sop_uid=result.sop_uid,
                        destination=place.name,
                        state="waiting",
                        attempts=0,
                        next_at=now,
                        changed_at=now,
                    )
                )
                count += 1
    session.flush()
    return count


def _chosen(stack: StackVersion, results: Sequence[Result], place: Destination) -> list[Result]:
    measurements = stack.findings.get("measurements")
    measured = measurements if isinstance(measurements, dict) else {}
    wanted = {measured.get("ed_phase"), measured.get("es_phase")} - {None}
    if place.phases == "all" or not wanted:
        return list(results)
    return [result for result in results if result.kind != "seg" or result.phase in wanted]


def withdraw(session: Session, stack_version_id: int) -> int:
    """Take back what was not delivered yet, because its stack was superseded or deleted; return how many."""
    change = update(Delivery).where(Delivery.stack_version_id == stack_version_id, Delivery.state.in_(OPEN))
    return _changed(session, change.values(state="withdrawn", changed_at=time.time()))


def outstanding(session: Session, stack_version_id: int) -> int:
    """Count the deliveries of a stack version that are not over; rejected ones are not over."""
    query = select(func.count()).where(Delivery.stack_version_id == stack_version_id, Delivery.state.in_(OPEN))
    return session.scalar(query) or 0


def due(session: Session, now: float, limit: int = 16) -> list[Delivery]:
    """Deliveries to try now, the longest due first, at most ``PER_DESTINATION`` of each destination.

    A try that a crash left behind (``sending``) comes back when its lease, stored in ``next_at``, is over.
    """
    busy = dict(
        session.execute(
            select(Delivery.destination, func.count())
            .where(Delivery.state == "sending", Delivery.next_at > now)
            .group_by(Delivery.destination)
        ).all()
    )
    rank = func.row_number().over(partition_by=Delivery.destination, order_by=(Delivery.next_at, Delivery.id))
    ranked = select(Delivery.id, rank.label("rank")).where(Delivery.state.in_(OPEN), Delivery.next_at <= now).subquery()
    query = (
        select(Delivery, ranked.c.rank)
        .join(ranked, ranked.c.id == Delivery.id)
        .where(ranked.c.rank <= PER_DESTINATION)
        .order_by(Delivery.next_at, Delivery.id)
    )
    rows = session.execute(query)
    return [row for row, rank in rows if rank + busy.get(row.destination, 0) <= PER_DESTINATION][:limit]


def retry_now(session: Session, study_uid: str | None = None) -> int:
    """Make waiting and rejected deliveries of one study (``None``: of all) due at once; return how many."""
    change = update(Delivery).where(Delivery.state.in_(("waiting", "rejected")))
    if study_uid is not None:
        stacks = select(StackVersion.id).where(StackVersion.study_uid == study_uid)
        change = change.where(Delivery.stack_version_id.in_(stacks))
    return _changed(session, change.values(next_at=time.time()))


def postpone(session: Session, destination: str, until: float) -> int:
    """Let nothing that waits for a destination which does not answer be tried before ``until``."""
    change = update(Delivery).where(
        Delivery.destination == destination, Delivery.state == "waiting", Delivery.next_at < until
    )
    return _changed(session, change.values(next_at=until))


def hasten(session: Session, destination: str, now: float) -> int:
    """A destination took something: what waits for it is due now. An outage drains in minutes, whatever its length."""
    change = update(Delivery).where(
        Delivery.destination == destination, Delivery.state == "waiting", Delivery.next_at > now
    )
    return _changed(session, change.values(next_at=now))


def _changed(session: Session, change: Update) -> int:
    session.flush()
    return len(session.scalars(change.returning(Delivery.id)).all())


def queues(session: Session, destinations: Sequence[Destination]) -> list[Queue]:
    """Summarise each destination's queue, for pages and metrics; rows of unknown destinations come last."""
    counts: dict[str, dict[str, int]] = {}
    for name, state, count in session.execute(
        select(Delivery.destination, Delivery.state, func.count()).group_by(Delivery.destination, Delivery.state)
    ):
        counts.setdefault(name, {})[state] = count
    open_rows = (
        select(Delivery.destination, func.min(Delivery.id), func.min(Delivery.next_at))
        .where(Delivery.state.in_(OPEN))
        .group_by(Delivery.destination)
    )
    first = {name: (first_id, next_at) for name, first_id, next_at in session.execute(open_rows)}
    addresses = {place.name: place.address for place in destinations}
    names = [*addresses, *sorted(counts.keys() - addresses.keys())]
    return [_queue(session, name, addresses.get(name, ""), counts.get(name, {}), first.get(name)) for name in names]


def _queue(session: Session, name: str, address: str, count: dict[str, int], first: tuple[int, float] | None) -> Queue:
    oldest = session.get(Delivery, first[0]) if first else None
    offered = session.get(Result, oldest.sop_uid) if oldest else None
    last = session.scalar(
        select(Delivery.last_answer)
        .where(Delivery.destination == name, Delivery.last_answer != "")
        .order_by(Delivery.changed_at.desc())
        .limit(1)
    )
    return Queue(
        destination=name,
        address=address,
        waiting=count.get("waiting", 0) + count.get("sending", 0),
        rejected=count.get("rejected", 0),
        delivered=count.get("delivered", 0),
        oldest_at=offered.created_at if offered else 0.0,
        next_at=first[1] if first else 0.0,
        last_answer=last or "",
    )
