"""Deleting a study: its objects, results and pictures go, a tombstone stays."""

import time

from sqlalchemy import delete, select, update

from contracts.errors import NotFound, NotYet
from serving import faults
from serving.archive import Archive
from serving.index.database import Database
from serving.index.models import (
    Delivery,
    History,
    Instance,
    Result,
    Sender,
    Series,
    StackVersion,
    Study,
    Tombstone,
)
from serving.pipeline import work


def remove_study(db: Database, archive: Archive, study_uid: str, *, who: str, why: str) -> int:
    """Delete a study and leave a tombstone; return how many objects went.

    The rows go first, in one transaction that writes down which files are left; then those. A crash in between leaves
    the list, and :func:`finish` goes on with it at the next start.
    Raises ``NotFound`` ``unknown_study``, and ``NotYet`` ``busy`` while a stack of it is being worked on.
    """
    with db.write() as session:
        if session.get(Study, study_uid) is None:
            raise NotFound("unknown_study", "There is no such study here.")
        stacks = session.scalars(select(StackVersion).where(StackVersion.study_uid == study_uid)).all()
        if any(stack.state == "processing" for stack in stacks):
            raise NotYet("busy", "A stack of this study is being processed: try again in a minute.")
        ids = [stack.id for stack in stacks]
        keys = list(session.scalars(select(Instance.key).where(Instance.study_uid == study_uid)))
        left = {"archive": keys, "stacks": [str(stack_id) for stack_id in ids]}
        for table in (Delivery, History, Result):
            session.execute(delete(table).where(table.stack_version_id.in_(ids)))
        for owned in (StackVersion, Instance, Sender, Series):
            session.execute(delete(owned).where(owned.study_uid == study_uid))
        session.execute(delete(Study).where(Study.study_uid == study_uid))
        session.merge(
            Tombstone(study_uid=study_uid, at=time.time(), who=who, why=why[:200], instances=len(keys), left=left)
        )
    faults.point("delete:inside")
    _remove_files(db, archive, study_uid, left)
    return len(keys)


def finish(db: Database, archive: Archive) -> None:
    """Remove the files of deletions that a crash interrupted; call it at start, before the archive is swept."""
    with db.read() as session:
        stones = [(stone.study_uid, stone.left) for stone in session.scalars(select(Tombstone)) if stone.left]
    for study_uid, left in stones:
        _remove_files(db, archive, study_uid, left)


def _remove_files(db: Database, archive: Archive, study_uid: str, left: dict[str, list[str]]) -> None:
    archive.remove(left["archive"])
    for stack_id in left["stacks"]:
        work.remove(archive.home, int(stack_id))
    with db.write() as session:
        session.execute(update(Tombstone).where(Tombstone.study_uid == study_uid).values(left={}))
