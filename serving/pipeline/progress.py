"""How far the prediction that runs now has come, for those who wait for it. Only in memory: it ends with the run."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Slices done of all, and the seconds that are left at the pace so far."""

    done: int
    total: int
    eta_s: float


class Board:
    """The running predictions by stack. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, Progress] = {}

    def running(self) -> Mapping[int, Progress]:
        """Return what runs now, by stack id."""
        with self._lock:
            return dict(self._running)

    @contextmanager
    def watching(self, stack_id: int) -> Iterator[Callable[[int, int], None]]:
        """Give the function that notes (slices done, slices in all) of a stack for as long as the block lasts."""
        started = time.monotonic()

        def note(done: int, total: int) -> None:
            left = (time.monotonic() - started) / max(done, 1) * (total - done)
            with self._lock:
                self._running[stack_id] = Progress(done, total, round(left, 1))

        try:
            yield note
        finally:
            with self._lock:
                self._running.pop(stack_id, None)
