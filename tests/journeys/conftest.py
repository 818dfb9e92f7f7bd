"""Gateways and studies that journeys share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.samples.cardiac import Sample, write_cardiac
from tests.journeys.running import RunningGateway


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A short synthetic cine: 8 slices x 4 phases."""
    return write_cardiac(tmp_path_factory.mktemp("sample"), slices=8, phases=4)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Callable[..., RunningGateway]]:
    """Return a function that makes a gateway with a HOME of its own (not started); all are stopped at the end."""
    made: list[RunningGateway] = []

    def make(**settings: object) -> RunningGateway:
        made.append(RunningGateway(tmp_path / f"home{len(made)}", **settings))
        return made[-1]

    yield make
    for running in made:
        if running.process is not None:
            running.stop()
