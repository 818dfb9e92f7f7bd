"""Deleting a study: its objects, results and pictures go, a tombstone stays."""

import time
from pathlib import Path

from sqlalchemy import delete, select

from contracts.errors import NotFound, NotYet
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


def remove_study(db: Database, home: Path, study_uid: str, *, who: str, why: str) -> int:
    """Delete a study and leave a tombstone; return how many objects went.

    The rows go first, in one transaction: a crash between rows and files leaves orphans, which the next start sweeps.
    Raises ``NotFound`` ``unknown_study``, and ``NotYet`` ``busy`` while a stack of it is being worked on.
    """
    with db.write() as session:
        study = session.get(Study, study_uid)
        if study is None or study.deleted_at:
            raise NotFound("unknown_study", "There is no such study here.")
        stacks = session.scalars(select(StackVersion).where(StackVersion.study_uid == study_uid)).all()
        if any(stack.state == "processing" for stack in stacks):
            raise NotYet("busy", "A stack of this study is being processed: try again in a minute.")
        ids = [stack.id for stack in stacks]
        keys = list(session.scalars(select(Instance.key).where(Instance.study_uid == study_uid)))
        for table in (Delivery, History, Result):
            session.execute(delete(table).where(table.stack_version_id.in_(ids)))
        for owned in (StackVersion, Instance, Sender, Series):
            session.execute(delete(owned).where(owned.study_uid == study_uid))
        session.execute(delete(Study).where(Study.study_uid == study_uid))
        session.merge(Tombstone(study_uid=study_uid, at=time.time(), who=who, why=why, instances=len(keys)))
    archive = Archive(home)
    for key in keys:
        archive.path(key).unlink(missing_ok=True)
    for stack_id in ids:
        work.remove(home, stack_id)
    return len(keys)
