"""Ready means that a study would be answered: each part that would stop it is named."""

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.errors import Broken, Missing
from contracts.known_answer import count_labels, known_slice
from serving import readiness
from serving.index.database import Database
from tests.serving import synthetic_index
from tests.serving.observed import Bench


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


def test_the_contract_s_known_answer_is_what_must_come_out(bench: Bench) -> None:
    counts = count_labels(bench.engine.run(known_slice(bench.engine.contract)), bench.engine.contract)
    for known, right in ((counts, True), ({name: count + 5000 for name, count in counts.items()}, False)):
        bench.engine.contract = bench.engine.contract.model_copy(update={"known_answer": known})
        assert bench.readiness().checks()[0].ok == right


def test_the_index_check_leaves_nothing_behind(bench: Bench) -> None:
    def rows(db: Database) -> list[int]:
        with db.read() as session:
            return [session.connection().exec_driver_sql("select count(*) from study").scalar_one()]

    synthetic_index.fill(bench.db)
    before = rows(bench.db)
    bench.readiness().checks()
    assert rows(bench.db) == before
