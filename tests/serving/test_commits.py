"""Who waits for a commit shares it, and nobody pays for another's failure."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection

from serving.index import receipts
from serving.index.receipts import Arrival
from tests.builders import Exam
from tests.serving.receiving import Receiving, encoded, receiving

Add = Callable[[Connection, Sequence[Arrival]], frozenset[str]]


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Receiving]:
    with receiving(tmp_path / "home") as made:
        yield made


@pytest.fixture
def arrivals(side: Receiving) -> list[Arrival]:
    """Four objects of one study between archive and index."""
    begun = []
    for made in Exam().short_axis(4, 1):
        incoming = side.archive.incoming()
        incoming.write(encoded(made))
        begun.append(side.intake.begin(incoming, "local"))
    return begun


def add_together(side: Receiving, arrivals: Sequence[Arrival]) -> dict[str, object]:
    """Add each in a thread of its own while nobody has the turn; return key -> what was stored, or the error."""
    commits, outcomes = side.intake._commits, {}

    def add(arrival: Arrival) -> None:
        try:
            outcomes[arrival.key] = commits.add([arrival])
        except BaseException as error:
            outcomes[arrival.key] = error

    threads = [threading.Thread(target=add, args=(arrival,)) for arrival in arrivals]
    with commits._turn:
        for thread in threads:
            thread.start()
        waiting = threading.Event()
        assert any(commits._waiting.qsize() == len(arrivals) or waiting.wait(0.02) for _ in range(500))
    for thread in threads:
        thread.join()
    return outcomes


def counting(monkeypatch: pytest.MonkeyPatch, fail: Callable[[Sequence[Arrival]], BaseException | None]) -> list[int]:
    """Count the arrivals of each transaction; one for which ``fail`` gives an error ends with it."""
    sizes: list[int] = []
    add: Add = receipts.add_new

    def noting(connection: Connection, arrivals: Sequence[Arrival]) -> frozenset[str]:
        sizes.append(len(arrivals))
        stored = add(connection, arrivals)
        error = fail(arrivals)
        if error is not None:
            raise error
        return stored

    monkeypatch.setattr(receipts, "add_new", noting)
    return sizes


def test_all_who_wait_share_one_transaction(
    side: Receiving, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = counting(monkeypatch, lambda _: None)
    outcomes = add_together(side, arrivals)
    assert sizes == [4]
    assert all(isinstance(stored, frozenset) and key in stored for key, stored in outcomes.items())
    assert {row.key for row in side.rows()} == {arrival.key for arrival in arrivals}


def test_one_that_fails_fails_alone(side: Receiving, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = counting(monkeypatch, lambda them: ZeroDivisionError() if arrivals[1] in them else None)
    outcomes = add_together(side, arrivals)
    assert sorted(sizes) == [1, 1, 1, 1, 4]
    assert [isinstance(outcomes[one.key], ZeroDivisionError) for one in arrivals] == [False, True, False, False]
    assert {row.key for row in side.rows()} == {one.key for one in arrivals} - {arrivals[1].key}


def test_a_thread_that_is_ended_takes_nobody_along(
    side: Receiving, arrivals: list[Arrival], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had taken what the others handed in; nothing of it was committed."""
    ends = iter([KeyboardInterrupt()])
    counting(monkeypatch, lambda _: next(ends, None))
    outcomes = add_together(side, arrivals)
    lost = {key for key, outcome in outcomes.items() if isinstance(outcome, KeyboardInterrupt)}
    assert len(lost) == 1
    assert {row.key for row in side.rows()} == outcomes.keys() - lost
