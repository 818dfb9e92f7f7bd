"""dciodvfy finds no error in our reports, but in values that were copied verbatim; DCMTK reads their content tree."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interop.programs import errors, errors_of_ours, uids_named, uids_of
from tests.interop.reports import store_report
from tests.interop.segs import SYNTHETIC, sunnybrook

KIND = "Comprehensive3DSR"


@pytest.mark.parametrize("name", SYNTHETIC)
def test_no_error_in_a_report_on_a_synthetic_cine(program: Callable[[str], str], tmp_path: Path, name: str) -> None:
    one, provenance = SYNTHETIC[name]()
    path, _ = store_report(tmp_path, one, provenance)
    assert errors(program("dciodvfy"), path, KIND) == []


@pytest.mark.parametrize("study", ["SCD0000101", "SCD0000201"])
def test_no_error_of_ours_in_the_report_on_a_real_study(
    program: Callable[[str], str], data: Callable[[str], Path], tmp_path: Path, study: str
) -> None:
    one = sunnybrook(data("sunnybrook"), study, tmp_path)
    path, _ = store_report(tmp_path, one, SYNTHETIC["classic"]()[1])
    found = errors(program("dciodvfy"), path, KIND)
    assert errors_of_ours(found) == []
    assert uids_named(found) <= uids_of(one)
    assert uids_named(found), "some UIDs of both studies are expected to have leading zeros"


@pytest.mark.parametrize("name", SYNTHETIC)
def test_dcmtk_accepts_the_relations_of_all_content_items(
    program: Callable[[str], str], tmp_path: Path, name: str
) -> None:
    one, provenance = SYNTHETIC[name]()
    path, figures = store_report(tmp_path, one, replace(provenance, stack_digest=name))
    dump = subprocess.run([program("dsrdump"), "+Pl", path], capture_output=True, check=True)
    assert dump.stderr == b""
    assert b"UNVERIFIED" in dump.stdout
    assert f'"{figures.figures["ef_percent"]}" (%,UCUM,"percent")'.encode() in dump.stdout
