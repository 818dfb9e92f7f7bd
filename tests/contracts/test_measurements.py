"""Figures of masks whose sizes are known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.errors import Refused
from contracts.measurements import FEWEST_PHASES_OF_A_CURVE, LIMITS, Measurements, ed_es, measure


def beating(cavities: list[int], muscle: int = 50, right: int = 30) -> NDArray[np.uint8]:
    """Labels [phase, 2, 20, 20] with that many voxels of left ventricle in each phase."""
    labels = np.zeros((len(cavities), 2, 20, 20), dtype=np.uint8)
    for phase, cavity in enumerate(cavities):
        flat = labels[phase].reshape(-1)
        flat[:cavity] = 3
        flat[cavity : cavity + muscle] = 2
        flat[cavity + muscle : cavity + muscle + right] = 1
    return labels


def figures(curve: list[float], mass: float = 100, right: float = 150, unit: str = "ml") -> Measurements:
    """Measurements of a left ventricle with that volume in each phase."""
    volumes = np.array([[right, mass / 1.05, volume] for volume in curve], dtype=np.float64)
    return Measurements(volumes, unit, int(np.argmax(curve)), int(np.argmin(curve)))


def implausible(measured: Measurements) -> list[str]:
    return [one.name for one in measured.implausible]


def test_known_volumes() -> None:
    assert measure(beating([100, 40, 80]), voxel_mm3=1000.0).to_json() == {
        "edv_ml": 100.0,
        "esv_ml": 40.0,
        "sv_ml": 60.0,
        "ef_percent": 60.0,
        "lv_mass_g": 52.5,
        "lv_myocardium_ml": 50.0,
        "rv_edv_ml": 30.0,
        "rv_esv_ml": 30.0,
        "ed_phase": 1,
        "es_phase": 2,
        "implausible": [],
    }


def test_without_spacing_there_are_voxels_and_neither_millilitres_nor_grams() -> None:
    assert measure(beating([40, 100]), voxel_mm3=None).to_json() == {
        "edv_voxels": 100,
        "esv_voxels": 40,
        "sv_voxels": 60,
        "ef_percent": 60,
        "lv_mass_voxels": 50,
        "rv_edv_voxels": 30,
        "rv_esv_voxels": 30,
        "ed_phase": 2,
        "es_phase": 1,
        "implausible": [],
    }


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
    nothing = measure(np.zeros((2, 2, 4, 4), dtype=np.uint8), voxel_mm3=1.0)
    assert nothing.figures["ef_percent"] is None
    assert nothing.figures["edv_ml"] == 0
    assert implausible(nothing) == ["ef_percent", "edv_ml", "sv_ml", "lv_mass_g", "rv_edv_ml"]
    assert nothing.implausible[0].words == "ejection fraction unknown (5 to 90)"


def test_a_volume_is_no_cine() -> None:
    with pytest.raises(Refused):
        measure(np.zeros((2, 4, 4), dtype=np.uint8), None)


SICK = {
    "dilated, ejection fraction 10 %": figures([400, 390, 360, 380], mass=250, right=250),
    "dilated, 600 mL": figures([600, 480], mass=300),
    "hypertrophic": figures([80, 12], mass=450, right=90),
    "a small child": figures([25, 10], mass=20, right=25),
    "an athlete": figures([330, 130], mass=260, right=340),
    "leaking aortic valve": figures([500, 230], mass=350),
}


@pytest.mark.parametrize("heart", SICK)
def test_a_sick_heart_is_plausible(heart: str) -> None:
    assert implausible(SICK[heart]) == []


WRONG = {
    "does not beat": (figures([120, 120]), ["ef_percent", "sv_ml"]),
    "one phase only": (figures([120]), ["ef_percent", "sv_ml"]),
    "cavity lost at systole": (figures([120, 4]), ["ef_percent"]),
    "a few voxels of cavity": (figures([9, 4]), ["edv_ml"]),
    "the stomach": (figures([1200, 800]), ["edv_ml", "sv_ml"]),
    "two ventricles in one": (figures([600, 200]), ["sv_ml"]),
    "no muscle": (figures([120, 50], mass=5), ["lv_mass_g"]),
    "muscle everywhere": (figures([120, 50], mass=900), ["lv_mass_g"]),
    "the atrium too": (figures([120, 50], right=800), ["rv_edv_ml"]),
    "does not beat, in voxels": (figures([5000, 5000], unit="voxels"), ["ef_percent"]),
}


@pytest.mark.parametrize("mask", WRONG)
def test_a_wrong_mask_is_not(mask: str) -> None:
    measured, expected = WRONG[mask]
    assert implausible(measured) == expected
    for one in measured.to_json()["implausible"]:  # type: ignore[attr-defined]
        assert (one["low"], one["high"]) == (LIMITS[one["name"]].low, LIMITS[one["name"]].high)
        assert not one["low"] <= one["value"] <= one["high"]


@given(phases=st.integers(FEWEST_PHASES_OF_A_CURVE, 40), ejection=st.floats(0.06, 0.88), start=st.integers(0, 39))
def test_a_curve_of_a_beat_has_no_jump_wherever_it_starts_and_one_lost_phase_is_one(
    phases: int, ejection: float, start: int
) -> None:
    """Systole takes a third of the cycle, filling the rest; both as half a cosine."""
    time = np.arange(phases) / phases
    part = np.where(time < 1 / 3, time * 3, 1 - (time - 1 / 3) * 1.5)
    curve = np.roll(150 * (1 - ejection * (1 - np.cos(np.pi * part)) / 2), start)
    assert "lv_curve_jump_percent" not in implausible(figures(curve.tolist()))
    curve[int(curve.argmax())] = 15
    assert "lv_curve_jump_percent" in implausible(figures(curve.tolist()))


def test_a_short_cine_has_no_curve_to_judge() -> None:
    assert figures([100, 40, 45, 80]).jump_percent is None
    assert measure(np.zeros((12, 2, 4, 4), dtype=np.uint8), None).jump_percent is None


def test_no_heart_of_the_data_set_is_implausible(data: Callable[[str], Path]) -> None:
    """The experts' masks, in voxels: they come without a spacing."""
    ejections = []
    for path in sorted((data("acdc") / "patients").glob("*.npz")):
        with np.load(path) as arrays:
            labels = np.stack([arrays["ed_label"], arrays["es_label"]]).astype(np.uint8)
        measured = measure(labels, None)
        assert implausible(measured) == [], path.name
        ejections.append(measured.ejection_percent or 0)
    assert len(ejections) >= 80
    assert (round(min(ejections)), round(max(ejections))) == (11, 82)
