"""One try of a delivery: claim its row, send, write down what came of it and when to try again."""

import time
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from contracts.errors import NotFound
from serving import faults
from serving.archive import Archive
from serving.deliver import dimse, stow
from serving.deliver.answers import Answer, Verdict
from serving.deliver.destinations import Destination, StowDestination, configured
from serving.deliver.queue import hasten, outstanding, postpone
from serving.deliver.schedule import delay_s
from serving.index.database import Database
from serving.index.models import Delivery, History, Result, StackVersion
from serving.pipeline.states import move
from serving.settings import Settings

log = structlog.get_logger("deliver")
LEASE_S = 900.0
"""A try that has not reported by then died unnoticed; longer than all timeouts of a try together."""


@dataclass(frozen=True)
class EchoAnswer:
    """Whether a destination answers by its own protocol, in a sentence, and after how many seconds."""

    ok: bool
    sentence: str
    seconds: float


@dataclass(frozen=True)
class _Claim:
    key: str
    destination: str
    before: str
    attempts: int


def send(destination: Destination, archive: Archive, key: str, settings: Settings) -> Answer:
    """Send one archived object by the destination's protocol."""
    path = archive.path(key)
    if isinstance(destination, StowDestination):
        return stow.store(path, destination)
    return dimse.store(path, destination, settings)


def echo(destination: Destination, settings: Settings) -> EchoAnswer:
    """Ask a destination whether it is there: C-ECHO, or a QIDO-RS for one study. Nothing is stored."""
    start = time.monotonic()
    answer = stow.echo(destination) if isinstance(destination, StowDestination) else dimse.echo(destination, settings)
    sentence = f"{destination.name} ({destination.address}): {answer.sentence}."
    return EchoAnswer(answer.verdict is Verdict.DELIVERED, sentence, time.monotonic() - start)


def destination_named(settings: Settings, name: str) -> Destination:
    """Find a destination by its name. Raises ``NotFound`` with the names that exist."""
    places = {place.name: place for place in configured(settings.destinations)}
    if name not in places:
        known = ", ".join(sorted(places)) or "none: set SEGLOOP_DESTINATIONS"
        raise NotFound("unknown_destination", f"There is no destination of that name; there is {known}.")
    return places[name]


def attempt(db: Database, archive: Archive, settings: Settings, delivery_id: int, number: int) -> None:
    """Make try ``number`` (from 1) and write down its outcome; when it was the last of its stack, the stack is done.

    May be repeated after a crash at any point: what was claimed and not booked is sent again, which the receiver
    recognises by the SOP Instance UID; what was booked is not sent again. A try that was postponed after it was handed
    out is made all the same: its number is used up, and without an outcome nothing would ever follow it.
    """
    with db.write() as session:
        claim = _claim(session, delivery_id, number, time.time())
    if claim is None:
        return
    faults.point("deliver:claimed")
    start = time.monotonic()
    answer = _try(claim, archive, settings)
    faults.point("deliver:sent")
    with db.write() as session:
        _book(session, delivery_id, claim, answer, time.monotonic() - start)
    faults.point("deliver:booked")


def _claim(session: Session, delivery_id: int, number: int, now: float) -> _Claim | None:
    row = session.get(Delivery, delivery_id)
    if row is None or row.state in {"delivered", "withdrawn"} or row.attempts > number:
        return None
    if row.attempts == number and row.state != "sending":
        return None  # booked before a crash, and run again
    before = row.state
    row.state, row.attempts, row.next_at, row.changed_at = "sending", number, now + LEASE_S, now
    return _Claim(session.get_one(Result, row.sop_uid).key, row.destination, before, number)


def _try(claim: _Claim, archive: Archive, settings: Settings) -> Answer:
    try:
        return send(destination_named(settings, claim.destination), archive, claim.key, settings)
    except NotFound:
        return Answer(Verdict.PERMANENT, "this destination no longer stands in DESTINATIONS")
    except Exception as error:  # a delivery must never be lost for a defect of ours
        log.exception("delivery_broke", destination=claim.destination)
        return Answer(Verdict.TRANSIENT, f"our own failure: {type(error).__name__}, see the log")


def _book(session: Session, delivery_id: int, claim: _Claim, answer: Answer, seconds: float) -> None:
    row = session.get(Delivery, delivery_id)
    if row is None or row.state == "delivered":
        return
    now = time.time()
    _note(session, row, answer, now, seconds)
    row.last_answer, row.changed_at = answer.sentence[:300], now
    if answer.verdict is Verdict.DELIVERED:
        row.state, row.next_at = "delivered", now
        hasten(session, row.destination, now)
        _finish(session, row.stack_version_id)
    elif row.state != "withdrawn":
        rejected = answer.verdict is Verdict.PERMANENT
        news = rejected and claim.before == "waiting"  # an outage before it does not make a rejection wait longer
        row.state = "rejected" if rejected else "waiting"
        row.next_at = now + delay_s(1 if news else claim.attempts, answer.verdict)
        if answer.unreachable:
            postpone(session, row.destination, row.next_at)


def _note(session: Session, row: Delivery, answer: Answer, now: float, seconds: float) -> None:
    """Add a history line where the answer is new: an outage of days is one line, not thousands."""
    if answer.sentence[:300] == row.last_answer and answer.verdict is not Verdict.DELIVERED:
        return
    result = session.get_one(Result, row.sop_uid)
    what = f"phase {result.phase}" if result.phase else result.kind.upper()
    session.add(
        History(
            stack_version_id=row.stack_version_id,
            at=now,
            who="segloop",
            event="deliver",
            reason=f"{row.destination}, {what}, try {row.attempts}: {answer.sentence}"[:500],
            seconds=seconds,
        )
    )


def _finish(session: Session, stack_version_id: int) -> None:
    session.flush()
    stack = session.get_one(StackVersion, stack_version_id)
    if stack.state == "delivering" and not outstanding(session, stack_version_id):
        move(session, stack, "done", who="segloop", reason="Delivered to every destination of its senders.")
