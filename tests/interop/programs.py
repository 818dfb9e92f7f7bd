"""Other people's programs, asked the same of every kind of result: dciodvfy for errors, Orthanc to take it in."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.contracts.benches import Bench
from tests.journeys.orthanc import Orthanc

COPIED = {
    "StudyInstanceUID": r"\(0x0020,0x000d\) UI Study Instance UID .* - Leading zeroes",
    "SeriesInstanceUID of the sources": r"\(0x0020,0x000e\) UI Series Instance UID .* - Leading zeroes",
    "SOPInstanceUID of the sources": r"\(0x0008,0x1155\) UI Referenced SOP Instance UID .* - Leading zeroes",
    "PatientBirthDate 00000000": r"\(0x0010,0x0030\) DA Patient's Birth Date .* = <00000000>",
    "StudyDate 20120000": r"\(0x0008,0x0020\) DA Study Date .* = <20120000>",
    "the sum of these": r"Error - Dicom dataset contains invalid data values for Value Representations$",
}
"""The only errors that may stand in the report on a real study, and only on values that are the source's own."""


def errors(dciodvfy: str, path: Path, kind: str) -> list[str]:
    """Return the lines of dciodvfy's report that name errors; they come on stderr. ``kind`` as dciodvfy calls it."""
    report = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, errors="replace", check=False).stderr
    assert kind in report, report
    return [line for line in report.splitlines() if line.startswith("Error")]


def errors_of_ours(found: list[str]) -> list[str]:
    """Return those errors that are not about a value of the source."""
    return [line for line in found if not any(re.search(pattern, line) for pattern in COPIED.values())]


def uids_named(found: list[str]) -> set[str]:
    """Return the UIDs with leading zeros that errors are about."""
    return {match[1] for line in found if (match := re.search(r" = <([0-9.]+)> - Leading", line))}


def uids_of(one: Bench) -> set[str]:
    """Return the UIDs that a result may copy from its sources."""
    return {
        *one.headers,
        *(plane.series_uid for phase in one.grid.planes for plane in phase),
        *(str(header.StudyInstanceUID) for header in one.headers.values()),
        *(
            str(item.ReferencedSOPInstanceUID)
            for header in one.headers.values()
            for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence")
            for item in header.get(keyword, [])
        ),
    }


def by_stow(peer: Orthanc, payload: bytes, folder: Path, program: Callable[[str], str]) -> None:
    """Store a DICOM file in Orthanc by STOW-RS."""
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + payload + b"\r\n--b--\r\n"
    answer = httpx.post(
        f"{peer.url}/dicom-web/studies",
        content=body,
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'},
    )
    assert answer.status_code == 200, answer.text


def by_c_store(peer: Orthanc, payload: bytes, folder: Path, program: Callable[[str], str]) -> None:
    """Store a DICOM file in Orthanc by DCMTK's storescu."""
    (folder / "sent.dcm").write_bytes(payload)
    command = [
        program("storescu"),
        "--required",
        "-aec",
        peer.title,
        "127.0.0.1",
        str(peer.dicom_port),
        str(folder / "sent.dcm"),
    ]
    subprocess.run(command, check=True, env={**os.environ, "TCP_NODELAY": "1"})


Send = Callable[[Orthanc, bytes, Path, Callable[[str], str]], None]
"""One of the two above."""
