"""A receiving side of its own for tests, and DICOM objects as bytes in every encoding."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian
from sqlalchemy import select

from serving.archive import Archive
from serving.dicomweb import qido, wado
from serving.guard import Guard
from serving.guard.middleware import GuardMiddleware
from serving.index.database import Database
from serving.index.models import Instance, Sender, Study
from serving.problems import explain_errors
from serving.receive import stow
from serving.receive.activity import Activity
from serving.receive.ingest import Accepted, Intake
from serving.settings import Settings
from tests.conftest import find_free_port


def encoded(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """Return a data set as a DICOM file in an uncompressed little-endian transfer syntax."""
    buffer = BytesIO()
    dataset.file_meta.TransferSyntaxUID = syntax
    implicit = syntax == "1.2.840.10008.1.2"
    dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


@dataclass
class Receiving:
    """The parts of a gateway that receive, over a folder of their own."""

    settings: Settings
    db: Database
    archive: Archive
    activity: Activity
    intake: Intake
    guard: Guard

    def take(self, content: bytes | Dataset, source: str = "ae:A", **options: Any) -> Accepted:
        """Hand an object to the intake as a receiver would."""
        incoming = self.archive.incoming()
        incoming.write(content if isinstance(content, bytes) else encoded(content))
        return self.intake.accept(incoming, source, **options)

    def rows(self) -> list[Instance]:
        """Return all rows of instances, in order of arrival."""
        with self.db.read() as session:
            return list(session.scalars(select(Instance).order_by(Instance.id)))

    def kinds(self) -> list[str]:
        """Return the kinds of all rows, sorted."""
        return sorted(row.kind for row in self.rows())

    def senders(self) -> set[str]:
        """Return all sources."""
        with self.db.read() as session:
            return set(session.scalars(select(Sender.source)))

    def study(self) -> Study:
        """Return the one study."""
        with self.db.read() as session:
            return session.scalars(select(Study)).one()

    def files(self) -> list[Path]:
        """Return all files of the archive."""
        return sorted((self.settings.home / "archive").glob("*/*"))

    def quarantined(self) -> list[Path]:
        """Return all files of the quarantine."""
        return sorted((self.settings.home / "quarantine").iterdir())

    def unfinished(self) -> list[Path]:
        """Return what is half received."""
        return sorted((self.settings.home / "incoming").iterdir())

    def app(self) -> FastAPI:
        """Return the DICOMweb side as an application, with the guard before it."""
        app = FastAPI()
        explain_errors(app)
        app.include_router(stow.router(self.intake, self.activity, self.guard))
        app.include_router(qido.router(self.db, self.archive))
        app.include_router(wado.router(self.db, self.archive))
        app.add_middleware(GuardMiddleware, guard=self.guard)
        return app


@contextmanager
def receiving(home: Path, **settings: Any) -> Iterator[Receiving]:
    """Give a receiving side under ``home``."""
    home.mkdir(parents=True, exist_ok=True)
    made = Settings(home=home, **{"dicom_port": 0, "min_free_gb": 0, **settings})
    db = Database(made.sqlite_url)
    db.migrate()
    archive, activity, guard = Archive(home, made.quarantine_mb), Activity(), Guard(made)
    guard.check_start()
    intake = Intake(db, archive, made, activity)
    try:
        yield Receiving(made, db, archive, activity, intake, guard)
    finally:
        db.close()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of loopback and give its address."""
    port = find_free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    waiting = threading.Event()
    try:
        while not server.started and thread.is_alive():
            waiting.wait(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
