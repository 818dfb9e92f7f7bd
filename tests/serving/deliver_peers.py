"""Receivers for tests of delivery, on loopback: a C-STORE SCP and a STOW-RS server whose answers are scripted."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, SegmentationStorage
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from tests.conftest import find_free_port


def write_object(
    path: Path,
    sop_uid: str = "2.25.1",
    sop_class: str = SegmentationStorage,
    *,
    syntax: UID = ExplicitVRLittleEndian,
    study_uid: str = "1.2.3",
) -> Path:
    """Write a small DICOM file; in a compressed transfer syntax its pixels are bytes without meaning."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, f"{study_uid}.4"
    dataset.PatientID, dataset.Modality = "P", "SEG"
    pixels = bytes(range(256)) * 16
    dataset.PixelData = encapsulate([pixels]) if syntax.is_compressed else pixels
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = syntax.is_compressed
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


@dataclass
class ScpScript:
    """What the SCP answers (the last status for ever), and the SOP Instance UIDs that it was sent."""

    statuses: list[int] = field(default_factory=lambda: [0x0000])
    received: list[str] = field(default_factory=list)
    syntaxes: list[str] = field(default_factory=list)
    called: list[str] = field(default_factory=list)


@contextmanager
def scp(
    script: ScpScript,
    *,
    title: str = "PACS",
    require_calling: str = "",
    classes: tuple[str, ...] = (SegmentationStorage,),
    implicit_only: bool = False,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
    """Run a C-STORE SCP that insists on its own title; gives its port."""
    entity = AE(ae_title=title)
    entity.require_called_aet = True
    if require_calling:
        entity.require_calling_aet = [require_calling]
    entity.add_supported_context(Verification)
    for sop_class in classes:
        entity.add_supported_context(
            sop_class, ImplicitVRLittleEndian if implicit_only else [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
        )

    def on_store(event: evt.Event) -> int:
        script.received.append(event.request.AffectedSOPInstanceUID)
        script.syntaxes.append(event.context.transfer_syntax)
        return script.statuses.pop(0) if len(script.statuses) > 1 else script.statuses[0]

    # The gateway's own receiver takes every storage class, by a setting of the whole process; this one must not.
    _config.UNRESTRICTED_STORAGE_SERVICE = False
    port = port or find_free_port()
    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)], ssl_context=tls
    )
    try:
        yield port
    finally:
        server.shutdown()


@dataclass
class StowScript:
    """What the STOW-RS peer answers (status, DICOM JSON; the last pair for ever), and the requests it saw."""

    answers: list[tuple[int, object]] = field(default_factory=lambda: [(200, {})])
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def stow_peer(script: StowScript) -> Iterator[str]:
    """Run a STOW-RS peer; gives its DICOMweb root."""
    app = FastAPI()

    @app.post("/dicom-web/studies")
    async def store(request: Request) -> Response:
        script.headers.append(dict(request.headers))
        script.bodies.append(await request.body())
        status, document = script.answers.pop(0) if len(script.answers) > 1 else script.answers[0]
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        return Response(body, status, media_type="application/dicom+json")

    @app.get("/dicom-web/studies")
    def studies(request: Request) -> Response:
        script.headers.append(dict(request.headers))
        return Response(b"", 204 if request.headers.get("authorization", "Bearer good") == "Bearer good" else 401)

    with serve(app) as base:
        yield f"{base}/dicom-web"


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Run an application on a free port of loopback; gives its base address."""
    port = find_free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
