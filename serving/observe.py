"""For the operator: is the process up, is it ready, what does it count, and what does it log."""

import hashlib
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydicom import Dataset
from sqlalchemy import func, select, text

from contracts.errors import SegloopError
from contracts.model_contract import ModelContract
from contracts.tasks import Task
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.index.database import Database
from serving.index.models import Delivery, StackVersion, Study, Webhook
from serving.settings import Settings

KEPT_S = 60.0
"""Seconds for which a good answer of the test inference stands. A bad one is tried again at the next look."""

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
SECONDS = Histogram(
    "segloop_step_seconds",
    "Seconds of one step of a stack.",
    ["step"],
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 180),
)
RECEIVED = Counter("segloop_received_instances", "Instances since the start, by way.", ["way"], registry=REGISTRY)
RECEIVED_BYTES = Counter("segloop_received_bytes", "Bytes since the start, by way.", ["way"], registry=REGISTRY)

log = structlog.get_logger("segloop")


# --- logging


def configure_logging(level: int = logging.INFO) -> None:
    """Write one JSON object a line to stderr, for our own events and those of the libraries alike."""
    shared: list[Callable[[Any, str, Any], Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        drop_patient_data,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "pynetdicom", "dbos", "highdicom", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


PATIENT_KEYS = frozenset(
    {"accessionnumber", "birthdate", "studydate", "studytime", "otherpatientids", "referringphysicianname", "dataset"}
)
"""Keys, without case and underscores, whose values identify a person; so does every key that begins with patient."""


def drop_patient_data(_logger: object, _method: str, event: Any) -> Any:
    """A structlog processor: leave out what identifies a patient, at any depth, and whole data sets."""
    return {key: _without_patient(value) for key, value in event.items() if not _identifies(key)}


def _without_patient(value: Any) -> Any:
    if isinstance(value, Dataset):
        return "[data set]"
    if isinstance(value, Mapping):
        return {key: _without_patient(item) for key, item in value.items() if not _identifies(key)}
    if isinstance(value, list):
        return [_without_patient(item) for item in value]
    return value


def _identifies(key: object) -> bool:
    plain = str(key).replace("_", "").lower()
    return plain.startswith("patient") or plain in PATIENT_KEYS


# --- readiness


@dataclass(frozen=True)
class Check:
    """One thing that must be right for work to go on, in words."""

    name: str
    ok: bool
    words: str


class Readiness:
    """Looks whether a study that comes now would be answered."""

    def __init__(self, db: Database, archive: Archive, engines: EnginePool, settings: Settings) -> None:
        self._db, self._archive, self._engines, self._settings = db, archive, engines, settings
        self._lock = threading.Lock()
        self._answers: dict[str, str] = {}
        self._inferred: tuple[float, Check] = (0.0, Check("inference", False, "not tried yet"))

    def checks(self) -> list[Check]:
        """Run every check; the inference at most once a minute while it is right."""
        return [self._inference(), self._disk(), self._index(), self._dicom()]

    def _disk(self) -> Check:
        free, least = self._archive.free_gb(), self._settings.min_free_gb
        words = f"{free:.1f} GB free, MIN_FREE_GB is {least:g}"
        return Check("disk", free >= least, words if free >= least else f"{words}: nothing new is accepted")

    def _index(self) -> Check:
        try:
            with self._db.write() as session:
                session.execute(text("select 1"))
                # An update of no row takes the write lock and touches the file as a real write would.
                session.execute(text("update study set settled_at = settled_at where study_uid = ''"))
        except Exception as error:
            return Check("index", False, f"cannot be written: {type(error).__name__}")
        return Check("index", True, "can be written")

    def _dicom(self) -> Check:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.dicom_host, self._settings.dicom_host)  # noqa: S104
        where = f"{self._settings.ae_title}@{self._settings.dicom_host}:{self._settings.dicom_port}"
        try:
            socket.create_connection((host, self._settings.dicom_port), timeout=2).close()
        except OSError as error:
            return Check("dicom", False, f"{where} does not listen: {error.strerror or type(error).__name__}")
        return Check("dicom", True, f"{where} listens")

    def _inference(self) -> Check:
        with self._lock:
            at, check = self._inferred
            if not check.ok or time.monotonic() - at > KEPT_S:
                check = self._infer()
                self._inferred = (time.monotonic(), check)
            return check

    def _infer(self) -> Check:
        started = time.monotonic()
        try:
            asked = [task for task in Task if self._engines.has_model(task)]
            for task in asked:
                problem = self._problem_of(task)
                if problem:
                    return Check("inference", False, f"{task.value}: {problem}")
        except SegloopError as error:
            return Check("inference", False, error.sentence)
        except Exception as error:
            return Check("inference", False, f"The test inference failed: {type(error).__name__}")
        if not asked:
            return Check("inference", False, "No model serves any task: publish and promote one.")
        words = f"{', '.join(task.value for task in asked)}: known answers in {time.monotonic() - started:.2f} s"
        return Check("inference", True, words)

    def _problem_of(self, task: Task) -> str:
        """Run one known slice; what came out the first time must come out every time."""
        engine = self._engines.serving(task)
        contract = engine.contract
        labels = engine.run(known_slice(contract))
        if labels.shape != (1, *contract.output.shape) or not set(np.unique(labels)) <= _values(contract):
            return "the answer has another shape or other labels than the contract names"
        digest = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
        known = self._answers.setdefault(f"{contract.digest}/{contract.variant}", digest)
        return "" if digest == known else "the answer differs from the known one"


def known_slice(contract: ModelContract) -> NDArray[np.float32]:
    """Return the slice of the test inference, float32 [1, channel, row, column]: a bright disc in a darker ring.

    It looks enough like a heart that a mask of some size comes out, and it is the same in every process.
    """
    rows, columns = contract.input.shape[-2:]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    radius = np.hypot(x, y)
    plane = np.where(radius < 0.25, 2.0, np.where(radius < 0.4, -0.5, 0.2 * np.cos(9 * radius)))
    return np.ascontiguousarray(np.broadcast_to(plane, (1, *contract.input.shape)), dtype=np.float32)


def _values(contract: ModelContract) -> set[int]:
    return {0, *(label.value for label in contract.labels)}


# --- metrics


class StateCollector(Collector):
    """Reads the state of the gateway from the index whenever somebody scrapes."""

    def __init__(self, db: Database, archive: Archive, settings: Settings) -> None:
        self._db, self._archive, self._settings = db, archive, settings

    def collect(self) -> Iterator[Metric]:
        """Yield stacks by state, deliveries by state and destination, queue lengths and free disk."""
        stacks = GaugeMetricFamily("segloop_stacks", "Current stack versions by state.", labels=["state"])
        deliveries = GaugeMetricFamily("segloop_deliveries", "Deliveries.", labels=["state", "destination"])
        due = GaugeMetricFamily("segloop_queue_length", "What waits, by queue.", labels=["queue"])
        with self._db.read() as session:
            by_state = select(StackVersion.state, func.count()).where(StackVersion.current).group_by(StackVersion.state)
            for state, count in session.execute(by_state):
                stacks.add_metric([state], count)
                if state in ("complete", "processing", "held"):
                    due.add_metric([state], count)
            by_place = select(Delivery.state, Delivery.destination, func.count()).group_by(
                Delivery.state, Delivery.destination
            )
            for state, destination, count in session.execute(by_place):
                deliveries.add_metric([state, destination], count)
            arriving = select(func.count()).where(Study.settled_at < Study.last_received_at, Study.deleted_at == 0)
            due.add_metric(["receiving"], session.scalar(arriving) or 0)
            due.add_metric(["webhook"], session.scalar(select(func.count()).select_from(Webhook)) or 0)
        yield from (stacks, deliveries, due)
        yield GaugeMetricFamily("segloop_disk_free_bytes", "Free disk under HOME.", value=self._archive.free_gb() * 1e9)
        least = self._settings.min_free_gb * 1e9
        yield GaugeMetricFamily("segloop_disk_least_bytes", "MIN_FREE_GB in bytes.", value=least)


def note_received(source: str, size: int) -> None:
    """Count one received object; ``source`` as in the index (``ae:...`` came by C-STORE, all else by STOW)."""
    way = "dimse" if source.startswith("ae:") else "stow"
    RECEIVED.labels(way).inc()
    RECEIVED_BYTES.labels(way).inc(size)


def router(db: Database, archive: Archive, engines: EnginePool, settings: Settings) -> APIRouter:
    """Return ``/livez``, ``/readyz`` and ``/metrics``."""
    routes = APIRouter(include_in_schema=False)
    readiness = Readiness(db, archive, engines, settings)
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
