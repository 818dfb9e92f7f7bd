"""Ready means that a study would be answered; counts are those of the index; logs name no patient."""

import io
import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from pydicom import Dataset

from contracts.errors import Broken, Missing
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.tasks import Task
from serving import observe, readiness
from serving.archive import Archive
from serving.index.database import Database
from serving.logs import configure_logging, drop_patient_data
from serving.metrics import note_received
from serving.readiness import Readiness, known_slice
from serving.settings import Settings
from tests.serving import synthetic_index


class FakeEngine:
    """Answers with whatever ``answer`` is and counts how often it was asked."""

    provider, why = "none", "a stand-in"

    def __init__(self) -> None:
        self.contract = draft_contract(Task.CARDIAC, Prepare(), version=1)
        self.answer: NDArray[np.uint8] = np.zeros((1, 256, 256), np.uint8)
        self.error: Exception | None = None
        self.runs = 0

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.runs += 1
        if self.error:
            raise self.error
        return self.answer


class FakePool:
    """A pool that serves the cardiac task with one engine, or no task at all."""

    def __init__(self, engine: FakeEngine | None) -> None:
        self.engine = engine

    def has_model(self, task: Task) -> bool:
        return self.engine is not None and task is Task.CARDIAC

    def serving(self, task: Task) -> FakeEngine:
        assert self.engine is not None
        return self.engine


class Bench:
    """A readiness whose every part can be broken."""

    def __init__(self, folder: Path, port: int) -> None:
        self.engine = FakeEngine()
        self.pool = FakePool(self.engine)
        self.settings = Settings(home=folder, dicom_port=port, min_free_gb=0)
        self.db = synthetic_index.database(folder)
        self.archive = Archive(folder)

    def client(self) -> TestClient:
        app = FastAPI()
        app.include_router(observe.router(self.db, self.archive, self.pool, self.settings))  # type: ignore[arg-type]
        return TestClient(app)

    def readiness(self) -> Readiness:
        return Readiness(self.db, self.archive, self.pool, self.settings)  # type: ignore[arg-type]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A gateway that is ready: its DICOM port is a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = Bench(tmp_path, listener.getsockname()[1])
        yield found
        found.db.close()


def failing(bench: Bench) -> set[str]:
    answer = bench.client().get("/readyz")
    checks = answer.json()["checks"]
    assert all(check["words"] for check in checks)
    wrong = {check["name"] for check in checks if not check["ok"]}
    assert answer.status_code == (503 if wrong else 200)
    assert answer.json()["ready"] == (not wrong)
    return wrong


def test_it_lives_without_anything_else(bench: Bench) -> None:
    bench.pool.engine = None
    assert bench.client().get("/livez").json() == {"ok": True}


def test_ready_says_what_was_looked_at(bench: Bench) -> None:
    assert failing(bench) == set()
    assert {check.name for check in bench.readiness().checks()} == {"inference", "disk", "index", "dicom"}


def test_each_broken_part_is_named_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.settings = bench.settings.model_copy(update={"min_free_gb": 1e9})
    assert failing(bench) == {"disk"}
    bench.settings = bench.settings.model_copy(update={"min_free_gb": 0.0, "dicom_port": 1})
    assert failing(bench) == {"dicom"}


def test_an_index_that_cannot_be_written_is_not_ready(bench: Bench) -> None:
    with bench.db.write() as session:
        session.connection().exec_driver_sql("PRAGMA query_only = 1")
    assert "index" in failing(bench)


@pytest.mark.parametrize("error", [Broken("x", "It broke."), Missing("no_model", "Gone."), RuntimeError("secret")])
def test_an_engine_that_fails_is_not_ready_and_is_asked_again_at_once(bench: Bench, error: Exception) -> None:
    bench.engine.error = error
    looks = bench.readiness()
    first = looks.checks()[0]
    assert not first.ok
    assert "secret" not in first.words
    bench.engine.error = None
    assert looks.checks()[0].ok


def test_no_model_at_all_is_not_ready(bench: Bench) -> None:
    bench.pool.engine = None
    assert failing(bench) == {"inference"}


