"""One study with its stacks, results, history and deliveries. No patient data: a sender may read it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contracts import stacks
from serving.index.models import Delivery, History, Instance, Result, Sender, StackVersion, Study
from serving.pipeline.progress import Progress
from serving.views.states import ANSWERED, study_state

KEPT_ASIDE = ("aside", "returned", "replaced")
"""Kinds of instances that do not count: see :class:`serving.index.models.Instance`."""


def study_view(
    session: Session, study_uid: str, running: Mapping[int, Progress] | None = None
) -> dict[str, Any] | None:
    """Return one study with its current stacks as ``GET /api/studies/{uid}`` answers; None where there is none.

    ``running``: how far predictions have come, by stack id. ``kept_aside``: how many instances came that do not count,
    by kind.
    """
    study = session.get(Study, study_uid)
    if study is None:
        return None
    versions = list(
        session.scalars(
            select(StackVersion)
            .where(StackVersion.study_uid == study_uid, StackVersion.current)
            .order_by(StackVersion.created_at, StackVersion.id)
        )
    )
    return {
        "study_uid": study_uid,
        "state": study_state(study, (version.state for version in versions)),
        "stacks": [stack_view(session, version, (running or {}).get(version.id)) for version in versions],
        "ignored": _ignored(session, study_uid, versions),
        "kept_aside": _kept_aside(session, study_uid),
        "received": received(session, [study_uid])[study_uid],
        "first_received_at": study.first_received_at,
        "last_received_at": study.last_received_at,
        "sources": sorted(session.scalars(select(Sender.source).where(Sender.study_uid == study_uid).distinct())),
    }


def stack_view(session: Session, version: StackVersion, progress: Progress | None = None) -> dict[str, Any]:
    """Return one stack version with its results, history and deliveries."""
    findings, history = version.findings, histories(session, [version.id])[version.id]
    return {
        "id": version.id,
        "version": version.version,
        "series_uids": version.series_uids,
        "instances": len(version.instance_uids),
        "task": version.task,
        "rule": version.rule,
        "state": version.state,
        "code": version.code,
        "reason": version.reason,
        "attempt": version.attempt,
        "progress": asdict(progress) if progress else None,
        "warnings": findings.get("warnings", []),
        "measurements": findings.get("measurements", {}),
        "findings": {key: value for key, value in findings.items() if key not in ("warnings", "measurements")},
        "model": version.model,
        "results": _results(session, version),
        "history": history,
        "answered_s": answered_s(history),
        "deliveries": _deliveries(session, version.id),
        "created_at": version.created_at,
        "changed_at": version.changed_at,
    }


def histories(session: Session, stack_version_ids: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """Return the history of each of these stack versions, the oldest entry first."""
    rows = session.scalars(
        select(History).where(History.stack_version_id.in_(list(stack_version_ids))).order_by(History.id)
    )
    names = ("at", "who", "event", "before", "after", "reason", "seconds")
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row.stack_version_id].append({name: getattr(row, name) for name in names})
    return found


def answered_s(history: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds from the last time a stack was complete to its answer; None where it has none.

    The answer is the first state of ``ANSWERED`` after it: what deliveries and people take later does not count.
    """
    states = [step for step in history if step["event"] == "state"]
    begun = max((place for place, step in enumerate(states) if step["after"] == "complete"), default=None)
    if begun is None:
        return None
    answer = next((step for step in states[begun:] if step["after"] in ANSWERED), None)
    return max(0.0, answer["at"] - states[begun]["at"]) if answer else None


def received(session: Session, study_uids: Sequence[str], *, series: bool = False) -> dict[str, int]:
    """Return how many instances, or ``series``, of each study came that count."""
    counted = func.count(Instance.series_uid.distinct()) if series else func.count()
    rows = session.execute(
        select(Instance.study_uid, counted)
        .where(Instance.study_uid.in_(study_uids), Instance.kind == "source")
        .group_by(Instance.study_uid)
    )
    return {uid: 0 for uid in study_uids} | dict(rows.all())


def _kept_aside(session: Session, study_uid: str) -> dict[str, int]:
    rows = session.execute(
        select(Instance.kind, func.count())
        .where(Instance.study_uid == study_uid, Instance.kind.in_(KEPT_ASIDE))
        .group_by(Instance.kind)
    )
    return dict(rows.all())


def _ignored(session: Session, study_uid: str, versions: Sequence[StackVersion]) -> list[dict[str, str]]:
    """Series without images; those of the stacks need not be read for that."""
    in_stacks = {uid for version in versions for uid in version.series_uids}
    rest = session.scalars(
        select(Instance.description).where(
            Instance.study_uid == study_uid, Instance.kind == "source", Instance.series_uid.not_in(in_stacks)
        )
    )
    found = stacks.without_images([stacks.from_json(description) for description in rest])
    return [{"series_uid": series_uid, "reason": reason} for series_uid, reason in found]


def _results(session: Session, version: StackVersion) -> list[dict[str, Any]]:
    rows = session.execute(
        select(Result, Instance.series_uid)
        .outerjoin(Instance, (Instance.sop_uid == Result.sop_uid) & (Instance.kind == "result"))
        .where(Result.stack_version_id == version.id)
        .order_by(Result.kind, Result.phase)
    )
    return [
        {"sop_uid": result.sop_uid, "series_uid": series_uid or "", "phase": result.phase, "kind": result.kind}
        for result, series_uid in rows
    ]


def _deliveries(session: Session, stack_version_id: int) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(Delivery)
        .where(Delivery.stack_version_id == stack_version_id)
        .order_by(Delivery.destination, Delivery.id)
    )
    names = ("destination", "sop_uid", "state", "attempts", "next_at", "last_answer", "changed_at")
    return [{name: getattr(row, name) for name in names} for row in rows]
