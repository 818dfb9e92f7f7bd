"""One commit for all who wait for one: each wait for the disk then serves every association that has something new."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from serving.index import receipts
from serving.index.database import Database
from serving.index.receipts import Arrival

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class _Request:
    arrivals: Sequence[Arrival]
    stored: frozenset[str] = frozenset()
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Commits:
    """Adds new instances to the index. Safe to share between threads.

    There is no thread of its own: whoever gets the turn commits what everybody has handed in by then, so that one
    sender alone waits for nobody.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._turn = threading.Lock()
        self._waiting: SimpleQueue[_Request] = SimpleQueue()

    def add(self, arrivals: Sequence[Arrival]) -> frozenset[str]:
        """Return the keys of those arrivals that were new and are durable now. Raises what the index raises."""
        mine = _Request(arrivals)
        self._waiting.put(mine)
        with self._turn:
            if not mine.done.is_set():
                self._commit(self._handed_in(mine))
        if mine.error is not None:
            raise mine.error
        return mine.stored

    def _handed_in(self, mine: _Request) -> list[_Request]:
        """What waits; ``mine`` with it even where a thread that was ended took it along."""
        requests = []
        try:
            while True:
                requests.append(self._waiting.get_nowait())
        except Empty:
            return requests if mine in requests else [*requests, mine]

    def _commit(self, requests: Sequence[_Request]) -> None:
        try:
            with self._db.write_rows() as connection:
                stored = receipts.add_new(connection, [one for request in requests for one in request.arrivals])
        except Exception as error:
            if len(requests) > 1:  # one of them spoils the rest: each by itself
                for request in requests:
                    self._commit([request])
                return
            requests[0].error = error
        else:
            for request in requests:
                request.stored = stored
        for request in requests:
            request.done.set()
