"""dcmqi's reader of TID 1500, built on DCMTK, finds the values of the JSON and the segments they were measured in."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.segmentations import result_uids
from tests.conftest import skip_or_fail
from tests.interop.reports import Said, in_json, store_report
from tests.interop.segs import SYNTHETIC, sunnybrook


@pytest.fixture(scope="module")
def tid1500reader() -> str:
    """Path of dcmqi's program, which its wheel puts beside Python."""
    path = Path(sys.executable).with_name("tid1500reader")
    if not path.is_file():
        skip_or_fail("dcmqi is not installed: pip install dcmqi, of the extra dev.")
    return str(path)


def read(program: str, path: Path) -> dict[str, Any]:
    """Return dcmqi's JSON of a report."""
    target = path.with_suffix(".json")
    subprocess.run([program, "--inputDICOM", path, "--outputMetadata", target], capture_output=True, check=True)
    document: dict[str, Any] = json.loads(target.read_text())
    return document


def said(document: dict[str, Any]) -> Said:
    """Return all values of a report."""
    return {
        (item["quantity"]["CodeValue"], item["units"]["CodeValue"], float(item["value"]))
        for group in document["Measurements"]
        for item in group["measurementItems"]
    }


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_values_are_those_of_the_json(tid1500reader: str, tmp_path: Path, name: str) -> None:
    one, provenance = SYNTHETIC[name]()
    path, figures = store_report(tmp_path, one, provenance)
    assert said(read(tid1500reader, path)) == in_json(figures.to_json())


def test_each_structure_and_phase_names_its_segment(tid1500reader: str, tmp_path: Path) -> None:
    one, provenance = SYNTHETIC["several series"]()
    path, figures = store_report(tmp_path, one, provenance)
    document = read(tid1500reader, path)
    ed, es = (result_uids(provenance, phase).sop_uid for phase in (figures.ed, figures.es))
    named = [
        (group["segmentationSOPInstanceUID"], group["ReferencedSegment"])
        for group in document["Measurements"]
        if "ReferencedSegment" in group
    ]
    assert named == [(ed, 3), (es, 3), (ed, 2), (ed, 1), (es, 1)]
    assert set(document["compositeContext"]) == {ed, es}
    assert set(document["imageLibrary"]) == {plane.sop_uid for phase in one.grid.planes for plane in phase}
    assert document["VerificationFlag"] == "UNVERIFIED"


@pytest.mark.parametrize("study", ["SCD0000101", "SCD0000201"])
def test_a_report_on_a_real_study_is_read(
    tid1500reader: str, data: Callable[[str], Path], tmp_path: Path, study: str
) -> None:
    one = sunnybrook(data("sunnybrook"), study, tmp_path)
    path, figures = store_report(tmp_path, one, SYNTHETIC["classic"]()[1])
    assert said(read(tid1500reader, path)) == in_json(figures.to_json())
