"""The gateway's heartbeat: one thread that looks, a few times a second, for work that has become due.

All of its knowledge stands in the index, so a restart loses nothing. Looking costs a few indexed queries.
"""

import datetime
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import select

from contracts.errors import NotYet
from serving import durable, webhook
from serving.archive import Archive
from serving.deliver import due
from serving.index.database import Database
from serving.index.models import StackVersion, Study
from serving.observe import log
from serving.pipeline.settle import Settler
from serving.removal import remove_study
from serving.settings import Settings

BEAT_S = 0.25
MINUTE_S = 60.0
HOUR_S = 3600.0
KEPT_WORKFLOWS_DAYS = 14


class Ticker:
    """Settles studies, starts work, tries deliveries, posts webhooks, removes what is past its retention."""

    def __init__(self, db: Database, archive: Archive, settler: Settler, settings: Settings) -> None:
        """``start`` begins."""
        self._db, self._archive, self._settler, self._settings = db, archive, settler, settings
        self._stop = threading.Event()
        self._started: set[tuple[int, int]] = set()
        self._trying: set[tuple[int, int]] = set()
        self._next_minute = self._next_hourly = 0.0
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking and wait for the look that is under way."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        looks: tuple[Callable[[], object], ...] = (
            self._settler.settle_due,
            self._start_work,
            self._try_deliveries,
            self._post_webhooks,
            self._each_minute,
            self._hourly,
        )
        while not self._stop.wait(BEAT_S):
            for look in looks:
                try:
                    look()
                except Exception:
                    log.exception("look_failed", look=look.__name__)
                    self._stop.wait(1.0)

    def _start_work(self) -> None:
        with self._db.read() as session:
            rows = session.execute(
                select(StackVersion.id, StackVersion.attempt, StackVersion.state, StackVersion.code).where(
                    StackVersion.state.in_(("complete", "processing"))
                )
            ).all()
        for stack_id, attempt, state, code in rows:
            released = state == "processing" and code == "released"
            if (stack_id, attempt) not in self._started:  # what the engine knows already is not started again
                durable.process(stack_id, attempt, after_release=released)
                self._started.add((stack_id, attempt))

    def _try_deliveries(self) -> None:
        with self._db.read() as session:
            waiting = [(row.id, row.attempts + 1) for row in due(session, time.time())]
        self._trying &= set(waiting)
        for delivery_id, attempt in waiting:
            if (delivery_id, attempt) not in self._trying:
                durable.deliver(delivery_id, attempt)
                self._trying.add((delivery_id, attempt))

    def _post_webhooks(self) -> None:
        webhook.post_due(self._db, self._settings, time.time())

    def _each_minute(self) -> None:
        if time.time() >= self._next_minute:
            self._next_minute = time.time() + MINUTE_S
            durable.give_up_on_broken_work()
            if durable.forget_broken_tries():
                self._trying.clear()

    def _hourly(self) -> None:
        now = time.time()
        if now < self._next_hourly:
            return
        self._next_hourly = now + HOUR_S
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=KEPT_WORKFLOWS_DAYS)
        durable.purge(before.isoformat())
        if self._settings.retention_days > 0:
            self._expire(now - self._settings.retention_days * 86400)

    def _expire(self, before: float) -> None:
        with self._db.read() as session:
            old = session.scalars(
                select(Study.study_uid).where(
                    Study.last_received_at < before,
                    Study.settled_at >= Study.last_received_at,
                    ~select(StackVersion.id)
                    .where(
                        StackVersion.study_uid == Study.study_uid,
                        StackVersion.current,
                        StackVersion.state.in_(("complete", "processing", "held", "delivering")),
                    )
                    .exists(),
                )
            ).all()
        for study_uid in old:
            with suppress(NotYet):  # an older version is just ending: in an hour, then
                remove_study(self._db, self._archive, study_uid, who="segloop", why="RETENTION_DAYS")
