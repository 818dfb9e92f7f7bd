"""dciodvfy (Debian's dicom3tools) finds no error in what we write, but in values that were copied verbatim."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.programs import errors, errors_of_ours, uids_named, uids_of
from tests.interop.segs import EVERY, SYNTHETIC, store, sunnybrook


@pytest.mark.parametrize("name", EVERY)
def test_no_error_in_a_synthetic_result(program: Callable[[str], str], tmp_path: Path, name: str) -> None:
    one, provenance = EVERY[name]()
    path, _ = store(tmp_path, one, provenance)
    assert errors(program("dciodvfy"), path, "Segmentation") == []


@pytest.mark.parametrize("study", ["SCD0000101", pytest.param("SCD0000201", marks=pytest.mark.prove)])
def test_no_error_of_ours_in_the_result_of_a_real_study(
    program: Callable[[str], str], data: Callable[[str], Path], tmp_path: Path, study: str
) -> None:
    one = sunnybrook(data("sunnybrook"), study, tmp_path)
    path, _ = store(tmp_path, one, SYNTHETIC["classic"]()[1])
    found = errors(program("dciodvfy"), path, "Segmentation")
    assert errors_of_ours(found) == []
    assert uids_named(found) <= uids_of(one)
    assert uids_named(found) or study != "SCD0000101", "the study's UIDs are expected to have leading zeros"
