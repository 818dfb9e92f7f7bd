"""Logs: one JSON object a line on stderr, without anything that identifies a patient."""

import logging
import sys
from collections.abc import Callable, Mapping
from traceback import extract_tb
from typing import Any

import structlog
from pydicom import Dataset

log = structlog.get_logger("segloop")


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
                frames_only,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "alembic", "pynetdicom", "dbos", "highdicom", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def frames_only(_logger: object, _method: str, event: Any) -> Any:
    """A structlog processor: of an exception, keep type and place, not its words, which may quote a header."""
    info = event.pop("exc_info", None)
    error = info[1] if isinstance(info, tuple) else info if isinstance(info, BaseException) else sys.exc_info()[1]
    if info and error is not None:
        event["error"] = type(error).__name__
        event["where"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    return event


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
