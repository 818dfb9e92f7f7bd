"""Results go back: only to the destinations mapped to their senders, until each is stored there."""

from serving.deliver.attempts import EchoAnswer, attempt, destination_named, echo
from serving.deliver.destinations import Destination, configured, load_destinations
from serving.deliver.queue import Queue, due, offer, offer_again, outstanding, queues, retry_now, withdraw

__all__ = [
    "Destination",
    "EchoAnswer",
    "Queue",
    "attempt",
    "configured",
    "destination_named",
    "due",
    "echo",
    "load_destinations",
    "offer",
    "offer_again",
    "outstanding",
    "queues",
    "retry_now",
    "withdraw",
]
