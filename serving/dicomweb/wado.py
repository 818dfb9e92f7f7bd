"""WADO-RS (DICOM PS3.18 sections 10.4): instances, metadata, frames, bulk data and pictures of what is stored."""

import json
import re
import uuid
from collections.abc import Iterable, Iterator

import structlog
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse

from contracts.dicom import read_header
from contracts.errors import NotFound, Refused
from serving.archive import Archive
from serving.dicomweb import frames, rendered
from serving.dicomweb.accept import Range, ranges
from serving.dicomweb.address import address, root
from serving.dicomweb.metadata import metadata
from serving.index import queries
from serving.index.database import Database
from serving.index.models import Instance

log = structlog.get_logger(__name__)

DICOM, DICOM_JSON, OCTETS = "application/dicom", "application/dicom+json", "application/octet-stream"
EXPLICIT = "1.2.840.10008.1.2.1"
NUMBERS = re.compile(r"[0-9]{1,6}(,[0-9]{1,6})*")
ONE = "/studies/{study}/series/{series}/instances/{instance}"


def router(db: Database, archive: Archive) -> APIRouter:
    """Return the retrieve routes under ``/dicom-web``."""
    routes = APIRouter(prefix="/dicom-web", tags=["dicomweb"])
    _add_objects(routes, _Store(db, archive))
    _add_frames(routes, _Store(db, archive))
    return routes


class _Store:
    """Finds what an address names."""

    def __init__(self, db: Database, archive: Archive) -> None:
        self.db, self.archive = db, archive

    def some(self, study: str, series: str = "", instance: str = "") -> list[Instance]:
        with self.db.read() as session:
            found = queries.instances_of(session, study, series, instance)
        if not found:
            raise NotFound("unknown_object", "There is no such study, series or instance here.")
        return found

    def one(self, study: str, series: str, instance: str) -> Instance:
        return self.some(study, series, instance)[0]


def _add_objects(routes: APIRouter, store: _Store) -> None:
    @routes.get("/studies/{study}")
    def study_(study: str, request: Request) -> Response:
        """Retrieve all instances of a study."""
        return _objects(store, store.some(study), request)

    @routes.get("/studies/{study}/series/{series}")
    def series_(study: str, series: str, request: Request) -> Response:
        """Retrieve all instances of a series."""
        return _objects(store, store.some(study, series), request)

    @routes.get(ONE)
    def instance_(study: str, series: str, instance: str, request: Request) -> Response:
        """Retrieve one instance."""
        return _objects(store, store.some(study, series, instance), request)

    @routes.get("/studies/{study}/metadata")
    def study_metadata(study: str, request: Request) -> Response:
        """Retrieve the headers of a study."""
        return _metadata(store, store.some(study), request)

    @routes.get("/studies/{study}/series/{series}/metadata")
    def series_metadata(study: str, series: str, request: Request) -> Response:
        """Retrieve the headers of a series."""
        return _metadata(store, store.some(study, series), request)

    @routes.get(ONE + "/metadata")
    def instance_metadata(study: str, series: str, instance: str, request: Request) -> Response:
        """Retrieve one header."""
        return _metadata(store, store.some(study, series, instance), request)


def _add_frames(routes: APIRouter, store: _Store) -> None:
    @routes.get(ONE + "/frames/{numbers}")
    def frames_(study: str, series: str, instance: str, numbers: str, request: Request) -> Response:
        """Retrieve frames, numbered from 1, separated by commas."""
        return _frames(store, store.one(study, series, instance), numbers, request)

    @routes.get(ONE + "/rendered")
    def rendered_(study: str, series: str, instance: str, request: Request) -> Response:
        """Retrieve the first frame as a picture."""
        return _rendered(store, store.one(study, series, instance), "1", request)

    @routes.get(ONE + "/frames/{numbers}/rendered")
    def frame_rendered(study: str, series: str, instance: str, numbers: str, request: Request) -> Response:
        """Retrieve one frame as a picture."""
        return _rendered(store, store.one(study, series, instance), numbers, request)

    @routes.get(ONE + "/bulkdata/{tag}")
    def bulkdata(study: str, series: str, instance: str, tag: str, request: Request) -> Response:
        """Retrieve the value of one large attribute."""
        return _bulkdata(store, store.one(study, series, instance), tag, request)


def _objects(store: _Store, found: list[Instance], request: Request) -> Response:
    wanted = [one for one in _ranges(request) if one.admits(DICOM)]
    if not wanted:
        raise _not_acceptable(f'Instances come as multipart/related; type="{DICOM}".')
    choices = [(one, _as_stored(one, wanted)) for one in found]
    if any(stored is None for _, stored in choices):
        raise _not_acceptable('An instance cannot be had in this transfer syntax; accept transfer-syntax="*".')
    if wanted[0].kind == DICOM and len(found) == 1:
        payload = _object(store, found[0], bool(choices[0][1]))
        return StreamingResponse(payload[1], media_type=DICOM)
    return _multipart(DICOM, (_object(store, one, bool(stored)) for one, stored in choices))


def _as_stored(one: Instance, wanted: list[Range]) -> bool | None:
    """Whether the instance goes out as it is stored; False: uncompressed; None: neither is accepted.

    A client that names no transfer syntax gets uncompressed pixels (PS3.18 section 8.7.3.5.2).
    """
    syntax = one.transfer_syntax_uid
    for each in wanted:
        if each.syntax in ("*", syntax) or (not each.syntax and frames.is_native(syntax)):
            return True
        if each.syntax in ("", EXPLICIT) and frames.can_decode(syntax):
            return False
    return None


