"""kill -9 inside and after each step: what was acknowledged is finished without help, once, and nothing runs twice."""

from collections import Counter

import pytest

from tests.journeys.running import RunningGateway, storescu, until

SHORT = ["receive:inside", "quiet:inside", "read:inside", "predict:after", "write:inside", "offer:inside"]
LONG = [
    "receive:after",
    "quiet:after",
    "read:after",
    "predict:inside",
    "write:after",
    "offer:after",
]
STEPS = ("read", "predict", "write", "offer")


def last_noted(running: RunningGateway, study_uid: str) -> dict:
    """The study's one stack once its last step is in its history."""
    (stack,) = running.study(study_uid)["stacks"]
    return stack if any(entry["event"] == STEPS[-1] for entry in stack["history"]) else {}


def check(gateway, sample, fault: str) -> None:
    """Start, send, let the gateway kill itself at ``fault``, start again, and look at what came of it."""
    running = gateway(fault="")
    running.start(fault=fault)
    acknowledged = storescu(running.dicom_port, sample.paths)
    running.died()
    running.start()
    if not acknowledged:
        # A sender that heard no success sends again; one that did need not lift a finger.
        assert storescu(running.dicom_port, sample.paths)
    running.settled(sample.study_uid)
    # The state is the step's own work; that the step ran is noted right after it.
    stack = until(lambda: last_noted(running, sample.study_uid), 30, what="the last step was never noted")
    assert stack["state"] == "done", stack
    made = [(result["kind"], result["phase"]) for result in stack["results"]]
    assert made == [("seg", 1), ("seg", 2), ("seg", 3), ("seg", 4), ("sr", 0)]
    assert len({result["sop_uid"] for result in stack["results"]}) == 5
    ran = Counter(entry["event"] for entry in stack["history"])
    interrupted = fault.split(":")[0] if fault.endswith("inside") else ""
    for step in STEPS:
        # A step that was recorded is never run again; one that was cut short ran twice but was noted once.
        assert ran[step] == 1, (step, interrupted, ran)
    assert not list((running.home / "incoming").glob("*.part"))


@pytest.mark.parametrize("fault", SHORT)
def test_a_killed_gateway_finishes_what_it_acknowledged(gateway, sample, fault):
    check(gateway, sample, fault)


@pytest.mark.prove
@pytest.mark.parametrize("fault", LONG)
def test_a_killed_gateway_finishes_what_it_acknowledged_everywhere(gateway, sample, fault):
    check(gateway, sample, fault)
