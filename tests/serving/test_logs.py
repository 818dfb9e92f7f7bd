"""Every line is one JSON object, and none names a patient."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from serving.logs import configure_logging, drop_patient_data, log

SECRET = "ZZZZ^SECRET"
NAMES = ("patient_name", "PatientName", "patientID", "PATIENT_BIRTH_DATE", "accession_number", "StudyDate", "patient")


@given(
    path=st.lists(st.sampled_from(["a", "study", 0]), max_size=4),
    name=st.sampled_from(NAMES),
)
def test_what_identifies_a_patient_is_dropped_at_any_depth(path: list[str | int], name: str) -> None:
    value: object = {name: SECRET, "kept": 1}
    for step in path:
        value = [value] if step == 0 else {step: value}
    kept = drop_patient_data(None, "info", {"event": "x", "value": value})
    assert SECRET not in repr(kept)
    assert "'kept': 1" in repr(kept)


def test_a_whole_data_set_is_never_logged() -> None:
    data = Dataset()
    data.PatientName = SECRET
    assert SECRET not in repr(drop_patient_data(None, "info", {"event": "x", "it": data, "many": [data]}))


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What goes to stderr while logging is set up as in the gateway; the set-up is undone afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_every_line_is_one_json_object_ours_and_the_libraries(stderr: io.StringIO) -> None:
    log.info("received", study="1.2", patient_name=SECRET)
    logging.getLogger("uvicorn.error").warning("started on %s", "port")
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.exception("step_failed", step="read")
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["received", "started on port", "step_failed"]
    assert all({"level", "timestamp", "logger"} <= set(line) for line in lines)
    assert lines[2]["error"] == "ValueError"
    assert any("test_logs.py" in place for place in lines[2]["where"])
    assert SECRET not in stderr.getvalue()
