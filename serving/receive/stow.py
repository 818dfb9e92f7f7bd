"""STOW-RS (DICOM PS3.18 section 10.5): parts of a multipart body go to the disk as they come.

Memory does not depend on the size of the request: the body is pushed through the parser in pieces, a part is a file
from its first byte, and only a group of parts waits for its commit. Every part that was received whole is kept, also
when the body ends early: then the answer is 400 and names what was stored.
"""

from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from contracts.dicom import is_uid
from contracts.errors import Broken, Refused, SegloopError, answer_to
from serving.archive import Incoming
from serving.dicomweb.address import address, root
from serving.guard import Guard, Identity
from serving.index.receipts import Arrival
from serving.receive.activity import Activity, Carrier
from serving.receive.ingest import Accepted, Intake, RefusedInstance, statuses

log = structlog.get_logger(__name__)

MOST_PREAMBLE = 1 << 16
MOST_PARTS = 100_000
MOST_REASONS = 5
STALL_S = 300.0
"""After so many seconds without a byte a request counts as broken off: its studies are not awaited for ever."""

GROUP = 32
"""Parts that are committed together: one wait for the disk serves many."""

DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True)
class Failure:
    """A part that was not stored: the reason (0008,1197), and what it was where that could be read."""

    reason: int
    sop_class_uid: str = ""
    sop_uid: str = ""


