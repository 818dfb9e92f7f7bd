"""When a study counts as complete, and what becomes of its stacks then.

A study settles when nothing has arrived for the quiet period (or someone declared it complete) and no association or
request that carries it is open. Settling compares its stacks with the versions known: a stack that is new or has
changed gets a new version, an unchanged one runs nothing again.
"""

import json
import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.errors import NotYet
from contracts.stacks import Instance as Described
from contracts.stacks import Stack, from_json, stacks_of
from serving import faults
from serving.deliver import offer_again, withdraw
from serving.index.database import Database
from serving.index.models import Instance, StackVersion, Study
from serving.logs import log
from serving.pipeline.states import move
from serving.receive.activity import Activity
from serving.routing import Rule, route
from serving.settings import Settings

PUT_OFF_S = 60.0
"""A study that could not be settled is tried again after this long."""


def due(session: Session, now: float, quiet_period_s: float) -> list[str]:
    """Return the studies with unsettled instances whose wait is over."""
    waiting = session.scalars(select(Study).where(Study.last_received_at > Study.settled_at))
    return [
        study.study_uid
        for study in waiting
        if study.declared_at >= study.last_received_at or now - study.last_received_at >= quiet_period_s
    ]


class Settler:
    """Turns complete studies into stack versions."""

    def __init__(self, db: Database, activity: Activity, rules: tuple[Rule, ...], settings: Settings) -> None:
        """``rules`` map stacks to tasks."""
        self._db, self._activity, self._rules, self._settings = db, activity, rules, settings
        self._put_off: dict[str, float] = {}

    def settle_due(self) -> int:
        """Settle every study whose wait is over; return how many. One that breaks is put off and holds up no other."""
        now = time.time()
        with self._db.read() as session:
            ready = due(session, now, self._settings.quiet_period_s)
        open_studies = self._activity.open_studies() if ready else set()
        settled = 0
        for study_uid in ready:
            if study_uid not in open_studies and self._put_off.get(study_uid, 0.0) <= now:
                faults.point("quiet:inside")
                settled += self._try_to_settle(study_uid)
                faults.point("quiet:after")
        return settled

    def _try_to_settle(self, study_uid: str) -> bool:
        try:
            settled = self._settle(study_uid)
        except Exception as error:
            log.exception("settle_failed", kind=type(error).__name__)
            self._put_off[study_uid] = time.time() + PUT_OFF_S
            return False
        self._put_off.pop(study_uid, None)
        return settled

    def _settle(self, study_uid: str) -> bool:
        with self._db.write() as session:
            study = session.get_one(Study, study_uid)
            if study_uid in self._activity.open_studies() or study.last_received_at <= study.settled_at:
                return False
            declared = study.declared_at >= study.last_received_at
            record = {
                "at": round(time.time(), 3),
                "why": "declared" if declared else f"nothing for {self._settings.quiet_period_s:g} s",
            }
            stacks = stacks_of(described(session, study_uid))
            for stack in stacks:
                self._version(session, stack, record)
            _retire(session, study_uid, {stack.key for stack in stacks})
            study.settled_at = study.last_received_at
        return True

    def _version(self, session: Session, stack: Stack, record: dict[str, object]) -> None:
        latest = session.scalar(
            select(StackVersion)
            .where(StackVersion.study_uid == stack.study_uid, StackVersion.key == stack.key)
            .order_by(StackVersion.version.desc())
            .limit(1)
        )
        if latest is not None and latest.current and latest.digest == stack.digest and latest.code != "superseded":
            offer_again(session, latest, self._settings)
            return
        if latest is not None:
            latest.current = False
            withdraw(session, latest.id)
        version = new_version(stack, record, 1 if latest is None else latest.version + 1)
        session.add(version)
        session.flush()
        admit(session, version, stack, self._rules, who="segloop")


def _retire(session: Session, study_uid: str, keys: set[str]) -> None:
    """Take back versions of stacks that are no more: later instances of theirs joined them to another stack."""
    current = session.scalars(select(StackVersion).where(StackVersion.study_uid == study_uid, StackVersion.current))
    for version in current:
        if version.key not in keys:
            version.current = False
            withdraw(session, version.id)


def new_version(stack: Stack, record: dict[str, object], number: int) -> StackVersion:
    """Return the row of version ``number`` of a stack; ``record`` says when and why its study counted as complete."""
    now = time.time()
    return StackVersion(
        study_uid=stack.study_uid,
        key=stack.key,
        version=number,
        state="",
        series_uids=list(stack.series_uids),
        instance_uids=[instance.sop_uid for instance in stack.instances],
        digest=stack.digest,
        completeness={**record, "instances": len(stack.instances)},
        model={},
        findings={},
        created_at=now,
        changed_at=now,
    )


def admit(session: Session, version: StackVersion, stack: Stack, rules: tuple[Rule, ...], *, who: str) -> None:
    """Decide by the rules what a stack is: work to do, nothing for us, or refused."""
    routed = route(stack, rules)
    if routed.rule is None:
        move(session, version, "not_processed", who=who, reason=routed.reason, code=routed.code)
        return
    version.task, version.rule = routed.rule.task.value, routed.rule.name
    if stack.problem is not None:
        code, sentence = stack.problem
        move(session, version, "refused", who=who, reason=sentence, code=code)
        return
    move(session, version, "complete", who=who, reason=str(version.completeness["why"]))


def stack_of(session: Session, version: StackVersion) -> Stack:
    """Return the stack of a version: exactly its instances, in their current revisions.

    Which parts belong together also depends on the rest of the study, so that is asked first; what came since then is
    left out where it would join the stack.

    Raises ``NotYet`` ``superseded`` when they are no longer what the version was made of; its successor is on its way.
    """
    everything, members = described(session, version.study_uid), set(version.instance_uids)
    for instances in (everything, [found for found in everything if found.sop_uid in members]):
        for stack in stacks_of(instances):
            if stack.digest == version.digest:
                return stack
    raise NotYet("superseded", "The instances of this stack have changed since; a later version takes its place.")


def described(session: Session, study_uid: str) -> list[Described]:
    """Return the source instances of a study in order of their first arrival.

    A revision takes over the row of what it replaces (``index.receipts.add_revision``), and so its stack keeps the key.
    """
    rows = session.scalars(
        select(Instance).where(Instance.study_uid == study_uid, Instance.kind == "source").order_by(Instance.id)
    )
    return [from_json({**row.description, "revision": row.revision}) for row in rows]


def record_text(version: StackVersion) -> str:
    """Return the record of completeness as canonical JSON, from which identifiers derive."""
    return json.dumps(version.completeness, sort_keys=True, separators=(",", ":"))
