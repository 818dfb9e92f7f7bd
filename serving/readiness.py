"""Would a study that comes now be answered?"""

import socket
import threading
import time
from dataclasses import dataclass

import numpy as np
from sqlalchemy import text

from contracts.errors import SegloopError
from contracts.known_answer import agrees, count_labels, known_slice
from contracts.model_contract import ModelContract
from contracts.tasks import Task
from serving.archive import Archive
from serving.engines.pool import EnginePool
from serving.index.database import Database
from serving.settings import Settings

KEPT_S = 60.0
"""Seconds for which a good answer of the test inference stands. A bad one is tried again at the next look."""


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
        self._answers: dict[str, dict[str, int]] = {}
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
        """Run the test inference: the answer must be the contract's, or that of the first time where it names none."""
        engine = self._engines.serving(task)
        contract = engine.contract
        labels = engine.run(known_slice(contract))
        if labels.shape != (1, *contract.output.shape) or not set(np.unique(labels)) <= _values(contract):
            return "the answer has another shape or other labels than the contract names"
        counts = count_labels(labels, contract)
        known = contract.known_answer or self._answers.setdefault(contract.digest, counts)
        return "" if agrees(counts, known) else "the answer differs from the known one"


def _values(contract: ModelContract) -> set[int]:
    return {0, *(label.value for label in contract.labels)}
