"""Composition root: builds every part of the gateway once and hands each what it needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from contracts.errors import Usage
from contracts.model_repository import seed
from serving import api, deliver, durable, faults, observe, pages, removal
from serving.archive import Archive
from serving.deliver import load_destinations
from serving.dicomweb import qido, wado
from serving.engines.onnxruntime import check_installation
from serving.engines.pool import EnginePool
from serving.guard import Guard
from serving.guard.middleware import GuardMiddleware
from serving.index.database import Database
from serving.pipeline.progress import Board
from serving.pipeline.settle import Settler
from serving.pipeline.steps import Steps
from serving.problems import explain_errors
from serving.readiness import Readiness
from serving.receive import dimse, stow
from serving.receive.activity import Activity
from serving.receive.ingest import Intake
from serving.routing import load_rules
from serving.settings import SHIPPED_MODELS, Settings
from serving.ticker import Ticker


def create_app(settings: Settings) -> FastAPI:
    """Return the gateway, ready to be served by uvicorn; its threads start and end with the application.

    HOME is claimed from here on until the application ends.

    Raises ``Usage`` and ``Missing`` where the settings, rules, destinations or another gateway do not allow a start.
    """
    guard = Guard(settings)
    guard.check_start()
    check_installation()
    faults.arm(settings.fault)
    rules = load_rules(settings.rules)
    load_destinations(settings.destinations)
    _make(settings.home)
    durable.claim(settings.home)
    if settings.model_repository is None:
        seed(SHIPPED_MODELS, settings.models)
    db = Database(settings.sqlite_url)
    db.migrate()
    archive = Archive(settings.home, settings.quarantine_mb)
    activity = Activity()
    intake = Intake(db, archive, settings, activity)
    engines = EnginePool(settings)
    board = Board()
    steps = Steps(db, archive, intake, engines, rules, settings, board)
    ticker = Ticker(db, archive, Settler(db, activity, rules, settings), settings)

    def start() -> dimse.DicomServer:
        removal.finish(db, archive)
        intake.sweep()
        durable.launch(settings, steps, partial(deliver.attempt, db, archive, settings))
        listener = dimse.start(settings, intake, activity, guard)
        ticker.start()
        return listener

    def stop(listener: dimse.DicomServer) -> None:
        listener.stop()
        ticker.stop()
        durable.stop()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The engine refuses calls from the thread of the event loop.
        listener = await run_in_threadpool(start)
        yield
        await run_in_threadpool(stop, listener)

    readiness = Readiness(db, archive, engines, settings)
    app = FastAPI(title="segloop", lifespan=lifespan, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None)
    explain_errors(app)
    app.include_router(stow.router(intake, activity, guard))
    app.include_router(qido.router(db, archive))
    app.include_router(wado.router(db, archive))
    app.include_router(api.router(db, archive, engines, rules, settings, board))
    app.include_router(observe.router(db, archive, readiness, settings))
    app.include_router(pages.router(db, archive, engines, readiness, guard, settings, board))
    app.add_middleware(GuardMiddleware, guard=guard)
    return app


def _make(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Usage("home", f"The folder SEGLOOP_HOME={home} cannot be made: {error.strerror}.") from error
