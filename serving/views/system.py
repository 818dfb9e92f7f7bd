"""What an operator looks at: destinations, disk, engines, versions, settings without secrets."""

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from platform import python_version
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.orm import Session

from contracts.errors import SegloopError
from contracts.tasks import Task
from serving.archive import Archive
from serving.deliver import configured, queues
from serving.engines.pool import EnginePool
from serving.settings import Settings
from serving.views.studies import counts_view

VERSIONS = ("segloop", "onnxruntime", "onnxruntime-gpu", "pydicom", "highdicom", "pynetdicom", "fastapi", "dbos")


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
    """Return destinations, disk, the engine of each task and why it was chosen, versions, settings without secrets.

    ``quarantine``: how many unreadable objects are kept, by the code of their refusal.
    """
    return {
        "counts": counts_view(session),
        "destinations": destinations_view(session, settings),
        "disk": {"free_gb": round(archive.free_gb(), 2), "min_free_gb": settings.min_free_gb},
        "quarantine": archive.quarantined(),
        "engines": [engine_view(engines, task) for task in Task],
        "versions": {"python": python_version()} | {name: found for name in VERSIONS if (found := _version(name))},
        "settings": settings_view(settings),
        "settings_changed": changed_settings(settings),
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


def changed_settings(settings: Settings) -> list[str]:
    """Return the names of the settings that do not stand at their defaults."""
    return [
        f"SEGLOOP_{name.upper()}"
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) != field.default
    ]


def _version(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return ""