class Body:
    """Takes one multipart body, piece by piece. Not thread safe: one call at a time.

    ``stored`` and ``failed`` grow as parts are committed; ``complete`` is true once the closing boundary was read.
    """

    def __init__(self, boundary: bytes, intake: Intake, source: str, study: str | None, carrier: Carrier) -> None:
        self.stored: list[Accepted] = []
        self.failed: list[Failure] = []
        self.reasons: list[str] = []
        self.complete = False
        self._intake, self._source, self._study, self._carrier = intake, source, study, carrier
        self._most_bytes = intake.settings.max_instance_gb * 1e9
        self._start = b"--" + boundary
        self._preamble: bytes | None = b""
        self._part: Incoming | None = None
        self._parts = 0
        self._too_large = False
        self._waiting: list[Arrival] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._close,
            },
        )

    def write(self, piece: bytes) -> None:
        """Take the next bytes. Raises ``FormParserError`` for what is no multipart body, ``NotYet`` for a full disk."""
        if self._preamble is None:
            self._parser.write(piece)
            return
        self._preamble += piece
        at = self._preamble.find(self._start)
        if at >= 0:
            piece, self._preamble = self._preamble[at:], None
            self._parser.write(piece)
        elif len(self._preamble) > MOST_PREAMBLE:
            raise FormParserError("no boundary")

    def finish(self) -> None:
        """No more bytes will come: drop a part that is not whole, wait until the others are durable."""
        if self._part is not None:
            self._part.discard()
            self._part = None
        self._commit()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise FormParserError("too many parts")
        self._intake.check_space()
        self._part, self._too_large = self._intake.archive.incoming(), False

    def _data(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        if self._part.size + end - start > self._most_bytes:
            self._too_large = True
        if not self._too_large:
            self._part.write(memoryview(data)[start:end])

    def _end(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        if self._too_large:
            part.discard()
            self._fail(Refused("too_large", "The object is larger than MAX_INSTANCE_GB allows."))
            return
        try:
            self._waiting.append(self._intake.begin(part, self._source, self._study, carrier=self._carrier))
        except Refused as error:
            self._fail(error)
        if len(self._waiting) >= GROUP:
            self._commit()

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outcome in self._intake.finish(waiting):
            if isinstance(outcome, Accepted):
                self.stored.append(outcome)
            else:
                self._fail(outcome)

    def _fail(self, error: Exception) -> None:
        code = error.code if isinstance(error, SegloopError) else type(error).__name__
        log.warning("store_refused", code=code, source=self._source)
        named = error.named if isinstance(error, RefusedInstance) else ("", "")
        self.failed.append(Failure(statuses(error)[1], *named))
        known = (
            len(self.reasons) >= MOST_REASONS or not isinstance(error, SegloopError) or error.sentence in self.reasons
        )
        if not known:
            self.reasons.append(str(error))

    def _close(self) -> None:
        self.complete = True


def router(intake: Intake, activity: Activity, guard: Guard) -> APIRouter:
    """Return the routes ``POST /dicom-web/studies`` and ``POST /dicom-web/studies/{study}``."""
    routes = APIRouter(prefix="/dicom-web", tags=["dicomweb"])
    sender = Depends(guard.require("sender"))

    @routes.post("/studies")
    async def store(request: Request, identity: Identity = sender) -> Response:
        """Store instances of any studies."""
        return await _receive(request, identity.source, None, intake, activity)

    @routes.post("/studies/{study}")
    async def store_to_study(study: str, request: Request, identity: Identity = sender) -> Response:
        """Store instances of one study; others fail with reason 0xC409."""
        if not is_uid(study):
            return _problem(400, "bad_uid", "The study in the address is no UID.")
        return await _receive(request, identity.source, study, intake, activity)

    return routes


async def _receive(request: Request, source: str, study: str | None, intake: Intake, activity: Activity) -> Response:
    boundary = _boundary(request.headers.get("content-type", ""))
    if boundary is None:
        return _problem(415, "media_type", 'Send multipart/related; type="application/dicom" with a boundary.')
    with activity.carrying() as carrier:
        try:
            body = Body(boundary, intake, source, study, carrier)
        except FormParserError:
            return _problem(400, "bad_boundary", "The boundary is too long.")
        error = await _drain(request, body)
        await anyio.to_thread.run_sync(body.finish)
    return _answer(body, error, root(request))


async def _drain(request: Request, body: Body) -> Exception | None:
    """Push the body of the request through the parser; return what ended it early, if anything did."""
    chunks = request.stream()
    try:
        while True:
            with anyio.fail_after(STALL_S):
                chunk = await anext(chunks, None)
            if chunk is None:
                return None
            if chunk:
                await anyio.to_thread.run_sync(body.write, chunk)
    except (FormParserError, SegloopError, ClientDisconnect, TimeoutError) as error:
        return error
    except Exception as error:
        log.exception("store_failed", kind=type(error).__name__)
        return Broken("unexpected", "The request could not be taken; the gateway's log has the details.")


def _boundary(content_type: str) -> bytes | None:
    kind, options = parse_options_header(content_type)
    wanted = options.get(b"type", b"application/dicom").strip().lower()
    if kind != b"multipart/related" or wanted != b"application/dicom":
        return None
    return options.get(b"boundary") or None


def _answer(body: Body, error: Exception | None, base: str) -> Response:
    """The Store Instances Response (PS3.18 section 10.5.3); a problem where there is nothing to list."""
    document = _document(body, base)
    ended = _early_end(body, error)
    if ended is not None:
        status, code, reason = ended
        headers = _warning(reason) | ({"Retry-After": "60"} if status == 503 else {})
        return JSONResponse(document or {"code": code, "reason": reason}, status, headers, _kind(document))
    if not document:
        return _problem(400, "empty", "The request holds no part.")
    status = 200 if not body.failed else 202 if body.stored else 409
    return JSONResponse(document, status, _warning(" ".join(body.reasons)) if body.reasons else {}, DICOM_JSON)


def _warning(words: str) -> dict[str, str]:
    """Say why in words: the response's document only has a number for it (RFC 7234 section 5.5)."""
    return {"Warning": f'299 segloop "{words.encode("ascii", "replace").decode().replace(chr(34), chr(39))}"'}


def _early_end(body: Body, error: Exception | None) -> tuple[int, str, str] | None:
    """Status, code and reason where the body was not taken to its end."""
    if isinstance(error, SegloopError):
        return answer_to(error).http, error.code, error.sentence
    if error is not None or not body.complete:
        return 400, "incomplete", "The body is no complete multipart message; parts received whole are kept."
    return None


def _kind(document: dict[str, Any]) -> str:
    return DICOM_JSON if document else "application/json"


def _document(body: Body, base: str) -> dict[str, Any]:
    document: dict[str, Any] = {}
    studies = {one.study_uid for one in body.stored}
    if len(studies) == 1:
        document["00081190"] = _value("UR", address(base, studies.pop()))
    if body.stored:
        document["00081199"] = {"vr": "SQ", "Value": [_stored(one, base) for one in body.stored]}
    if body.failed:
        document["00081198"] = {"vr": "SQ", "Value": [_failed(one) for one in body.failed]}
    return document


def _stored(one: Accepted, base: str) -> dict[str, Any]:
    return {
        "00081150": _value("UI", one.sop_class_uid),
        "00081155": _value("UI", one.sop_uid),
        "00081190": _value("UR", address(base, one.study_uid, one.series_uid, one.sop_uid)),
    }


def _failed(one: Failure) -> dict[str, Any]:
    named = {"00081150": one.sop_class_uid, "00081155": one.sop_uid}
    return {tag: _value("UI", uid) for tag, uid in named.items() if uid} | {"00081197": _value("US", one.reason)}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _problem(status: int, code: str, reason: str) -> Response:
    return JSONResponse({"code": code, "reason": reason}, status)
