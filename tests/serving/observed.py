"""A gateway's parts that answer ``/readyz`` and ``/metrics``, each of which a test can break."""

from pathlib import Path

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.tasks import Task
from serving import observe
from serving.archive import Archive
from serving.readiness import Readiness
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
        app.include_router(observe.router(self.db, self.archive, self.readiness(), self.settings))
        return TestClient(app)

    def readiness(self) -> Readiness:
        return Readiness(self.db, self.archive, self.pool, self.settings)  # type: ignore[arg-type]
