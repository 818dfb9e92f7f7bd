"""QIDO-RS (DICOM PS3.18 section 10.6): searches for studies, series and instances, results of ours among them."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydicom.datadict import tag_for_keyword
from sqlalchemy.orm import Session

from contracts.dicom import is_uid
from serving.archive import Archive
from serving.dicomweb.accept import ranges
from serving.dicomweb.address import address, root
from serving.index import queries
from serving.index.database import Database

DICOM_JSON = "application/dicom+json"
TAG = re.compile(r"[0-9A-Fa-f]{8}")
NO_MATCH_KEYS = frozenset({"limit", "offset", "includefield", "fuzzymatching"})
MOST_ACROSS_STUDIES = 1000
"""Matches that a search which names no study gives at most in one answer; ``offset`` gets the next."""

Search = Callable[[Session, dict[str, str], int | None, int], list[queries.Found]]


def router(db: Database, archive: Archive) -> APIRouter:
    """Return the six search routes under ``/dicom-web``."""
    routes = APIRouter(prefix="/dicom-web", tags=["dicomweb"])

    @routes.get("/studies")
    def studies(request: Request) -> Response:
        """Search for studies."""
        return _answer(db, request, "study", {}, queries.search_studies)

    @routes.get("/series")
    def series(request: Request) -> Response:
        """Search for series of all studies."""
        return _answer(db, request, "series", {}, _series(with_study=True))

    @routes.get("/studies/{study}/series")
    def series_of_study(study: str, request: Request) -> Response:
        """Search for series of one study."""
        return _answer(db, request, "series", {queries.STUDY_UID: study}, _series(with_study=False))

    @routes.get("/instances")
    def instances(request: Request) -> Response:
        """Search for instances of all studies."""
        return _answer(db, request, "instance", {}, _instances(with_study=True))

    @routes.get("/studies/{study}/instances")
    def instances_of_study(study: str, request: Request) -> Response:
        """Search for instances of one study."""
        return _answer(db, request, "instance", {queries.STUDY_UID: study}, _instances(with_study=False))

    @routes.get("/studies/{study}/series/{series}/instances")
    def instances_of_series(study: str, series: str, request: Request) -> Response:
        """Search for instances of one series."""
        within = {queries.STUDY_UID: study, queries.SERIES_UID: series}
        return _answer(db, request, "instance", within, _instances(with_study=False))

    return routes


def _series(*, with_study: bool) -> Search:
    return lambda s, m, limit, offset: queries.search_series(s, m, limit, offset, with_study=with_study)


def _instances(*, with_study: bool) -> Search:
    return lambda s, m, limit, offset: queries.search_instances(s, m, limit, offset, with_study=with_study)


def _answer(db: Database, request: Request, level: str, within: dict[str, str], search: Search) -> Response:
    _check_accept(request)
    _check_uids(within)
    matches, ignored = _matches(request, level)
    limit, offset = _count(request, "limit"), _count(request, "offset") or 0
    if not within:
        limit = min(limit if limit is not None else MOST_ACROSS_STUDIES, MOST_ACROSS_STUDIES)
    contradiction = any(tag in matches and matches[tag] != value for tag, value in within.items())
    with db.read() as session:
        found = [] if contradiction else search(session, {**matches, **within}, limit, offset)
    headers = {"Warning": f'299 segloop "{"; ".join(ignored)}"'} if ignored else {}
    if not found:
        return Response(status_code=204, headers=headers)
    base = root(request)
    return JSONResponse([_complete(one, base) for one in found], 200, headers, DICOM_JSON)


def _complete(found: queries.Found, base: str) -> dict[str, Any]:
    return {
        **found.attributes,
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00081190": {"vr": "UR", "Value": [address(base, found.study_uid, found.series_uid, found.sop_uid)]},
    }


def _matches(request: Request, level: str) -> tuple[dict[str, str], list[str]]:
    """Return the matches of the query by tag, and sentences about what was ignored."""
    matches: dict[str, str] = {}
    ignored: list[str] = []
    for name, value in request.query_params.multi_items():
        if name.lower() in NO_MATCH_KEYS:
            if name.lower() == "fuzzymatching" and value.lower() == "true":
                ignored.append("fuzzymatching is not supported, only literal matching was done")
            continue
        tag = _tag(name)
        if queries.supported(level, tag):
            matches[tag] = value
        else:
            ignored.append(f"matching of {tag} is not supported at this level")
    return matches, ignored


def _tag(name: str) -> str:
    if TAG.fullmatch(name):
        return name.upper()
    tag = tag_for_keyword(name)
    if tag is None:
        raise HTTPException(400, {"code": "bad_query", "reason": f"'{name[:64]}' is no attribute of DICOM."})
    return f"{tag:08X}"


def _count(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise HTTPException(400, {"code": "bad_query", "reason": f"{name} must be a whole number, at least 0."})
    return int(text)


def _check_uids(within: dict[str, str]) -> None:
    """Refuse what is no UID: an address names one study or series, and no list or pattern of them."""
    if not all(is_uid(value) for value in within.values()):
        raise HTTPException(400, {"code": "bad_uid", "reason": "The address holds a study or series that is no UID."})


def _check_accept(request: Request) -> None:
    wanted = ranges(request.headers.get("accept", ""))
    if wanted and not any(one.admits(DICOM_JSON) or one.admits("application/json") for one in wanted):
        raise HTTPException(406, {"code": "not_acceptable", "reason": f"Searches are answered in {DICOM_JSON}."})
