"""Events are kept until they are taken, wait longer each time, and hold no patient data."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from serving import webhook
from serving.index.database import Database
from serving.index.models import StackVersion, Webhook
from serving.pipeline.states import move
from serving.settings import Settings
from tests.serving import synthetic_index

URL = "https://hooks.example/in"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """An index whose study in state ``processing`` is about to be held."""
    found = synthetic_index.database(tmp_path)
    ids = synthetic_index.fill(found)
    with found.write() as session:
        stack = session.get_one(StackVersion, ids["processing"])
        move(session, stack, "held", who="segloop", reason="In pieces.", code="in_pieces")
    yield found
    found.close()


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(answer))


def events(db: Database) -> list[Webhook]:
    with db.read() as session:
        return list(session.scalars(select(Webhook).order_by(Webhook.id)))


def test_a_held_stack_is_posted_once_and_names_no_patient(db: Database) -> None:
    posted: list[dict[str, object]] = []

    def take(request: httpx.Request) -> httpx.Response:
        posted.append(json.loads(request.content))
        return httpx.Response(204)

    settings = Settings(webhook_url=URL)
    assert webhook.post_due(db, settings, time.time(), client(take)) == 1
    assert webhook.post_due(db, settings, time.time(), client(take)) == 0
    (body,) = posted
    assert body.keys() == {"study_uid", "stack_id", "task", "state", "code", "reason", "at", "link"}
    assert (body["state"], body["code"], body["reason"]) == ("held", "in_pieces", "In pieces.")
    assert body["link"] == f"http://127.0.0.1:8080/studies/{body['study_uid']}"
    assert not any(word in json.dumps(body) for word in ("Müller", "SYN-", "2024"))


@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_what_is_not_taken_stays_and_waits_longer_each_time(db: Database, status: int) -> None:
    settings, now, waits = Settings(webhook_url=URL), time.time(), []
    for attempt in range(1, 14):
        assert webhook.post_due(db, settings, now, client(lambda _: httpx.Response(status))) == 0
        (event,) = events(db)
        assert event.attempts == attempt
        waits.append(event.next_at - now)
        assert webhook.post_due(db, settings, now + waits[-1] - 0.5, client(lambda _: httpx.Response(200))) == 0
        now = event.next_at
    assert waits == sorted(waits)
    assert waits[0] == pytest.approx(webhook.FIRST_WAIT_S)
    assert waits[-1] == pytest.approx(webhook.LONGEST_WAIT_S)
    assert webhook.post_due(db, settings, now, client(lambda _: httpx.Response(200))) == 1
    assert events(db) == []


def test_silence_costs_one_try_for_all_events(db: Database) -> None:
    with db.write() as session:
        for stack in session.scalars(select(StackVersion)).all():
            webhook.announce(session, stack)
    tries = []

    def silent(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        raise httpx.ConnectTimeout("silence")

    now, count = time.time() + 1, len(events(db))
    assert webhook.post_due(db, Settings(webhook_url=URL), now, client(silent)) == 0
    assert webhook.post_due(db, Settings(webhook_url=URL), now, client(silent)) == 0
    assert len(tries) == 1
    later = now + webhook.FIRST_WAIT_S
    assert webhook.post_due(db, Settings(webhook_url=URL), later, client(lambda _: httpx.Response(200))) == count


def test_a_slow_receiver_does_not_hold_up_the_heartbeat(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty answers of almost five seconds each are minutes in which no study would be looked at."""
    with db.write() as session:
        for stack in session.scalars(select(StackVersion)).all():
            webhook.announce(session, stack)
    settings, now, count = Settings(webhook_url=URL), time.time() + 1, len(events(db))
    monkeypatch.setattr(webhook, "TIMEOUT_S", 0.0)
    taken = [webhook.post_due(db, settings, now, client(lambda _: httpx.Response(200))) for _ in range(count)]
    assert taken == [1] * count
    assert count > 1


def test_without_an_address_nothing_piles_up(db: Database) -> None:
    assert webhook.post_due(db, Settings(), time.time()) == 0
    assert events(db) == []


def test_the_link_names_this_machine_where_every_address_is_listened_on_and_only_the_path_behind_a_proxy() -> None:
    assert webhook._base(Settings(http_host="::1", tls_certificate=Path("c"), http_port=9)) == "https://[::1]:9"
    assert "0.0.0.0" not in webhook._base(Settings(http_host="0.0.0.0"))
    assert webhook._base(Settings(tls_terminated_by_proxy=True)) == ""
