"""dciodvfy (Debian's dicom3tools) finds no error in what we write, but in values that were copied verbatim."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.segs import SYNTHETIC, store, sunnybrook

COPIED = {
    "StudyInstanceUID": r"\(0x0020,0x000d\) UI Study Instance UID .* - Leading zeroes",
    "SeriesInstanceUID of the sources": r"\(0x0020,0x000e\) UI Series Instance UID .* - Leading zeroes",
    "SOPInstanceUID of the sources": r"\(0x0008,0x1155\) UI Referenced SOP Instance UID .* - Leading zeroes",
    "PatientBirthDate 00000000": r"\(0x0010,0x0030\) DA Patient's Birth Date .* = <00000000>",
    "StudyDate 20120000": r"\(0x0008,0x0020\) DA Study Date .* = <20120000>",
    "the sum of these": r"Error - Dicom dataset contains invalid data values for Value Representations$",
}
"""The only errors that may stand in the report on a real study, and only on values that are the source's own."""


def errors(dciodvfy: str, path: Path) -> list[str]:
    """Return the lines of dciodvfy's report that name errors; they come on stderr."""
    report = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, errors="replace", check=False).stderr
    assert "Segmentation" in report, report
    return [line for line in report.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_error_in_a_synthetic_result(program: Callable[[str], str], tmp_path: Path, name: str) -> None:
    one, provenance = SYNTHETIC[name]()
    path, _ = store(tmp_path, one, provenance)
    assert errors(program("dciodvfy"), path) == []


@pytest.mark.parametrize("study", ["SCD0000101", pytest.param("SCD0000201", marks=pytest.mark.prove)])
def test_no_error_of_ours_in_the_result_of_a_real_study(
    program: Callable[[str], str], data: Callable[[str], Path], tmp_path: Path, study: str
) -> None:
    one = sunnybrook(data("sunnybrook"), study, tmp_path)
    path, _ = store(tmp_path, one, SYNTHETIC["classic"]()[1])
    found = errors(program("dciodvfy"), path)
    assert [line for line in found if not any(re.search(pattern, line) for pattern in COPIED.values())] == []
    copied = {*one.headers, *(plane.series_uid for phase in one.grid.planes for plane in phase)}
    copied |= {str(header.StudyInstanceUID) for header in one.headers.values()}
    copied |= {
        str(item.ReferencedSOPInstanceUID)
        for header in one.headers.values()
        for keyword in ("ReferencedStudySequence", "ReferencedPatientSequence")
        for item in header.get(keyword, [])
    }
    named = {match[1] for line in found if (match := re.search(r" = <([0-9.]+)> - Leading", line))}
    assert named <= copied
    assert named or study != "SCD0000101", "the study's UIDs are expected to have leading zeros"