@pytest.mark.parametrize(
    "answer",
    [np.zeros((1, 128, 128), np.uint8), np.full((1, 256, 256), 9, np.uint8), np.zeros((2, 256, 256), np.uint8)],
)
def test_an_answer_of_another_shape_or_with_unknown_labels_is_wrong(bench: Bench, answer: NDArray[np.uint8]) -> None:
    bench.engine.answer = answer
    assert not bench.readiness().checks()[0].ok


def test_a_good_answer_is_kept_for_a_minute_and_then_must_be_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(readiness.time, "monotonic", lambda: clock[0])
    looks = bench.readiness()
    for _ in range(5):
        assert looks.checks()[0].ok
    assert bench.engine.runs == 1
    clock[0] += readiness.KEPT_S + 1
    bench.engine.answer = np.ones((1, 256, 256), np.uint8)
    assert not looks.checks()[0].ok
    assert bench.engine.runs == 2


def test_a_new_version_has_an_answer_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(readiness.time, "monotonic", lambda: clock[0])
    looks = bench.readiness()
    assert looks.checks()[0].ok
    clock[0] += readiness.KEPT_S + 1
    bench.engine.contract = bench.engine.contract.model_copy(update={"model_sha256": "f" * 64})
    bench.engine.answer = np.ones((1, 256, 256), np.uint8)
    assert looks.checks()[0].ok


def test_the_known_slice_is_a_prepared_slice_and_the_same_each_time() -> None:
    contract = draft_contract(Task.CARDIAC, Prepare())
    first, second = known_slice(contract), known_slice(contract)
    assert (first.shape, first.dtype) == ((1, 1, 128, 128), np.float32)
    assert 0 <= first.min() < first.max() <= 1
    assert np.array_equal(first, second)


# --- metrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_the_index_holds(bench: Bench) -> None:
    client = bench.client()
    assert samples(client.get("/metrics").text)[("segloop_queue_length", "receiving")] == 0
    synthetic_index.fill(bench.db)
    observe.SECONDS.labels(step="read").observe(0.4)
    before = samples(client.get("/metrics").text)
    note_received("ae:SCANNER1", 100)
    note_received("token:x", 5)
    note_received("local", 7)
    found = samples(client.get("/metrics").text)
    for state in synthetic_index.STATES:
        assert found[("segloop_stacks", state)] == 1
    assert found[("segloop_deliveries", "pacs1", "delivered")] == 2
    assert found[("segloop_deliveries", "pacs1", "waiting")] == 2
    assert found[("segloop_queue_length", "receiving")] == 1
    assert found[("segloop_step_seconds_count", "read")] >= 1
    assert found[("segloop_disk_free_bytes",)] > 0
    for way, count, size in (("dimse", 1, 100), ("stow", 2, 12)):
        assert (
            found[("segloop_received_instances_total", way)] - before.get(("segloop_received_instances_total", way), 0)
            == count
        )
        assert (
            found[("segloop_received_bytes_total", way)] - before.get(("segloop_received_bytes_total", way), 0) == size
        )


def test_metrics_hold_no_patient(bench: Bench) -> None:
    synthetic_index.fill(bench.db)
    assert not any(word in bench.client().get("/metrics").text for word in ("Müller", "SYN-", "2.25.1000"))


# --- logs

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
    observe.log.info("received", study="1.2", patient_name=SECRET)
    logging.getLogger("uvicorn.error").warning("started on %s", "port")
    try:
        raise ValueError("broken")
    except ValueError:
        observe.log.exception("step_failed", step="read")
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["received", "started on port", "step_failed"]
    assert all({"level", "timestamp", "logger"} <= set(line) for line in lines)
    assert "ValueError: broken" in lines[2]["exception"]
    assert SECRET not in stderr.getvalue()


def test_the_index_check_leaves_nothing_behind(bench: Bench) -> None:
    def rows(db: Database) -> list[int]:
        with db.read() as session:
            return [session.connection().exec_driver_sql("select count(*) from study").scalar_one()]

    synthetic_index.fill(bench.db)
    before = rows(bench.db)
    bench.readiness().checks()
    assert rows(bench.db) == before
