"""What pages and ``/api`` show of the index: plain dictionaries, made in one place for both.

Times are UTC seconds since 1970. ``study_view`` and ``stack_view`` hold no patient data, a sender may read them;
``studies_view`` does, it is for readers.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from platform import python_version
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, Select, String, cast, exists, func, make_url, or_, select
from sqlalchemy.orm import Session

from contracts import stacks
from contracts.errors import SegloopError
from contracts.tasks import Task
from serving.archive import Archive
from serving.deliver import configured, queues
from serving.engines.pool import EnginePool
from serving.index.models import Delivery, History, Instance, Result, Sender, StackVersion, Study
from serving.pipeline.progress import Progress
from serving.pipeline.states import NEEDS_PERSON
from serving.settings import Settings

URGENCY = ("held", "refused", "failed", "receiving", "complete", "processing", "delivering", "done", "dismissed")
"""A study's state is that of its stack which comes first here: a person's turn, then the furthest behind.

``not_processed`` comes last, so that ten unmatched series do not hide the one that was answered.
"""
IN_PROGRESS = frozenset({"receiving", "complete", "processing", "delivering"})
PICTURED = frozenset({"held", "delivering", "done", "dismissed"})
"""States in which a stack has a picture."""
PAGE = 100
VERSIONS = ("segloop", "onnxruntime", "onnxruntime-gpu", "pydicom", "highdicom", "pynetdicom", "fastapi", "dbos")


def study_state(study: Study, states: Iterable[str]) -> str:
    """Derive a study's state from those of its current stacks; ``receiving`` until its arrivals were settled."""
    if study.settled_at < study.last_received_at:
        return "receiving"
    known = set(states)
    return next((state for state in URGENCY if state in known), "not_processed")


def study_view(
    session: Session, study_uid: str, running: Mapping[int, Progress] | None = None
) -> dict[str, Any] | None:
    """Return one study with its current stacks as ``GET /api/studies/{uid}`` answers; None where there is none.

    ``running``: how far predictions have come, by stack id.
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
        "received": _received(session, [study_uid])[study_uid],
        "first_received_at": study.first_received_at,
        "last_received_at": study.last_received_at,
        "sources": sorted(session.scalars(select(Sender.source).where(Sender.study_uid == study_uid).distinct())),
    }


def stack_view(session: Session, version: StackVersion, progress: Progress | None = None) -> dict[str, Any]:
    """Return one stack version with its results, history and deliveries."""
    findings = version.findings
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
        "history": _history(session, version.id),
        "deliveries": _deliveries(session, version.id),
        "created_at": version.created_at,
        "changed_at": version.changed_at,
    }


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


def patient_view(study: Study) -> dict[str, str]:
    """Return the patient's name, identifier and the study's date and description as text, empty where absent."""
    return {
        "name": _text(study.attributes, "00100010").replace("^", " ").strip(),
        "id": _text(study.attributes, "00100020"),
        "study_date": _date(_text(study.attributes, "00080020")),
        "description": _text(study.attributes, "00081030"),
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
    date = entry["patient"]["study_date"]
    texts = (*entry["patient"].values(), date.replace("-", ""), entry["study_uid"])
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
    received, series = _received(session, uids), _received(session, uids, series=True)
    return [
        _entry(study, versions[study.study_uid], received[study.study_uid], series[study.study_uid])
        for study in studies
    ]


def _entry(study: Study, versions: Sequence[StackVersion], received: int, series: int) -> dict[str, Any]:
    state = study_state(study, (version.state for version in versions))
    deciding = next((version for version in versions if version.state == state), None)
    pictured = next((version for version in versions if version.state in PICTURED and version.model), None)
    shown = pictured or deciding
    return {
        "study_uid": study.study_uid,
        "state": state,
        "needs_person": state in NEEDS_PERSON,
        "patient": patient_view(study),
        "task": shown.task if shown else "",
        "code": deciding.code if deciding else "",
        "reason": deciding.reason if deciding else "",
        "received": received,
        "series": series,
        "first_received_at": study.first_received_at,
        "last_received_at": study.last_received_at,
        "picture_stack": pictured.id if pictured else None,
        "measurements": pictured.findings.get("measurements", {}) if pictured else {},
        "stacks": [{name: getattr(version, name) for name in ("id", "task", "state", "code")} for version in versions],
    }


def _received(session: Session, study_uids: Sequence[str], *, series: bool = False) -> dict[str, int]:
    counted = func.count(Instance.series_uid.distinct()) if series else func.count()
    rows = session.execute(
        select(Instance.study_uid, counted)
        .where(Instance.study_uid.in_(study_uids), Instance.kind == "source")
        .group_by(Instance.study_uid)
    )
    return {uid: 0 for uid in study_uids} | dict(rows.all())


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


def _history(session: Session, stack_version_id: int) -> list[dict[str, Any]]:
    rows = session.scalars(select(History).where(History.stack_version_id == stack_version_id).order_by(History.id))
    names = ("at", "who", "event", "before", "after", "reason", "seconds")
    return [{name: getattr(row, name) for name in names} for row in rows]


def _deliveries(session: Session, stack_version_id: int) -> list[dict[str, Any]]:
    rows = session.scalars(
        select(Delivery)
        .where(Delivery.stack_version_id == stack_version_id)
        .order_by(Delivery.destination, Delivery.id)
    )
    names = ("destination", "sop_uid", "state", "attempts", "next_at", "last_answer", "changed_at")
    return [{name: getattr(row, name) for name in names} for row in rows]


def _text(attributes: Mapping[str, Any], tag: str) -> str:
    """First value of an attribute in DICOM JSON (PS3.18 Annex F.2) as text."""
    element = attributes.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    first = values[0] if isinstance(values, list) and values else ""
    if isinstance(first, dict):
        first = first.get("Alphabetic") or first.get("Ideographic") or ""
    return "" if first is None else str(first)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def destinations_view(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Return destinations, each with its queue: what waits, was rejected or delivered, and the next try."""
    places = {place.name: place for place in configured(settings.destinations)}
    return [
        asdict(queue)
        | (
            {"protocol": place.protocol, "phases": place.phases, "sources": list(place.sources)}
            if (place := places.get(queue.destination))
            else {"protocol": "", "phases": "", "sources": []}
        )
        for queue in queues(session, list(places.values()))
    ]


