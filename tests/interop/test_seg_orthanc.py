"""Orthanc takes our segmentations by STOW-RS and by C-STORE and gives them back as they were."""

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from contracts.segmentations import write_segmentation
from tests.interop.segs import SYNTHETIC, heart
from tests.journeys.orthanc import Orthanc

pytestmark = pytest.mark.usefixtures("private_network")


@pytest.fixture(scope="module")
def orthanc(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    program("Orthanc")
    peer = Orthanc(tmp_path_factory.mktemp("orthanc") / "peer", "PEER")
    yield peer.start()
    peer.stop()


def by_stow(peer: Orthanc, payload: bytes, folder: Path, program: Callable[[str], str]) -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + payload + b"\r\n--b--\r\n"
    answer = httpx.post(
        f"{peer.url}/dicom-web/studies",
        content=body,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
    )
    assert answer.status_code == 200, answer.text


def by_c_store(peer: Orthanc, payload: bytes, folder: Path, program: Callable[[str], str]) -> None:
    (folder / "seg.dcm").write_bytes(payload)
    command = [
        program("storescu"),
        "--required",
        "-aec",
        peer.title,
        "127.0.0.1",
        str(peer.dicom_port),
        str(folder / "seg.dcm"),
    ]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})


Send = Callable[[Orthanc, bytes, Path, Callable[[str], str]], None]


@pytest.mark.parametrize(("send", "phase"), [(by_stow, 0), (by_c_store, 1)])
@pytest.mark.parametrize("name", ["oblique", "several series"])
def test_what_goes_in_comes_out(
    orthanc: Orthanc, tmp_path: Path, program: Callable[[str], str], name: str, send: Send, phase: int
) -> None:
    one, provenance = SYNTHETIC[name]()
    labels = heart(one.grid.slices, one.grid.rows, one.grid.columns)
    payload = write_segmentation(labels, one.grid, phase, one.headers, replace(provenance, stack_digest=name))
    sent = dcmread(io.BytesIO(payload))
    send(orthanc, payload, tmp_path, program)
    (kept,) = [found["ID"] for found in orthanc.instances("SEG") if found["SOPInstanceUID"] == sent.SOPInstanceUID]
    returned: Dataset = dcmread(io.BytesIO(orthanc.file(kept)))
    assert returned == sent
    assert (returned.pixel_array == sent.pixel_array).all()
