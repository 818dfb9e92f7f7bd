"""Rows of the index for what arrives: new instances, revisions, copies kept aside, senders, results."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from serving.archive import Incoming
from serving.index.models import Instance, Result, Sender, Series, Study

CURRENT = ("source", "result")


@dataclass
class Arrival:
    """An object between receipt and index. ``key`` is empty until it stands in the archive.

    ``known``: its UID was there when it came.
    """

    incoming: Incoming
    source: str
    at: float
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int
    study: dict[str, object]
    series: dict[str, object]
    instance: dict[str, object]
    description: dict[str, object]
    key: str = ""
    known: bool = False


@dataclass(frozen=True)
class Known:
    """The current object under a UID."""

    id: int
    key: str
    kind: str
    revision: int
    study_uid: str
    sop_uid: str


def all_keys(session: Session) -> frozenset[str]:
    """Return the keys of all files that the index knows."""
    return frozenset(session.scalars(select(Instance.key)))


def current(session: Session, study_uid: str, sop_uid: str) -> Known | None:
    """Return the current instance of that UID in the study, or the result of ours that has the UID in any study."""
    rows = session.execute(
        select(Instance.id, Instance.key, Instance.kind, Instance.revision, Instance.study_uid).where(
            Instance.sop_uid == sop_uid, Instance.kind.in_(CURRENT)
        )
    ).all()
    ours = [row for row in rows if row.kind == "result"] or [row for row in rows if row.study_uid == study_uid]
    return Known(ours[0].id, ours[0].key, ours[0].kind, ours[0].revision, ours[0].study_uid, sop_uid) if ours else None


def add_new(session: Session, arrival: Arrival) -> bool:
    """Add a new instance with its study, series and sender; False where somebody was faster."""
    if current(session, arrival.study_uid, arrival.sop_uid) is not None:
        return False
    _ensure_parents(session, arrival, "source", touch=True)
    session.add(_instance(arrival, "source"))
    add_sender(session, arrival)
    return True


def add_sender(session: Session, arrival: Arrival) -> None:
    """Remember that this source sent the instance. A new source of a known instance sets its study to be settled."""
    identity = (arrival.study_uid, arrival.sop_uid, arrival.source)
    if session.get(Sender, identity) is None:
        session.add(Sender(study_uid=arrival.study_uid, sop_uid=arrival.sop_uid, source=arrival.source))
        _touch(session, arrival)


def add_revision(session: Session, arrival: Arrival, known: Known, fingerprint: str) -> None:
    """Put a new revision in the place of the known one; the old content goes on under a new row, ``replaced``,
    with its ``fingerprint``.

    The row of the instance keeps its id: order of arrival decides which series opens a stack, and a correction must
    not change it.
    """
    row = session.get_one(Instance, known.id)
    old = Instance(
        sop_uid=row.sop_uid,
        series_uid=row.series_uid,
        study_uid=row.study_uid,
        sop_class_uid=row.sop_class_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        key=row.key,
        size=row.size,
        kind="replaced",
        revision=row.revision,
        received_at=row.received_at,
        attributes=row.attributes,
        description=row.description,
        fingerprint=fingerprint,
    )
    _ensure_parents(session, arrival, "source", touch=True, overwrite=True)
    row.series_uid, row.sop_class_uid = arrival.series_uid, arrival.sop_class_uid
    row.transfer_syntax_uid, row.key, row.size = arrival.transfer_syntax_uid, arrival.key, arrival.size
    row.revision, row.received_at = known.revision + 1, arrival.at
    row.attributes, row.description = arrival.instance, {**arrival.description, "revision": known.revision + 1}
    session.flush()  # the key must be free before the old content takes it
    session.add(old)
    add_sender(session, arrival)


def has_copy(session: Session, known: Known, fingerprint: str) -> bool:
    """Whether this content is here already, as an older revision or as a copy kept aside."""
    found = select(Instance.id).where(
        Instance.study_uid == known.study_uid,
        Instance.sop_uid == known.sop_uid,
        Instance.kind.in_(("aside", "returned", "replaced")),
        Instance.fingerprint == fingerprint,
    )
    return session.scalar(found.limit(1)) is not None


def add_copy(session: Session, arrival: Arrival, known: Known, fingerprint: str) -> None:
    """Keep a copy aside: ``returned`` where the UID is of a result of ours, else ``aside``. It counts nowhere."""
    row = _instance(arrival, "returned" if known.kind == "result" else "aside")
    row.study_uid, row.fingerprint = known.study_uid, fingerprint
    session.add(row)


def result_key(session: Session, sop_uid: str) -> str | None:
    """Return the key of the result with that UID, if there is one."""
    return session.scalar(select(Result.key).where(Result.sop_uid == sop_uid))


def add_result(session: Session, arrival: Arrival, stack_version_id: int, phase: int, kind: str) -> None:
    """Add an object that we made. What came from outside under its UID before (after a deletion) steps aside."""
    known = current(session, arrival.study_uid, arrival.sop_uid)
    if known is not None:
        session.get_one(Instance, known.id).kind = "returned"
        session.flush()
    _ensure_parents(session, arrival, "result", touch=False)
    session.add(_instance(arrival, "result"))
    session.add(
        Result(
            sop_uid=arrival.sop_uid,
            stack_version_id=stack_version_id,
            kind=kind,
            phase=phase,
            key=arrival.key,
            created_at=arrival.at,
        )
    )


def drop_other_results(session: Session, stack_version_id: int, kept: Collection[str]) -> None:
    """Let only the results ``kept`` (SOP Instance UIDs) stand for a stack version.

    An attempt that failed half-way may have left some of another model; they were offered to nobody.
    """
    mine = select(Result).where(Result.stack_version_id == stack_version_id, Result.sop_uid.not_in(kept))
    for row in session.scalars(mine).all():
        session.execute(update(Instance).where(Instance.key == row.key).values(kind="replaced"))
        session.delete(row)


def _instance(arrival: Arrival, kind: str) -> Instance:
    return Instance(
        sop_uid=arrival.sop_uid,
        series_uid=arrival.series_uid,
        study_uid=arrival.study_uid,
        sop_class_uid=arrival.sop_class_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        key=arrival.key,
        size=arrival.size,
        kind=kind,
        received_at=arrival.at,
        attributes=arrival.instance,
        description=arrival.description,
    )


def _ensure_parents(session: Session, arrival: Arrival, kind: str, *, touch: bool, overwrite: bool = False) -> None:
    study = session.get(Study, arrival.study_uid)
    if study is None:
        study = Study(
            study_uid=arrival.study_uid,
            first_received_at=arrival.at,
            last_received_at=arrival.at,
            attributes=arrival.study,
        )
        session.add(study)
        session.flush()
    series = session.get(Series, (arrival.series_uid, arrival.study_uid))
    if series is None:
        session.add(
            Series(series_uid=arrival.series_uid, study_uid=arrival.study_uid, kind=kind, attributes=arrival.series)
        )
        session.flush()
    elif overwrite:
        series.attributes = arrival.series
    if overwrite:
        study.attributes = arrival.study
    if touch:
        _touch(session, arrival)


def _touch(session: Session, arrival: Arrival) -> None:
    """Set the study to be settled (again): always later than its last settling, whatever the clock does."""
    study = session.get_one(Study, arrival.study_uid)
    study.last_received_at = max(time.time(), study.last_received_at, study.settled_at + 0.001)