def system_view(session: Session, archive: Archive, engines: EnginePool, settings: Settings) -> dict[str, Any]:
    """Return destinations, disk, the engine of each task and why it was chosen, versions, settings without secrets."""
    return {
        "counts": counts_view(session),
        "destinations": destinations_view(session, settings),
        "disk": {"free_gb": round(archive.free_gb(), 2), "min_free_gb": settings.min_free_gb},
        "engines": [engine_view(engines, task) for task in Task],
        "versions": {"python": python_version()} | {name: found for name in VERSIONS if (found := _version(name))},
        "settings": settings_view(settings),
    }


def engine_view(engines: EnginePool, task: Task) -> dict[str, Any]:
    """Return what runs for a task and why, or why nothing does."""
    if not engines.has_model(task):
        return {"task": task.value, "provider": "", "why": "no version serves this task", "model": {}}
    try:
        engine = engines.serving(task)
    except SegloopError as error:
        return {"task": task.value, "provider": "", "why": error.sentence, "model": {}}
    contract = engine.contract
    model = {"name": contract.name, "version": contract.version, "variant": contract.variant, "digest": contract.digest}
    return {"task": task.value, "provider": engine.provider, "why": engine.why, "model": model}


def settings_view(settings: Settings) -> dict[str, str]:
    """Return every setting as text; passwords in addresses are left out, files are named and not read."""
    shown = {f"SEGLOOP_{name.upper()}": value for name, value in settings.model_dump().items()}
    if settings.database_url:
        shown["SEGLOOP_DATABASE_URL"] = make_url(settings.database_url).render_as_string(hide_password=True)
    if settings.webhook_url:
        parts = urlsplit(settings.webhook_url)
        shown["SEGLOOP_WEBHOOK_URL"] = f"{parts.scheme}://{parts.hostname}/…"
    return {name: "" if value is None else str(value) for name, value in shown.items()}


def _version(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return ""
