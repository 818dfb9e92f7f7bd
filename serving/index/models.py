"""Tables of the index (SQLAlchemy 2). Times are UTC seconds since 1970, as floats: compared, never parsed.

An instance's row is written after its bytes are safe on disk, so a row never points at nothing; a file without a row
is what a crash left and is swept at start.

Workflows are named after the ids of stack versions and deliveries, so these ids are never given twice, not even after a
deletion (SQLite would otherwise do so).
"""

from sqlalchemy import JSON, Boolean, Float, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Parent of all tables."""


class Study(Base):
    """One DICOM study. ``settled_at`` is the arrival up to which its stacks have been formed."""

    __tablename__ = "study"

    study_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    first_received_at: Mapped[float] = mapped_column(Float)
    last_received_at: Mapped[float] = mapped_column(Float, index=True)
    settled_at: Mapped[float] = mapped_column(Float, default=0.0)
    declared_at: Mapped[float] = mapped_column(Float, default=0.0)
    attributes: Mapped[dict[str, object]] = mapped_column(JSON)
    """Study and patient level attributes of the first instance as DICOM JSON (PS3.18 Annex F)."""


class Series(Base):
    """One series of a study; ``attributes`` as DICOM JSON. ``kind`` is ``source`` or ``result``."""

    __tablename__ = "series"

    series_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), default="source")
    attributes: Mapped[dict[str, object]] = mapped_column(JSON)


class Instance(Base):
    """One kept object.

    ``kind``: ``source`` (counts), ``result`` (made here), ``returned`` (a result of ours that came back),
    ``replaced`` (an older revision), ``aside`` (other pixels or geometry under a known UID: refused, kept).
    ``description`` is ``contracts.stacks.Instance`` as JSON. ``key`` names the file in the archive.
    """

    __tablename__ = "instance"
    __table_args__ = (
        Index("instance_of_series", "study_uid", "series_uid"),
        Index(
            "one_current_instance",
            "study_uid",
            "sop_uid",
            unique=True,
            sqlite_where=text("kind in ('source', 'result')"),
            postgresql_where=text("kind in ('source', 'result')"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    sop_uid: Mapped[str] = mapped_column(String(64), index=True)
    series_uid: Mapped[str] = mapped_column(String(64))
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"))
    sop_class_uid: Mapped[str] = mapped_column(String(64))
    transfer_syntax_uid: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(32), unique=True)
    size: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16), default="source")
    revision: Mapped[int] = mapped_column(Integer, default=1)
    received_at: Mapped[float] = mapped_column(Float)
    attributes: Mapped[dict[str, object]] = mapped_column(JSON)
    """Instance level attributes for QIDO-RS, as DICOM JSON."""
    description: Mapped[dict[str, object]] = mapped_column(JSON)
    fingerprint: Mapped[str] = mapped_column(String(64), default="")
    """Digest of attributes and decoded pixels; filled for what is not current, so that each is kept once."""


class Sender(Base):
    """Which source sent which instance: ``ae:TITLE``, ``token:NAME`` or ``local``."""

    __tablename__ = "sender"

    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), primary_key=True)
    sop_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str] = mapped_column(String(80), primary_key=True)


class StackVersion(Base):
    """One version of one input stack: the unit of work.

    ``key`` names the stack within its study and stays when instances come later; ``digest`` covers its instances and
    their revisions; ``completeness`` is the record from which times and UIDs of the results derive.
    """

    __tablename__ = "stack_version"
    __table_args__ = (UniqueConstraint("study_uid", "key", "version"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    study_uid: Mapped[str] = mapped_column(ForeignKey("study.study_uid"), index=True)
    key: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(Integer)
    current: Mapped[bool] = mapped_column(Boolean, default=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    task: Mapped[str] = mapped_column(String(16), default="")
    rule: Mapped[str] = mapped_column(String(80), default="")
    code: Mapped[str] = mapped_column(String(48), default="")
    reason: Mapped[str] = mapped_column(String(500), default="")
    series_uids: Mapped[list[str]] = mapped_column(JSON)
    instance_uids: Mapped[list[str]] = mapped_column(JSON)
    digest: Mapped[str] = mapped_column(String(64))
    completeness: Mapped[dict[str, object]] = mapped_column(JSON)
    attempt: Mapped[int] = mapped_column(Integer, default=1)
    model: Mapped[dict[str, object]] = mapped_column(JSON, default=dict)
    """Name, version, variant and digest of the model, once it is chosen."""
    findings: Mapped[dict[str, object]] = mapped_column(JSON, default=dict)
    """Warnings, measurements, phases chosen for delivery, seconds of each step."""
    created_at: Mapped[float] = mapped_column(Float)
    changed_at: Mapped[float] = mapped_column(Float)


class History(Base):
    """Append-only: every change of state of a stack version, and every step it went through."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    stack_version_id: Mapped[int] = mapped_column(ForeignKey("stack_version.id"), index=True)
    at: Mapped[float] = mapped_column(Float)
    who: Mapped[str] = mapped_column(String(80))
    event: Mapped[str] = mapped_column(String(32))
    """``state`` or the name of a step: read, predict, write, offer, deliver."""
    before: Mapped[str] = mapped_column(String(16), default="")
    after: Mapped[str] = mapped_column(String(16), default="")
    reason: Mapped[str] = mapped_column(String(500), default="")
    seconds: Mapped[float] = mapped_column(Float, default=0.0)


class Result(Base):
    """One object made for a stack version. ``kind``: ``seg`` (``phase`` counts from 1) or ``sr`` (``phase`` 0: it is of
    several phases)."""

    __tablename__ = "result"

    sop_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    stack_version_id: Mapped[int] = mapped_column(ForeignKey("stack_version.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    phase: Mapped[int] = mapped_column(Integer)
    key: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[float] = mapped_column(Float)


class Delivery(Base):
    """One result for one destination: due at ``next_at``, tried ``attempts`` times.

    ``state``: ``waiting``, ``sending``, ``rejected`` (a permanent answer: tried again, slowly), ``delivered``,
    ``withdrawn`` (superseded or deleted before it was sent).
    """

    __tablename__ = "delivery"
    __table_args__ = (UniqueConstraint("sop_uid", "destination"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    stack_version_id: Mapped[int] = mapped_column(ForeignKey("stack_version.id"), index=True)
    sop_uid: Mapped[str] = mapped_column(String(64))
    destination: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[float] = mapped_column(Float, index=True)
    last_answer: Mapped[str] = mapped_column(String(300), default="")
    changed_at: Mapped[float] = mapped_column(Float)


class Webhook(Base):
    """One event to post to WEBHOOK_URL; kept until it was taken."""

    __tablename__ = "webhook"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[dict[str, object]] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_at: Mapped[float] = mapped_column(Float, index=True)


class Tombstone(Base):
    """What remains of a deleted study. ``left``: files that are still to be removed, empty once they are gone."""

    __tablename__ = "tombstone"

    study_uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[float] = mapped_column(Float)
    who: Mapped[str] = mapped_column(String(80))
    why: Mapped[str] = mapped_column(String(200))
    instances: Mapped[int] = mapped_column(Integer)
    left: Mapped[dict[str, list[str]]] = mapped_column(JSON, default=dict)
    """``archive``: keys of objects; ``stacks``: ids of stack versions with folders of their own."""
