"""What the gateway counts, for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from serving.archive import Archive
from serving.index.database import Database
from serving.index.models import Delivery, StackVersion, Study, Webhook
from serving.settings import Settings

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
SECONDS = Histogram(
    "segloop_step_seconds",
    "Seconds of one step of a stack.",
    ["step"],
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 180),
)
RECEIVED = Counter("segloop_received_instances", "Instances since the start, by way.", ["way"], registry=REGISTRY)
RECEIVED_BYTES = Counter("segloop_received_bytes", "Bytes since the start, by way.", ["way"], registry=REGISTRY)


class StateCollector(Collector):
    """Reads the state of the gateway from the index whenever somebody scrapes."""

    def __init__(self, db: Database, archive: Archive, settings: Settings) -> None:
        self._db, self._archive, self._settings = db, archive, settings

    def collect(self) -> Iterator[Metric]:
        """Yield stacks by state, deliveries by state and destination, queue lengths and free disk."""
        stacks = GaugeMetricFamily("segloop_stacks", "Current stack versions by state.", labels=["state"])
        deliveries = GaugeMetricFamily("segloop_deliveries", "Deliveries.", labels=["state", "destination"])
        due = GaugeMetricFamily("segloop_queue_length", "What waits, by queue.", labels=["queue"])
        with self._db.read() as session:
            by_state = select(StackVersion.state, func.count()).where(StackVersion.current).group_by(StackVersion.state)
            for state, count in session.execute(by_state):
                stacks.add_metric([state], count)
                if state in ("complete", "processing", "held"):
                    due.add_metric([state], count)
            by_place = select(Delivery.state, Delivery.destination, func.count()).group_by(
                Delivery.state, Delivery.destination
            )
            for state, destination, count in session.execute(by_place):
                deliveries.add_metric([state, destination], count)
            arriving = select(func.count()).where(Study.settled_at < Study.last_received_at)
            due.add_metric(["receiving"], session.scalar(arriving) or 0)
            due.add_metric(["webhook"], session.scalar(select(func.count()).select_from(Webhook)) or 0)
        yield from (stacks, deliveries, due)
        yield GaugeMetricFamily("segloop_disk_free_bytes", "Free disk under HOME.", value=self._archive.free_gb() * 1e9)
        least = self._settings.min_free_gb * 1e9
        yield GaugeMetricFamily("segloop_disk_least_bytes", "MIN_FREE_GB in bytes.", value=least)


def note_received(source: str, size: int) -> None:
    """Count one received object; ``source`` as in the index (``ae:...`` came by C-STORE, all else by STOW)."""
    way = "dimse" if source.startswith("ae:") else "stow"
    RECEIVED.labels(way).inc()
    RECEIVED_BYTES.labels(way).inc(size)
