"""Counts are those of the index, and name no patient."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from serving.index.models import Delivery
from serving.metrics import SECONDS, note_received
from tests.serving import synthetic_index
from tests.serving.observed import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The parts of a gateway; nothing listens."""
    found = Bench(tmp_path, 1)
    yield found
    found.db.close()


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_the_index_holds(bench: Bench) -> None:
    client = bench.client()
    assert samples(client.get("/metrics").text)[("segloop_queue_length", "receiving")] == 0
    synthetic_index.fill(bench.db)
    SECONDS.labels(step="read").observe(0.4)
    before = samples(client.get("/metrics").text)
    note_received("ae:SCANNER1", 100)
    note_received("token:x", 5)
    note_received("local", 7)
    found = samples(client.get("/metrics").text)
    for state in synthetic_index.STATES:
        assert found[("segloop_stacks", state)] == 1
    with bench.db.read() as session:
        states = Counter(session.scalars(select(Delivery.state)))
    for state in ("delivered", "waiting"):
        assert found[("segloop_deliveries", "pacs1", state)] == states[state] > 0
    assert found[("segloop_queue_length", "receiving")] == 1
    assert found[("segloop_step_seconds_count", "read")] >= 1
    assert found[("segloop_disk_free_bytes",)] > 0
    for way, count, size in (("dimse", 1, 100), ("stow", 2, 12)):
        assert (
            found[("segloop_received_instances_total", way)] - before.get(("segloop_received_instances_total", way), 0)
            == count
        )
        assert (
            found[("segloop_received_bytes_total", way)] - before.get(("segloop_received_bytes_total", way), 0) == size
        )


def test_metrics_hold_no_patient(bench: Bench) -> None:
    synthetic_index.fill(bench.db)
    assert not any(word in bench.client().get("/metrics").text for word in ("Müller", "SYN-", "2.25.1000"))
