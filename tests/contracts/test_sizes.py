"""Sizes grow with the mask and with the pixel, and say in which unit they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases import read_cases
from contracts.errors import Refused
from contracts.sizes import lesion_area, prostate_volume
from contracts.tasks import Task

lengths = st.floats(0.05, 20)


@given(count=st.integers(0, 60), voxel_mm3=lengths)
def test_the_volume_is_that_of_the_voxels(count: int, voxel_mm3: float) -> None:
    labels = np.zeros((1, 3, 4, 5), np.uint8)
    labels.reshape(-1)[:count] = 1
    measured = prostate_volume(labels, voxel_mm3)
    assert measured.values == (pytest.approx(count * voxel_mm3 / 1000),)
    assert list(measured.figures) == ["prostate_volume_ml"]
    assert prostate_volume(labels, None).to_json() == {"prostate_volume_voxels": count}


@given(rows=st.integers(0, 8), columns=st.integers(0, 9), pixel_mm=st.tuples(lengths, lengths))
def test_the_area_is_that_of_the_rectangle(rows: int, columns: int, pixel_mm: tuple[float, float]) -> None:
    labels = np.zeros((1, 1, 8, 9), np.uint8)
    labels[..., :rows, :columns] = 1
    measured = lesion_area(labels, pixel_mm)
    assert measured.values == (pytest.approx(rows * pixel_mm[0] * columns * pixel_mm[1]),)
    assert list(measured.figures) == ["lesion_area_mm2"]
    assert lesion_area(labels, None).figures == {"lesion_area_pixels": rows * columns}


def test_each_photograph_has_a_figure_of_its_own() -> None:
    labels = np.zeros((3, 1, 4, 4), np.uint8)
    labels[1, 0, 0], labels[2] = 1, 1
    assert lesion_area(labels, None).figures == {
        "lesion_area_pixels_1": 0,
        "lesion_area_pixels_2": 4,
        "lesion_area_pixels_3": 16,
    }


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 1, 2, 3), (1, 1, 1, 1, 1)])
def test_what_is_no_stack_is_refused(shape: tuple[int, ...]) -> None:
    for measured in (prostate_volume, lesion_area):
        with pytest.raises(Refused):
            measured(np.zeros(shape, np.uint8), None)


def test_real_glands_have_the_volumes_of_their_table(data: Callable[[str], Path]) -> None:
    folder = data("prostate")
    lines = [line.split(",") for line in (folder / "patients.csv").read_text("utf-8").splitlines()]
    name, volume = lines[0].index("name"), lines[0].index("gland_volume_ml")
    table = {line[name]: float(line[volume]) for line in lines[1:]}
    for case in read_cases(Task.PROSTATE, folder, ("RUNMC_Case00", "RUNMC_Case06", "RUNMC_Case29")):
        assert case.spacing_mm is not None
        (found,) = prostate_volume(case.labels, float(np.prod(case.spacing_mm))).values
        assert found == pytest.approx(table[case.name], abs=0.1)
