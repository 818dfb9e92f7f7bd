"""Tells another system that a stack was refused, held or failed: its sender heard "stored" long before."""

import socket
import time

import httpx
import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from serving.index.database import Database
from serving.index.models import StackVersion, Webhook
from serving.settings import Settings

TAKEN, REJECTED, SILENCE = "taken", "rejected", "silence"
FIRST_WAIT_S = 10.0
LONGEST_WAIT_S = 3600.0
BATCH = 50
TIMEOUT_S = 5.0
log = structlog.get_logger("webhook")


def announce(session: Session, stack: StackVersion) -> None:
    """Queue an event about a stack, in the caller's transaction. It holds no patient data."""
    session.add(
        Webhook(
            body={
                "study_uid": stack.study_uid,
                "stack_id": stack.id,
                "task": stack.task,
                "state": stack.state,
                "code": stack.code,
                "reason": stack.reason,
                "at": stack.changed_at,
                "link": f"/studies/{stack.study_uid}",
            },
            next_at=time.time(),
        )
    )


def post_due(db: Database, settings: Settings, now: float, client: httpx.Client | None = None) -> int:
    """Post every event that is due and return how many were taken (an answer of 2xx).

    An event that was not taken stays and waits longer each time, up to an hour. A receiver that does not answer at
    all postpones every event, so that silence costs one wait and not one for each. Without WEBHOOK_URL events are
    dropped.
    """
    with db.read() as session:
        due = [
            (row.id, row.attempts, dict(row.body))
            for row in session.scalars(
                select(Webhook).where(Webhook.next_at <= now).order_by(Webhook.next_at, Webhook.id).limit(BATCH)
            )
        ]
    if not due:
        return 0
    if not settings.webhook_url:
        with db.write() as session:
            session.execute(delete(Webhook))
        return 0
    taken, started = 0, time.monotonic()
    with client or httpx.Client(timeout=TIMEOUT_S, trust_env=False) as http:
        for event_id, attempts, body in due:
            answer = _post(http, settings.webhook_url, body | {"link": f"{_base(settings)}{body['link']}"})
            taken += answer == TAKEN
            _settle(db, event_id, now, answer, now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempts, 16)))
            if answer == SILENCE or time.monotonic() - started > TIMEOUT_S:
                break  # the heartbeat has other things to do; the rest is still due at its next beat
    return taken


def _post(http: httpx.Client, url: str, body: dict[str, object]) -> str:
    try:
        response = http.post(url, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("webhook not reachable", error=type(error).__name__)
        return SILENCE
    if response.is_success:
        return TAKEN
    log.warning("webhook not taken", status=response.status_code)
    return REJECTED


def _settle(db: Database, event_id: int, now: float, answer: str, later: float) -> None:
    with db.write() as session:
        row = session.get(Webhook, event_id)
        if row is None:
            return
        if answer == TAKEN:
            session.delete(row)
            return
        row.attempts += 1
        row.next_at = later
        if answer == SILENCE:
            session.execute(update(Webhook).where(Webhook.next_at <= now).values(next_at=later))


def _base(settings: Settings) -> str:
    """Address of the pages as this machine knows it; behind a proxy only the path is known."""
    if settings.tls_terminated_by_proxy:
        return ""
    host = socket.gethostname() if settings.http_host in ("0.0.0.0", "::") else settings.http_host  # noqa: S104
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http_port}"
