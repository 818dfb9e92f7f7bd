"""Rows of the index for what arrives: new instances, revisions, copies kept aside, senders, results.

What every new instance goes through is written as statements on tables, made once: as mapped objects the same rows
cost three times the processor.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from pydicom.dataset import Dataset
from sqlalchemy import Connection, Table, bindparam, case, exists, insert, literal, or_, select, update
from sqlalchemy.orm import Session

from serving.archive import Incoming
from serving.index.models import Instance, Result, Sender, Series, Study
from serving.index.records import SERIES, STUDY, attributes


@dataclass
class Arrival:
    """An object between receipt and index; ``key`` names it in the archive, ``header`` is all but its pixels."""

    incoming: Incoming
    key: str
    source: str
    at: float
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int
    header: Dataset
    instance: dict[str, object]
    description: dict[str, object]

    @property
    def study(self) -> dict[str, object]:
        """Attributes of the study as DICOM JSON."""
        return attributes(self.header, STUDY)

    @property
    def series(self) -> dict[str, object]:
        """Attributes of the series as DICOM JSON."""
        return attributes(self.header, SERIES)


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


CURRENT = ("source", "result")

_INSTANCE, _SERIES, _SENDER, _STUDY = (cast(Table, made.__table__).c for made in (Instance, Series, Sender, Study))
_FIND_CURRENT = select(*(_INSTANCE[name] for name in ("id", "key", "kind", "revision", "study_uid"))).where(
    _INSTANCE.sop_uid == bindparam("sop_uid"), or_(*(_INSTANCE.kind == kind for kind in CURRENT))
)
_FIND_STUDY = select(literal(1)).where(_STUDY.study_uid == bindparam("study_uid"))
_FIND_SERIES = select(literal(1)).where(
    _SERIES.series_uid == bindparam("series_uid"), _SERIES.study_uid == bindparam("study_uid")
)
_ADD_INSTANCES = insert(cast(Table, Instance.__table__))
_SENDER_NAMES = ("study_uid", "sop_uid", "source")
_NEW_SENDER = {name: bindparam(f"new_{name}", type_=_SENDER[name].type) for name in _SENDER_NAMES}
_ADD_SENDERS = insert(cast(Table, Sender.__table__)).from_select(
    _SENDER_NAMES,
    select(*_NEW_SENDER.values()).where(~exists().where(*(_SENDER[name] == new for name, new in _NEW_SENDER.items()))),
)
_SETTLED = _STUDY.settled_at + 0.001
_LATEST = case((_STUDY.last_received_at > _SETTLED, _STUDY.last_received_at), else_=_SETTLED)
_NOW = bindparam("now", type_=_STUDY.last_received_at.type)
_TOUCH = (
    update(cast(Table, Study.__table__))
    .where(_STUDY.study_uid == bindparam("of_study"))
    .values(last_received_at=case((_NOW > _LATEST, _NOW), else_=_LATEST))
)


def current(connection: Connection, study_uid: str, sop_uid: str) -> Known | None:
    """Return the current instance of that UID in the study, or the result of ours that has the UID in any study."""
    rows = connection.execute(_FIND_CURRENT, {"sop_uid": sop_uid}).all()
    ours = [row for row in rows if row.kind == "result"] or [row for row in rows if row.study_uid == study_uid]
    return Known(ours[0].id, ours[0].key, ours[0].kind, ours[0].revision, ours[0].study_uid, sop_uid) if ours else None


def is_named(session: Session, key: str) -> bool:
    """Whether any row names that file of the archive."""
    return session.scalar(select(literal(1)).where(Instance.key == key)) is not None


def add_new(connection: Connection, arrivals: Sequence[Arrival]) -> frozenset[str]:
    """Add those arrivals whose UID is not current, with study, series and sender; return their keys."""
    series: set[tuple[str, str]] = set()
    fresh: dict[tuple[str, str], Arrival] = {}
    for arrival in arrivals:
        identity = (arrival.study_uid, arrival.sop_uid)
        if identity in fresh or current(connection, *identity) is not None:
            continue
        fresh[identity] = arrival
        of_series = (arrival.study_uid, arrival.series_uid)
        if of_series not in series:
            series.add(of_series)
            _ensure_parents(connection, arrival, "source")
    if fresh:
        connection.execute(_ADD_INSTANCES, [_row(arrival, "source") for arrival in fresh.values()])
        senders = [{f"new_{name}": getattr(arrival, name) for name in _SENDER_NAMES} for arrival in fresh.values()]
        connection.execute(_ADD_SENDERS, senders)
        now = time.time()
        connection.execute(_TOUCH, [{"of_study": uid, "now": now} for uid in {uid for uid, _ in fresh}])
    return frozenset(arrival.key for arrival in fresh.values())


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
    connection = session.connection()
    _ensure_parents(connection, arrival, "source")
    _overwrite_parents(connection, arrival)
    _touch(session, arrival)
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
    known = current(session.connection(), arrival.study_uid, arrival.sop_uid)
    if known is not None:
        session.get_one(Instance, known.id).kind = "returned"
        session.flush()
    _ensure_parents(session.connection(), arrival, "result")
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
    return Instance(**_row(arrival, kind))


def _row(arrival: Arrival, kind: str) -> dict[str, object]:
    return {
        "sop_uid": arrival.sop_uid,
        "series_uid": arrival.series_uid,
        "study_uid": arrival.study_uid,
        "sop_class_uid": arrival.sop_class_uid,
        "transfer_syntax_uid": arrival.transfer_syntax_uid,
        "key": arrival.key,
        "size": arrival.size,
        "kind": kind,
        "received_at": arrival.at,
        "attributes": arrival.instance,
        "description": arrival.description,
    }


def _ensure_parents(connection: Connection, arrival: Arrival, kind: str) -> None:
    named = {"study_uid": arrival.study_uid, "series_uid": arrival.series_uid}
    if connection.execute(_FIND_SERIES, named).first() is not None:
        return
    if connection.execute(_FIND_STUDY, {"study_uid": arrival.study_uid}).first() is None:
        times = {"first_received_at": arrival.at, "last_received_at": arrival.at}
        connection.execute(insert(Study), {"study_uid": arrival.study_uid, **times, "attributes": arrival.study})
    connection.execute(insert(Series), {**named, "kind": kind, "attributes": arrival.series})


def _overwrite_parents(connection: Connection, arrival: Arrival) -> None:
    of_study = Study.study_uid == arrival.study_uid
    connection.execute(update(Study).where(of_study).values(attributes=arrival.study))
    of_series = (Series.study_uid == arrival.study_uid, Series.series_uid == arrival.series_uid)
    connection.execute(update(Series).where(*of_series).values(attributes=arrival.series))


def _touch(session: Session, arrival: Arrival) -> None:
    """Set the study to be settled (again): always later than its last settling, whatever the clock does."""
    session.connection().execute(_TOUCH, [{"of_study": arrival.study_uid, "now": time.time()}])
