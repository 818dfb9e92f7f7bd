"""Group commit: one thread writes the index for all receivers, so that a wait for the disk serves many objects."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from sqlalchemy.orm import Session

from serving.index.database import Database

LARGEST_GROUP = 64
Job = Callable[[Session], Any]


class Writer:
    """Runs jobs in transactions of up to ``LARGEST_GROUP``; a job's future is set once its changes are durable."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._jobs: SimpleQueue[tuple[Job, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="index-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> "Future[Any]":
        """Queue a job. A job that raises leaves the others of its group as they would be without it."""
        future: Future[Any] = Future()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._jobs.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group, last = [first], False
            while len(group) < LARGEST_GROUP and not self._jobs.empty():
                following = self._jobs.get()
                if following is None:
                    last = True
                    break
                group.append(following)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[tuple[Job, "Future[Any]"]]) -> None:
        try:
            with self._db.write() as session:
                answers = [job(session) for job, _ in group]
        except BaseException as error:
            if len(group) == 1:
                group[0][1].set_exception(error)
                return
            for one in group:
                self._commit([one])
            return
        for (_, future), answer in zip(group, answers, strict=True):
            future.set_result(answer)
