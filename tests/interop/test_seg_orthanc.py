"""Orthanc takes our segmentations by STOW-RS and by C-STORE and gives them back as they were."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.interop.programs import Send, by_c_store, by_stow
from tests.interop.segs import EVERY, store
from tests.journeys.orthanc import Orthanc


@pytest.mark.parametrize(("send", "phase"), [(by_stow, 0), (by_c_store, 1)])
@pytest.mark.parametrize("name", ["oblique", "several series", "captured frames"])
def test_what_goes_in_comes_out(
    orthanc: Orthanc, tmp_path: Path, program: Callable[[str], str], name: str, send: Send, phase: int
) -> None:
    one, provenance = EVERY[name]()
    path, _ = store(tmp_path, one, replace(provenance, stack_digest=name), phase)
    payload = path.read_bytes()
    sent = dcmread(io.BytesIO(payload))
    send(orthanc, payload, tmp_path, program)
    (kept,) = [found["ID"] for found in orthanc.instances("SEG") if found["SOPInstanceUID"] == sent.SOPInstanceUID]
    returned: Dataset = dcmread(io.BytesIO(orthanc.file(kept)))
    assert returned == sent
    assert (returned.pixel_array == sent.pixel_array).all()
