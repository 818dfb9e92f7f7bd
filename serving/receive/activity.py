"""Which studies are arriving right now: an open association or request that carried a study defers its completeness."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Carrier:
    """One association or request. Its studies count as open until it is closed or no longer alive."""

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive
        self._closed = False
        self._studies: set[str] = set()

    def touch(self, study_uid: str) -> None:
        """Say that an object of this study came; call it before the object is acknowledged."""
        self._studies.add(study_uid)

    def close(self) -> None:
        """The association or request is over."""
        self._closed = True

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return not self._closed and self._alive()

    @property
    def studies(self) -> frozenset[str]:
        """The studies it has carried so far."""
        return frozenset(self._studies)


class Activity:
    """All carriers of this process. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._carriers: list[Carrier] = []

    def open(self, alive: Callable[[], bool] = lambda: True) -> Carrier:
        """Return a new carrier; ``alive`` ends it without a call of ``close``, when its thread or peer is gone."""
        carrier = Carrier(alive)
        with self._lock:
            self._carriers.append(carrier)
        return carrier

    @contextmanager
    def carrying(self) -> Iterator[Carrier]:
        """Give a carrier for the length of the block."""
        carrier = self.open()
        try:
            yield carrier
        finally:
            carrier.close()

    def open_studies(self) -> set[str]:
        """Return the studies that are still arriving."""
        with self._lock:
            self._carriers = [carrier for carrier in self._carriers if carrier.open]
            return set().union(*(carrier.studies for carrier in self._carriers))