def _object(store: _Store, one: Instance, stored: bool) -> tuple[str, Iterable[bytes]]:
    path = store.archive.path(one.key)
    if not stored:
        try:
            return f"{DICOM}; transfer-syntax={EXPLICIT}", [frames.uncompressed(path)]
        except Refused as error:
            log.warning("sent_as_stored", code=error.code)
    return f"{DICOM}; transfer-syntax={one.transfer_syntax_uid}", frames.whole(path)


def _metadata(store: _Store, found: list[Instance], request: Request) -> Response:
    if not any(one.admits(DICOM_JSON) or one.admits("application/json") for one in _ranges(request)):
        raise _not_acceptable(f"Metadata come as {DICOM_JSON}.")
    base = root(request)

    def pieces() -> Iterator[str]:
        for number, one in enumerate(found):
            place = address(base, one.study_uid, one.series_uid, one.sop_uid)
            text = json.dumps(metadata(store.archive.path(one.key), place), ensure_ascii=False)
            yield ("," if number else "[") + text
        yield "]"

    return StreamingResponse(pieces(), media_type=DICOM_JSON)


def _frames(store: _Store, one: Instance, numbers: str, request: Request) -> Response:
    path = store.archive.path(one.key)
    chosen = _chosen(numbers, frames.count(read_header(path)))
    syntax, decodable = one.transfer_syntax_uid, frames.can_decode(one.transfer_syntax_uid)
    own = frames.PART_TYPES.get(syntax, OCTETS)
    for wanted in _ranges(request):
        if not frames.is_native(syntax) and _wants_stored(wanted, syntax, own):
            kind = own if wanted.admits(own) else OCTETS
            return _parts(wanted, f"{kind}; transfer-syntax={syntax}", frames.stored(path, chosen))
        if wanted.syntax in ("", "*", EXPLICIT) and wanted.admits(OCTETS) and decodable:
            first, rest = _begin(frames.decoded(path, chosen))
            return _parts(wanted, f"{OCTETS}; transfer-syntax={EXPLICIT}", _chain(first, rest))
    raise _not_acceptable(f'Frames come as multipart/related; type="{OCTETS}", or as they are stored.')


def _wants_stored(wanted: Range, syntax: str, own: str) -> bool:
    """Whether compressed frames shall go out as they are: asked for by transfer syntax, or by their media type.

    ``*`` with octet-stream means any syntax of an uncompressed media type, which is the decoded one.
    """
    if wanted.syntax == syntax:
        return wanted.admits(own) or wanted.admits(OCTETS)
    if wanted.syntax == "*":
        return wanted.admits(own) and wanted.content != OCTETS
    return not wanted.syntax and wanted.content == own != OCTETS


def _begin(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Take the first piece before the answer begins: a refusal then still has a status of its own."""
    try:
        return next(pieces), pieces
    except Refused as error:
        raise _not_acceptable(error.sentence) from None


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _parts(wanted: Range, kind: str, pieces: Iterator[bytes]) -> Response:
    if not wanted.multipart:
        return Response(next(pieces), media_type=kind)
    return _multipart(kind.partition(";")[0], ((kind, [piece]) for piece in pieces))


def _rendered(store: _Store, one: Instance, numbers: str, request: Request) -> Response:
    path = store.archive.path(one.key)
    number = _chosen(numbers, frames.count(read_header(path)))[0]
    for wanted in _ranges(request):
        for kind in rendered.FORMATS:
            if wanted.admits(kind):
                try:
                    return Response(rendered.picture(path, number, kind), media_type=kind)
                except Refused as error:
                    raise _not_acceptable(error.sentence) from None
    raise _not_acceptable("Pictures come as image/jpeg or image/png.")


def _bulkdata(store: _Store, one: Instance, tag: str, request: Request) -> Response:
    path = store.archive.path(one.key)
    wanted = next((each for each in _ranges(request) if each.admits(OCTETS)), None)
    if wanted is None:
        raise _not_acceptable(f"Bulk data come as {OCTETS}.")
    if tag.upper() in ("7FE00010", "7FE00008", "7FE00009"):
        payload: Iterable[bytes] = frames.bulk(path)
    else:
        header = read_header(path)
        number = int(tag, 16) if re.fullmatch("[0-9A-Fa-f]{8}", tag) else 0
        if number not in header or not isinstance(header[number].value, bytes):
            raise NotFound("unknown_object", "This instance has no such bulk data.")
        payload = [header[number].value]
    if not wanted.multipart:
        return StreamingResponse(payload, media_type=OCTETS)
    return _multipart(OCTETS, [(OCTETS, payload)])


def _multipart(kind: str, parts: Iterable[tuple[str, Iterable[bytes]]]) -> Response:
    boundary = uuid.uuid4().hex

    def pieces() -> Iterator[bytes]:
        for content_type, payload in parts:
            yield f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode()
            yield from payload
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return StreamingResponse(pieces(), media_type=f'multipart/related; type="{kind}"; boundary={boundary}')


def _chosen(numbers: str, total: int) -> list[int]:
    if not NUMBERS.fullmatch(numbers):
        raise HTTPException(400, {"code": "bad_frames", "reason": "Frames are numbers from 1, separated by commas."})
    chosen = [int(number) for number in numbers.split(",")]
    if any(not 1 <= number <= total for number in chosen):
        raise NotFound("unknown_frame", f"This instance has {total} frames.")
    return chosen


def _ranges(request: Request) -> list[Range]:
    return ranges(request.query_params.get("accept") or request.headers.get("accept") or "*/*")


def _not_acceptable(reason: str) -> HTTPException:
    return HTTPException(406, {"code": "not_acceptable", "reason": reason})
