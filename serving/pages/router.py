"""The pages: studies, one study, system, and signing in."""

import time
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving import views
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.guard import Guard
from serving.guard.middleware import cookie_name, cookie_value
from serving.guard.roles import may
from serving.guard.sessions import LIFETIME_S
from serving.index.database import Database
from serving.index.models import Study, Tombstone
from serving.pages import curves, words
from serving.pipeline.progress import Board
from serving.readiness import Readiness
from serving.settings import Settings

HERE = Path(__file__).parent
STATIC = {
    "segloop.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
BUSY_S, CALM_S, NEVER = 2, 15, 0
"""Seconds between looks of a page at itself: while something on it is in progress, and else."""
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound to


class Pages:
    """Renders templates with what every page shows."""

    def __init__(self, settings: Settings) -> None:
        self.environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        small = partial(curves.curve, frame=curves.SMALL)
        self.environment.globals.update(
            words=words,
            settings=settings,
            chart_of=curves.curve,
            spark_of=small,
            in_progress=views.IN_PROGRESS,
            page_size=views.PAGE,
        )

    def show(self, request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
        """Return a page; ``values`` are the template's own."""
        session = getattr(request.state, "session", None)
        identity = getattr(request.state, "identity", None)
        text = self.environment.get_template(template).render(
            path=request.url.path,
            now=time.time(),
            host=request.url.hostname or "",
            netloc=request.url.netloc,
            wildcards=WILDCARDS,
            identity=identity,
            may=partial(may, identity.role if identity else ""),
            csrf=session.csrf if session else "",
            **values,
        )
        return HTMLResponse(text, status)


def router(
    db: Database,
    archive: Archive,
    engines: EnginePool,
    readiness: Readiness,
    guard: Guard,
    settings: Settings,
    board: Board,
) -> APIRouter:
    """Return the routes of the pages."""
    pages, routes = Pages(settings), APIRouter(include_in_schema=False)
    _add_studies(routes, pages, db, board)
    _add_sign_in(routes, pages, guard)

    @routes.get("/system")
    def system(request: Request) -> HTMLResponse:
        with db.read() as session:
            seen = views.system_view(session, archive, engines, settings)
        return pages.show(request, "system.html", system=seen, checks=readiness.checks(), refresh=NEVER)

    @routes.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in STATIC:
            return Response(status_code=404)
        return FileResponse(HERE / "static" / name, media_type=STATIC[name])

    return routes


def _add_studies(routes: APIRouter, pages: Pages, db: Database, board: Board) -> None:
    @routes.get("/")
    def studies(
        request: Request,
        needs: str = "",
        state: str = "",
        q: Annotated[str, Query(max_length=100)] = "",
    ) -> HTMLResponse:
        filters = {"state": state, "search": q.strip(), "needs_person": needs == "person"}
        with db.read() as session:
            counts = views.counts_view(session)
            found = views.studies_view(session, state=state, search=q, needs_person=needs == "person")
        refresh = BUSY_S if counts["receiving"] + counts["processing"] > 0 or not found else CALM_S
        return pages.show(
            request,
            "studies.html",
            studies=found,
            counts=counts,
            filters=filters,
            running=board.running(),
            refresh=refresh,
        )

    @routes.get("/studies/{study_uid}")
    def study(request: Request, study_uid: str) -> HTMLResponse:
        with db.read() as session:
            row, seen = session.get(Study, study_uid), views.study_view(session, study_uid, board.running())
            if row is None or seen is None:
                tombstone = session.get(Tombstone, study_uid)
                return pages.show(
                    request, "no_study.html", 404, study_uid=study_uid, tombstone=tombstone, refresh=NEVER
                )
            patient = views.patient_view(row)
        order = {state: place for place, state in enumerate(views.URGENCY)}
        stacks = sorted(seen["stacks"], key=lambda stack: order.get(stack["state"], len(order)))
        return pages.show(
            request,
            "study.html",
            study=seen,
            patient=patient,
            stacks=[stack for stack in stacks if stack["state"] != "not_processed"],
            unmatched=[stack for stack in stacks if stack["state"] == "not_processed"],
            refresh=BUSY_S if views.IN_PROGRESS & {seen["state"], *(stack["state"] for stack in stacks)} else CALM_S,
        )


def _add_sign_in(routes: APIRouter, pages: Pages, guard: Guard) -> None:
    @routes.get("/sign-in")
    def form(request: Request, next: str = "/") -> HTMLResponse:
        return pages.show(request, "sign_in.html", next=_own_path(next), problem="", refresh=NEVER)

    @routes.post("/sign-in")
    def sign_in(request: Request, token: Annotated[str, Form()], next: Annotated[str, Form()] = "/") -> Response:
        address = request.client.host if request.client else ""
        if guard.failures.too_many(address):
            return _again(pages, request, next, 429, "Too many wrong tokens. Wait a minute, then try again.")
        identity = guard.identify(token.strip())
        if identity is None:
            guard.failures.note(address)
            return _again(pages, request, next, 401, "This token is not known here.")
        if identity.role == "sender":
            return _again(pages, request, next, 403, "This token is for sending studies; the pages need another role.")
        response = RedirectResponse(_own_path(next), 303)
        response.set_cookie(
            cookie_name(guard),
            guard.sessions.open(identity),
            max_age=LIFETIME_S,
            path="/",
            secure=not guard.open,
            httponly=True,
            samesite="strict",
        )
        return response

    @routes.post("/sign-out")
    def sign_out(request: Request, csrf: Annotated[str, Form()] = "") -> Response:
        session = getattr(request.state, "session", None)
        if session is not None and not session.csrf_matches(csrf):
            return _again(pages, request, "/", 403, "The page was too old to sign out with. You are still signed in.")
        guard.sessions.close(cookie_value(request.headers, guard))
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(cookie_name(guard), path="/", secure=not guard.open, httponly=True, samesite="strict")
        return response


def _again(pages: Pages, request: Request, next: str, status: int, problem: str) -> HTMLResponse:
    return pages.show(request, "sign_in.html", status, next=_own_path(next), problem=problem, refresh=NEVER)


def _own_path(target: str) -> str:
    """Return a path of this gateway: what names another host, or could be read as one, becomes the first page."""
    if not target.startswith("/") or target.startswith("//") or "\\" in target or not target.isprintable():
        return "/"
    return quote(target, safe="/?=&%.:-_~+")
