"""Programs that stay up for all tests of this room."""

from collections.abc import Callable, Iterator

import pytest

from tests.journeys.orthanc import Orthanc


@pytest.fixture(scope="session")
def orthanc(
    private_network: None, program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Orthanc]:
    """A running Orthanc without anything in it; tests look for what they sent by its UID."""
    program("Orthanc")
    peer = Orthanc(tmp_path_factory.mktemp("orthanc") / "peer", "PEER")
    yield peer.start()
    peer.stop()
