"""Sessions of people who signed in to the pages. They live in memory: after a restart one signs in again."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass

from serving.guard.tokens import Identity

LIFETIME_S = 12 * 3600
MOST_SESSIONS = 10_000
MOST_FAILURES = 10
FAILURE_WINDOW_S = 60.0


@dataclass(frozen=True)
class Session:
    """One signed-in browser: who it is, the value its unsafe requests must carry, and when it ends (UTC seconds)."""

    identity: Identity
    csrf: str
    ends_at: float

    def csrf_matches(self, given: str) -> bool:
        """Compare a CSRF value in constant time."""
        return hmac.compare_digest(self.csrf.encode(), given.encode())


class Sessions:
    """Table of sessions, keyed by the digest of the cookie's value."""

    def __init__(self) -> None:
        self._table: dict[bytes, Session] = {}
        self._lock = threading.Lock()

    def open(self, identity: Identity) -> str:
        """Begin a session and return the value of its cookie."""
        value, now = secrets.token_urlsafe(32), time.time()
        with self._lock:
            self._table = {key: session for key, session in self._table.items() if session.ends_at > now}
            while len(self._table) >= MOST_SESSIONS:
                self._table.pop(next(iter(self._table)))
            self._table[_digest(value)] = Session(identity, secrets.token_urlsafe(32), now + LIFETIME_S)
        return value

    def find(self, value: str) -> Session | None:
        """Return the session of a cookie unless it has ended."""
        session = self._table.get(_digest(value))
        return session if session is not None and session.ends_at > time.time() else None

    def close(self, value: str) -> None:
        """End a session at once; an unknown value is no error."""
        with self._lock:
            self._table.pop(_digest(value), None)


class Failures:
    """Counts failed sign-ins by client address within a minute."""

    def __init__(self) -> None:
        self._times: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def note(self, address: str) -> None:
        """Remember one failure."""
        with self._lock:
            for known in [name for name in self._times if not self._recent(name)]:
                del self._times[known]
            self._times.setdefault(address, deque(maxlen=MOST_FAILURES)).append(time.monotonic())

    def too_many(self, address: str) -> bool:
        """Return whether this address must wait before it may try again."""
        with self._lock:
            return self._recent(address) >= MOST_FAILURES

    def _recent(self, address: str) -> int:
        edge = time.monotonic() - FAILURE_WINDOW_S
        return sum(at > edge for at in self._times.get(address, ()))


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode()).digest()
