"""A stand-in for the gateway in tests of the client: the same addresses, with scripted states and answers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydicom import dcmread

from tests.serving.deliver_peers import serve

STATES = ["receiving", "complete", "processing"]


@dataclass
class Script:
    """What the stand-in knows and was told."""

    final: str = "done"
    steps: list[str] = field(default_factory=lambda: list(STATES))
    code: str = ""
    reason: str = "delivered"
    token: str = ""
    refuse: dict[str, int] = field(default_factory=dict)
    """SOP Instance UID -> failure reason."""
    whole: tuple[int, dict[str, str]] | None = None
    """Status and headers with which every STOW request is answered."""
    stored: dict[str, bytes] = field(default_factory=dict)
    studies: dict[str, list[str]] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    missing_files: set[str] = field(default_factory=set)

    def document(self, uid: str) -> dict[str, Any]:
        """The study as the API tells it; each call is one step further."""
        state = self.steps.pop(0) if self.steps else self.final
        stack = {
            "id": 7,
            "series_uids": ["1.2.3.4", "1.2.3.5"],
            "task": "cardiac",
            "state": state,
            "code": self.code,
            "reason": self.reason,
            "warnings": ["one slice is thicker"],
            "measurements": {"edv_ml": 120.4, "esv_ml": 50.0, "ef_percent": 58.5},
            "results": [
                {"sop_uid": "2.25.1", "series_uid": "2.25.9", "phase": 1, "kind": "seg"},
                {"sop_uid": "2.25.2", "series_uid": "2.25.9", "phase": 2, "kind": "seg"},
                {"sop_uid": "2.25.3", "series_uid": "2.25.10", "phase": 0, "kind": "sr"},
            ],
            "deliveries": [],
            "version": 1,
        }
        unmatched = stack | {"id": 8, "task": "", "state": "not_processed", "reason": "no rule", "results": []}
        ignored = [{"series_uid": "1.2.3.6", "reason": "no images"}]
        stacks = [] if state == "receiving" else [unmatched, stack]
        return {"study_uid": uid, "state": state, "stacks": stacks, "ignored": ignored, "received": 3}


@contextmanager
def gateway(script: Script) -> Iterator[str]:
    """Run the stand-in; gives its DICOMweb root."""
    app = FastAPI()

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        if script.token and request.headers.get("authorization") != f"Bearer {script.token}":
            return JSONResponse({"code": "bad_token", "reason": "The bearer token is not known here."}, 401)
        answer: Response = await call_next(request)
        return answer

    _add_dicomweb(app, script)
    _add_api(app, script)
    with serve(app) as base:
        yield f"{base}/dicom-web"


def _add_dicomweb(app: FastAPI, script: Script) -> None:
    @app.post("/dicom-web/studies")
    async def store(request: Request) -> Response:
        boundary = re.search(r"boundary=(\S+)", request.headers["content-type"])
        assert boundary is not None
        parts = (await request.body()).split(f"--{boundary[1]}".encode())[1:-1]
        if script.whole:
            return JSONResponse({}, script.whole[0], script.whole[1])
        script.batches.append(len(parts))
        kept, failed = [], []
        for part in parts:
            content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            uid, study = _identity(content)
            if not uid or uid in script.refuse:
                failed.append({"00081197": {"vr": "US", "Value": [script.refuse.get(uid, 0xC000)]}})
            else:
                script.stored[uid] = content
                script.studies.setdefault(study, []).append(uid)
                kept.append({"00081155": {"vr": "UI", "Value": [uid]}})
        document: dict[str, Any] = {}
        if kept:
            document["00081199"] = {"vr": "SQ", "Value": kept}
        if failed:
            document["00081198"] = {"vr": "SQ", "Value": failed}
        headers = {"Warning": '299 segloop "It is cut off."'} if failed else {}
        return JSONResponse(document, 200 if not failed else 202 if kept else 409, headers)

    @app.get("/dicom-web/studies/{study}/series/{series}/instances/{uid}")
    def instance(study: str, series: str, uid: str) -> Response:
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + f"SEG {uid}\r\n".encode() + b"\r\n--x--\r\n"
        return Response(body, media_type='multipart/related; type="application/dicom"; boundary=x')


def _identity(content: bytes) -> tuple[str, str]:
    try:
        dataset = dcmread(BytesIO(content), stop_before_pixels=True)
        return str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID)
    except Exception:
        return "", ""


def _unknown() -> JSONResponse:
    return JSONResponse({"code": "unknown_study", "reason": "There is no such study here."}, 404)


def _add_api(app: FastAPI, script: Script) -> None:
    @app.get("/api/studies")
    def studies(state: str = "") -> list[dict[str, Any]]:
        kept = script.studies if state in ("", script.final) else {}
        return [
            {"study_uid": uid, "state": script.final, "task": "cardiac", "received": 1, "reason": "[why]"}
            for uid in kept
        ]

    @app.get("/api/studies/{uid}", response_model=None)
    def study(uid: str) -> dict[str, Any] | JSONResponse:
        return script.document(uid) if uid in script.studies else _unknown()

    @app.post("/api/studies/{uid}/complete", response_model=None)
    def complete(uid: str) -> dict[str, str] | JSONResponse:
        script.completed.append(uid)
        return {"study_uid": uid} if uid in script.studies else _unknown()

    @app.post("/api/studies/{uid}/retry", response_model=None)
    def retry(uid: str) -> dict[str, Any] | JSONResponse:
        script.retried.append(uid)
        return {"study_uid": uid, "stacks": 2} if uid in script.studies else _unknown()

    @app.delete("/api/studies/{uid}", response_model=None)
    def delete(uid: str) -> dict[str, Any] | JSONResponse:
        script.deleted.append(uid)
        return {"study_uid": uid, "deleted": 5} if uid in script.studies else _unknown()

    @app.get("/api/studies/{uid}/stacks/{stack}/{name}", response_model=None)
    def file(stack: int, name: str) -> Response:
        if stack != 7 or name in script.missing_files:
            return JSONResponse({"code": "no_file", "reason": "no such file"}, 404)
        return Response(f"{stack} {name}".encode())

    @app.post("/api/destinations/{name}/echo", response_model=None)
    def echo(name: str) -> dict[str, Any] | JSONResponse:
        if name == "nobody":
            return JSONResponse({"code": "unknown_destination", "reason": "There is no such destination."}, 404)
        return {"ok": name == "pacs", "sentence": f"{name}: [answers]", "seconds": 0.25}
