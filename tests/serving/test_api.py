"""The gateway's own API, over its real parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving import api
from serving.engines.pool import EnginePool
from serving.pipeline.progress import Board
from serving.problems import explain_errors
from tests.builders import Exam
from tests.serving.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """Two studies with a stack each, the first of which has its pictures."""
    made = Parts(tmp_path, model_repository=tmp_path)
    for name in ("one", "other"):
        made.receive(Exam(name).short_axis())
    made.settle()
    folder = tmp_path / "results" / "1"
    folder.mkdir(parents=True)
    for name in ("overlay.png", "measurements.json", "labels.npz"):
        (folder / name).write_bytes(name.encode())
    yield made
    made.close()


@pytest.fixture
def client(parts: Parts) -> TestClient:
    app, settings = FastAPI(), parts.settings
    explain_errors(app)
    app.include_router(api.router(parts.db, parts.archive, EnginePool(settings), parts.rules, settings, Board()))
    return TestClient(app)


def test_pictures_come_by_the_stack_or_by_its_study(client: TestClient, parts: Parts) -> None:
    first, second = parts.stacks()
    for place in ("/api/stacks/1", f"/api/studies/{first.study_uid}/stacks/1"):
        assert client.get(f"{place}/overlay.png").content == b"overlay.png"
        assert client.get(f"{place}/measurements.json").headers["content-type"] == "application/json"
    guessed = client.get(f"/api/studies/{second.study_uid}/stacks/1/overlay.png")
    assert (guessed.status_code, guessed.json()["code"]) == (404, "unknown_stack")


@pytest.mark.parametrize(
    "name", ["labels.npz", "thumbnail.png", "..%2F1%2Foverlay.png", "%2e%2e/%2e%2e/index.sqlite", "x"]
)
def test_nothing_else_of_the_folder_comes(client: TestClient, parts: Parts, name: str) -> None:
    for place in ("/api/stacks/1", f"/api/studies/{parts.stacks()[0].study_uid}/stacks/1"):
        answer = client.get(f"{place}/{name}")
        assert answer.status_code == 404
        assert set(answer.json()) == {"code", "reason"}


def test_what_cannot_be_done_says_why(client: TestClient) -> None:
    asked = {
        "unknown_study": client.post("/api/studies/1.2.3/complete"),
        "not_held": client.post("/api/stacks/1/release", json={"reason": "fine"}),
        "bad_arguments": client.get("/api/studies?limit=0"),
        "no_picture": client.get("/api/stacks/1/tile.png?phase=1&slice=1"),
        "unknown_destination": client.post("/api/destinations/nowhere/echo"),
    }
    for code, answer in asked.items():
        assert answer.status_code >= 400
        assert answer.json()["code"] == code
        assert answer.json()["reason"].strip()


def test_a_study_is_completed_retried_and_deleted(client: TestClient, parts: Parts) -> None:
    uid = parts.stacks()[0].study_uid
    assert client.post(f"/api/studies/{uid}/complete").status_code == 202
    assert client.post(f"/api/studies/{uid}/retry").json() == {"study_uid": uid, "stacks": 0}
    assert client.delete(f"/api/studies/{uid}?why=asked").json() == {"study_uid": uid, "deleted": 18}
    assert client.get(f"/api/studies/{uid}").json()["code"] == "unknown_study"
    assert client.get("/api/stacks/1/overlay.png").status_code == 404
