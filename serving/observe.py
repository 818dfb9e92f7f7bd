"""For the operator: ``/livez`` (the process is up), ``/readyz`` (a study would be answered), ``/metrics``."""

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from serving.archive import Archive
from serving.index.database import Database
from serving.logs import configure_logging, log
from serving.metrics import REGISTRY, SECONDS, StateCollector
from serving.readiness import Readiness
from serving.settings import Settings

__all__ = ["SECONDS", "configure_logging", "log", "router"]


def router(db: Database, archive: Archive, readiness: Readiness, settings: Settings) -> APIRouter:
    """Return ``/livez``, ``/readyz`` and ``/metrics``."""
    routes = APIRouter(include_in_schema=False)
    state = CollectorRegistry()
    state.register(StateCollector(db, archive, settings))

    @routes.get("/livez")
    def livez() -> dict[str, bool]:
        return {"ok": True}

    @routes.get("/readyz")
    def readyz() -> JSONResponse:
        checks = readiness.checks()
        ready = all(check.ok for check in checks)
        return JSONResponse({"ready": ready, "checks": [asdict(check) for check in checks]}, 200 if ready else 503)

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(REGISTRY) + generate_latest(state), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return routes
