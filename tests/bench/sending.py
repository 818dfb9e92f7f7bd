"""Senders, the same for both receivers: DCMTK's storescu with one or more associations, and STOW-RS over HTTP."""

import subprocess
from collections.abc import Iterator, Sequence

import httpx

from tests.bench.studies import Cine
from tests.conftest import SYSTEM_PATH

ENVIRONMENT = {"PATH": SYSTEM_PATH, "TCP_NODELAY": "1", "DCMDICTPATH": "/usr/share/libdcmtk17/dicom.dic"}
PARTS = 50
BOUNDARY = "bench-7f1d0c52a94be386"


def store(port: int, cines: Sequence[Cine], called: str) -> None:
    """Send each study over an association of its own, all at the same time.

    Raises ``RuntimeError`` unless every instance was acknowledged.
    """
    command = ["/usr/bin/storescu", "-R", "+sd", "-aet", "BENCH", "-aec", called, "127.0.0.1", str(port)]
    senders = [
        subprocess.Popen(
            [*command, str(cine.folder)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for cine in cines
    ]
    codes = [sender.wait() for sender in senders]
    if any(codes):
        raise RuntimeError(f"storescu to {called} ended with {codes}")


def stow(root: str, cine: Cine) -> None:
    """Send a study by STOW-RS over one connection, ``PARTS`` instances a request.

    Raises ``RuntimeError`` unless every instance was stored.
    """
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
    headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
    with httpx.Client(timeout=300) as client:
        for start in range(0, len(cine.paths), PARTS):
            part = cine.paths[start : start + PARTS]
            body = b"".join(_parts([path.read_bytes() for path in part]))
            answer = client.post(f"{root}/studies", content=body, headers=headers)
            stored = answer.json().get("00081199", {}).get("Value", []) if answer.status_code == 200 else []
            if len(stored) != len(part):
                raise RuntimeError(f"{root} stored {len(stored)} of {len(part)} ({answer.status_code})")


def _parts(files: Sequence[bytes]) -> Iterator[bytes]:
    for content in files:
        yield f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content + b"\r\n"
    yield f"--{BOUNDARY}--\r\n".encode()
