"""Orthanc takes our reports by STOW-RS and by C-STORE and gives them back as they were."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.interop.programs import Send, by_c_store, by_stow
from tests.interop.reports import store_report
from tests.interop.segs import SYNTHETIC
from tests.journeys.orthanc import Orthanc


@pytest.mark.parametrize("send", [by_stow, by_c_store])
@pytest.mark.parametrize("name", ["oblique", "several series", "derived and invented"])
def test_what_goes_in_comes_out(
    orthanc: Orthanc, tmp_path: Path, program: Callable[[str], str], name: str, send: Send
) -> None:
    one, provenance = SYNTHETIC[name]()
    path, _ = store_report(tmp_path, one, replace(provenance, stack_digest=f"{name} {send.__name__}"))
    sent = dcmread(path)
    send(orthanc, path.read_bytes(), tmp_path, program)
    (kept,) = [found["ID"] for found in orthanc.instances("SR") if found["SOPInstanceUID"] == sent.SOPInstanceUID]
    returned: Dataset = dcmread(io.BytesIO(orthanc.file(kept)))
    assert returned == sent
