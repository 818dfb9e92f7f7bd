"""What people and scripts may do to a study: complete, retry, release, dismiss. One function each."""

import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contracts.errors import NotFound, Refused
from contracts.stacks import Stack, stacks_of
from serving.deliver import retry_now
from serving.index.database import Database
from serving.index.models import Instance, StackVersion, Study
from serving.pipeline.settle import admit, described
from serving.pipeline.states import move
from serving.routing import Rule

RETRIED = ("refused", "failed", "not_processed")


def declare_complete(db: Database, study_uid: str) -> None:
    """End the quiet period of a study; associations and requests that carry it are still awaited.

    Raises ``NotFound`` ``unknown_study``.
    """
    with db.write() as session:
        study = _study(session, study_uid)
        study.declared_at = max(time.time(), study.last_received_at)


def retry(db: Database, study_uid: str, rules: tuple[Rule, ...], *, who: str) -> int:
    """Run again what was refused, failed or not processed, and try waiting deliveries now; return how many stacks.

    Raises ``NotFound`` ``unknown_study``.
    """
    with db.write() as session:
        _study(session, study_uid)
        stacks = session.scalars(
            select(StackVersion).where(
                StackVersion.study_uid == study_uid, StackVersion.current, StackVersion.state.in_(RETRIED)
            )
        ).all()
        formed = {stack.digest: stack for stack in stacks_of(described(session, study_uid))} if stacks else {}
        count = sum(_again(session, stack, formed.get(stack.digest), rules, who) for stack in stacks)
        retry_now(session, study_uid)
    return count


def release(db: Database, stack_id: int, reason: str, *, who: str) -> None:
    """Let a held result go out. Raises ``Refused`` where the stack is not held or has nothing to send."""
    with db.write() as session:
        stack = _held(session, stack_id)
        if stack.code == "nothing_found":
            raise Refused(
                "nothing_to_release", "No structure was found, so there is nothing to send: dismiss the stack."
            )
        stack.attempt += 1
        move(session, stack, "processing", who=who, reason=reason or "released", code="released")


def dismiss(db: Database, stack_id: int, reason: str, *, who: str) -> None:
    """Set a held result aside for good. Raises ``Refused`` where the stack is not held."""
    with db.write() as session:
        move(session, _held(session, stack_id), "dismissed", who=who, reason=reason or "dismissed", code="dismissed")


def _again(session: Session, version: StackVersion, stack: Stack | None, rules: tuple[Rule, ...], who: str) -> bool:
    """Admit a stack again under the rules of today; return whether there is work to do.

    One whose instances have changed since (None) is left to the version that is about to take its place.
    """
    if stack is None:
        return False
    version.attempt += 1
    admit(session, version, stack, rules, who=who)
    return version.state == "complete"


def _study(session: Session, study_uid: str) -> Study:
    study = session.get(Study, study_uid)
    known = session.scalar(select(func.count()).select_from(Instance).where(Instance.study_uid == study_uid))
    if study is None or not known:
        raise NotFound("unknown_study", "There is no such study here.")
    return study


def _held(session: Session, stack_id: int) -> StackVersion:
    stack = session.get(StackVersion, stack_id)
    if stack is None or stack.state != "held":
        raise Refused("not_held", "This stack is not held, so there is nothing to decide.")
    if not stack.current:
        raise Refused("superseded", "A later version of this stack took its place: decide about that one.")
    return stack
