"""The list of studies and what is counted above it. It names patients: for readers."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, String, cast, exists, func, or_, select
from sqlalchemy.orm import Session

from serving.index.models import StackVersion, Study
from serving.views.patient import patient_view
from serving.views.states import NEEDS_PERSON, PICTURED, study_state
from serving.views.study import answered_s, histories, received

PAGE = 100
SEARCHED = ("name", "id", "study_date", "description")
"""What of a patient a search looks at; a number is more often a piece of a date than an age."""


def studies_view(
    session: Session, *, state: str = "", search: str = "", needs_person: bool = False, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Return studies, the latest first, each with patient, state, and the stack that decides the state.

    ``state``: only those in this state; ``search``: a piece of the patient's name or identifier, of a date or a UID.
    """
    query = _matching(state, search, needs_person)
    found: list[dict[str, Any]] = []
    # The exact state is derived here, not in SQL: read on until the page is full.
    for offset in range(0, 1_000_000, PAGE):
        page = list(session.scalars(query.offset(offset).limit(PAGE)))
        for entry in _entries(session, page):
            fits = state in ("", entry["state"]) and (entry["needs_person"] or not needs_person)
            if fits and _mentions(entry, search.strip().casefold()):
                found.append(entry)
        if len(page) < PAGE or len(found) >= limit:
            break
    return found[:limit]


def counts_view(session: Session) -> dict[str, int]:
    """Count what a person looks for first: studies arriving, stacks in work, stacks that wait, stacks that failed."""
    by_state = dict(
        session.execute(
            select(StackVersion.state, func.count()).where(StackVersion.current).group_by(StackVersion.state)
        ).all()
    )
    arriving = select(func.count()).select_from(Study).where(_unsettled())
    return {
        "receiving": session.scalar(arriving) or 0,
        "processing": sum(by_state.get(state, 0) for state in ("complete", "processing", "delivering")),
        "waiting": by_state.get("held", 0),
        "refused": by_state.get("refused", 0),
        "failed": by_state.get("failed", 0),
    }


def _unsettled() -> ColumnElement[bool]:
    return Study.settled_at < Study.last_received_at


def _matching(state: str, search: str, needs_person: bool) -> Select[Study]:
    query = select(Study).order_by(Study.last_received_at.desc(), Study.study_uid)
    wanted = NEEDS_PERSON if needs_person else frozenset({state} - {"", "receiving", "not_processed"})
    if wanted:
        query = query.where(
            exists().where(
                StackVersion.study_uid == Study.study_uid, StackVersion.current, StackVersion.state.in_(wanted)
            )
        )
    if state == "receiving":
        query = query.where(_unsettled())
    if search.strip():
        # The database only narrows down: JSON escapes what is not ASCII, names hold carets, dates have no dashes.
        pattern = "%" + re.sub(r"[^A-Za-z0-9.]+", "%", search.strip()) + "%"
        query = query.where(or_(cast(Study.attributes, String).ilike(pattern), Study.study_uid.like(pattern)))
    return query


def _mentions(entry: Mapping[str, Any], word: str) -> bool:
    patient = entry["patient"]
    texts = (*(patient[name] for name in SEARCHED), patient["study_date"].replace("-", ""), entry["study_uid"])
    return any(word in text.casefold() for text in texts)


def _entries(session: Session, studies: Sequence[Study]) -> list[dict[str, Any]]:
    uids = [study.study_uid for study in studies]
    versions = defaultdict(list)
    for version in session.scalars(
        select(StackVersion)
        .where(StackVersion.study_uid.in_(uids), StackVersion.current)
        .order_by(StackVersion.created_at, StackVersion.id)
    ):
        versions[version.study_uid].append(version)
    instances, series = received(session, uids), received(session, uids, series=True)
    entries = [
        _entry(study, versions[study.study_uid], instances[study.study_uid], series[study.study_uid])
        for study in studies
    ]
    pictured = [entry["picture_stack"] for entry in entries if entry["picture_stack"] is not None]
    history = histories(session, pictured)
    return [entry | {"answered_s": answered_s(history[entry["picture_stack"]])} for entry in entries]


def _entry(study: Study, versions: Sequence[StackVersion], instances: int, series: int) -> dict[str, Any]:
    state = study_state(study, (version.state for version in versions))
    deciding = next((version for version in versions if version.state == state), None)
    pictured = next((version for version in versions if version.state in PICTURED and version.model), None)
    shown, findings = pictured or deciding, pictured.findings if pictured else {}
    return {
        "study_uid": study.study_uid,
        "state": state,
        "since": deciding.changed_at if deciding else study.first_received_at,
        "needs_person": state in NEEDS_PERSON,
        "patient": patient_view(study),
        "task": shown.task if shown else "",
        "code": deciding.code if deciding else "",
        "reason": deciding.reason if deciding else "",
        "received": instances,
        "series": series,
        "first_received_at": study.first_received_at,
        "last_received_at": study.last_received_at,
        "picture_stack": pictured.id if pictured else None,
        "measurements": findings.get("measurements", {}),
        "lv_by_phase": findings.get("lv_by_phase", []),
        "stacks": [{name: getattr(version, name) for name in ("id", "task", "state", "code")} for version in versions],
    }
