"""What tests of the gateway's rooms share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """The gateway's parts on an empty folder."""
    made = Parts(tmp_path)
    yield made
    made.close()
