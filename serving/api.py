"""The gateway's own HTTP API, ``/api``: what the pages show as JSON, and what people and scripts may do."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.responses import FileResponse, Response

from contracts.errors import NotFound
from serving import actions, views
from serving.archive import Archive
from serving.deliver import destination_named, echo
from serving.engines.pool import EnginePool
from serving.guard import Identity
from serving.index.database import Database
from serving.index.models import StackVersion
from serving.pipeline import tiles
from serving.pipeline.progress import Board
from serving.removal import remove_study
from serving.routing import Rule
from serving.settings import Settings

PICTURES = {"overlay.png": "image/png", "thumbnail.png": "image/png", "measurements.json": "application/json"}


def router(
    db: Database,
    archive: Archive,
    engines: EnginePool,
    rules: tuple[Rule, ...],
    settings: Settings,
    board: Board,
) -> APIRouter:
    """Return the routes under ``/api``. Every answer of an error is ``{"code", "reason"}``."""
    api = APIRouter(prefix="/api")
    _add_studies(api, db, archive, rules, board)
    _add_stacks(api, db, archive, settings)
    _add_system(api, db, archive, engines, settings)
    return api


def _caller(request: Request) -> str:
    identity = getattr(request.state, "identity", None)
    return identity.name if isinstance(identity, Identity) else "local"


def _add_studies(api: APIRouter, db: Database, archive: Archive, rules: tuple[Rule, ...], board: Board) -> None:
    @api.get("/studies")
    def studies(
        state: str = "",
        search: str = "",
        needs_person: bool = False,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[dict[str, Any]]:
        """List studies, the newest first."""
        with db.read() as session:
            return views.studies_view(session, state=state, search=search, needs_person=needs_person, limit=limit)

    @api.get("/studies/{study_uid}")
    def study(study_uid: str) -> dict[str, Any]:
        """One study with its stacks, results, history and deliveries."""
        with db.read() as session:
            found = views.study_view(session, study_uid, board.running())
        if found is None:
            raise NotFound("unknown_study", "There is no such study here.")
        return found

    @api.post("/studies/{study_uid}/complete", status_code=202)
    def complete(study_uid: str) -> dict[str, str]:
        """End the quiet period of a study; what is still being received is awaited."""
        actions.declare_complete(db, study_uid)
        return {"study_uid": study_uid}

    @api.post("/studies/{study_uid}/retry", status_code=202)
    def retry(request: Request, study_uid: str) -> dict[str, Any]:
        """Run refused, failed and not processed stacks again and try waiting deliveries now."""
        return {"study_uid": study_uid, "stacks": actions.retry(db, study_uid, rules, who=_caller(request))}

    @api.delete("/studies/{study_uid}")
    def remove(request: Request, study_uid: str, why: str = "asked for") -> dict[str, Any]:
        """Delete a study with its results; a tombstone stays."""
        count = remove_study(db, archive, study_uid, who=_caller(request), why=why)
        return {"study_uid": study_uid, "deleted": count}


def _add_stacks(api: APIRouter, db: Database, archive: Archive, settings: Settings) -> None:
    reason = Annotated[str, Body(embed=True, max_length=400)]

    @api.post("/stacks/{stack_id}/release")
    def release(request: Request, stack_id: int, reason: reason = "") -> dict[str, Any]:
        """Let a held result go out."""
        actions.release(db, stack_id, reason, who=_caller(request))
        return {"id": stack_id}

    @api.post("/stacks/{stack_id}/dismiss")
    def dismiss(request: Request, stack_id: int, reason: reason = "") -> dict[str, Any]:
        """Set a held result aside for good."""
        actions.dismiss(db, stack_id, reason, who=_caller(request))
        return {"id": stack_id}

    @api.get("/stacks/{stack_id}/tile.png", response_class=Response)
    def tile(
        stack_id: int, phase: int, slice: int, labels: Annotated[str | None, Query(pattern=r"^(\d+(,\d+)*)?$")] = None
    ) -> Response:
        """One slice of one phase (both from 1) with the outlines of its mask, or only of the labels named (``1,3``)."""
        shown = None if labels is None else frozenset(int(value) for value in labels.split(",") if value)
        with db.read() as session:
            picture = tiles.tile_png(session, archive, settings.home, stack_id, phase - 1, slice - 1, shown)
        return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=300"})

    @api.get("/stacks/{stack_id}/{name}", response_class=FileResponse)
    def file(stack_id: int, name: str) -> FileResponse:
        """A picture or document made for a stack: overlay.png, thumbnail.png, measurements.json."""
        path = settings.home / "results" / str(stack_id) / name
        if name not in PICTURES or not path.is_file():
            raise NotFound("no_file", "This stack has no such picture or document (yet).")
        return FileResponse(path, media_type=PICTURES[name])

    @api.get("/studies/{study_uid}/stacks/{stack_id}/{name}", response_class=FileResponse)
    def file_of_study(study_uid: str, stack_id: int, name: str) -> FileResponse:
        """The same for those who may see a study because they know its UID; numbers of stacks can be guessed."""
        with db.read() as session:
            stack = session.get(StackVersion, stack_id)
            if stack is None or stack.study_uid != study_uid:
                raise NotFound("unknown_stack", "This study has no such stack.")
        return file(stack_id, name)


def _add_system(api: APIRouter, db: Database, archive: Archive, engines: EnginePool, settings: Settings) -> None:
    @api.get("/destinations")
    def destinations() -> list[dict[str, Any]]:
        """Destinations and their queues."""
        with db.read() as session:
            return views.destinations_view(session, settings)

    @api.post("/destinations/{name}/echo")
    def echo_destination(name: str) -> dict[str, Any]:
        """Ask a destination, by its own protocol, whether it is there."""
        return asdict(echo(destination_named(settings, name), settings))

    @api.get("/system")
    def system() -> dict[str, Any]:
        """Engine, disk, versions, settings without secrets."""
        with db.read() as session:
            return views.system_view(session, archive, engines, settings)
