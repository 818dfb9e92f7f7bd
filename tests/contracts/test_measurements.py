"""Figures of masks whose sizes are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.errors import Refused
from contracts.measurements import ed_es, measure


def beating(cavities: list[int], muscle: int = 50, right: int = 30) -> NDArray[np.uint8]:
    """Labels [phase, 2, 20, 20] with that many voxels of left ventricle in each phase."""
    labels = np.zeros((len(cavities), 2, 20, 20), dtype=np.uint8)
    for phase, cavity in enumerate(cavities):
        flat = labels[phase].reshape(-1)
        flat[:cavity] = 3
        flat[cavity : cavity + muscle] = 2
        flat[cavity + muscle : cavity + muscle + right] = 1
    return labels


def test_known_volumes() -> None:
    figures = measure(beating([100, 40, 80]), voxel_mm3=20.0).to_json()
    assert figures == {
        "edv_ml": 2.0,
        "esv_ml": 0.8,
        "sv_ml": 1.2,
        "ef_percent": 60.0,
        "lv_mass_g": 1.05,
        "ed_phase": 1,
        "es_phase": 2,
    }


def test_without_spacing_there_are_voxels_and_neither_millilitres_nor_grams() -> None:
    figures = measure(beating([40, 100]), voxel_mm3=None).to_json()
    assert figures["edv_voxels"] == 100
    assert figures["esv_voxels"] == 40
    assert figures["sv_voxels"] == 60
    assert figures["lv_mass_voxels"] == 50
    assert figures["ef_percent"] == 60
    assert (figures["ed_phase"], figures["es_phase"]) == (2, 1)
    assert not any(name.endswith(("_ml", "_g")) for name in figures)


def test_all_structures_of_all_phases() -> None:
    volumes = measure(beating([100, 40], muscle=50, right=30), voxel_mm3=1000.0).volumes
    np.testing.assert_allclose(volumes, [[30, 50, 100], [30, 50, 40]])


@given(cavities=st.lists(st.integers(1, 300), min_size=1, max_size=8), scale=st.floats(0.1, 100))
def test_ejection_does_not_depend_on_the_spacing(cavities: list[int], scale: float) -> None:
    labels = beating(cavities)
    one, other = measure(labels, None), measure(labels, scale)
    assert one.ejection_percent == pytest.approx(other.ejection_percent)
    assert 0 <= (one.ejection_percent or 0) < 100
    assert other.stroke == pytest.approx(one.stroke * scale / 1000)


@given(cavities=st.lists(st.integers(0, 300), min_size=1, max_size=8))
def test_the_phases_are_those_of_the_largest_and_smallest_cavity(cavities: list[int]) -> None:
    ed, es = ed_es(beating(cavities))
    assert cavities[ed] == max(cavities)
    assert cavities[es] == min(cavities)
    assert ed == cavities.index(max(cavities))
    assert es == cavities.index(min(cavities))


def test_without_a_cavity_there_is_no_fraction() -> None:
    figures = measure(np.zeros((2, 2, 4, 4), dtype=np.uint8), voxel_mm3=1.0).to_json()
    assert figures["ef_percent"] is None
    assert figures["edv_ml"] == 0


def test_a_volume_is_no_cine() -> None:
    with pytest.raises(Refused):
        measure(np.zeros((2, 4, 4), dtype=np.uint8), None)
