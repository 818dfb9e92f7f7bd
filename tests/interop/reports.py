"""Reports of measurements for other people's programs to judge: of a heart that beats on the planes of a bench."""

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from contracts.measurement_reports import write_report
from contracts.measurements import Measurements, measure
from contracts.provenance import Provenance
from tests.contracts.benches import Bench
from tests.interop.segs import heart

ENDINGS = {"ml": "mL", "voxels": "{voxels}", "g": "g", "percent": "%"}
"""UCUM units by the ending of a figure's name."""

CODES = {
    "edv": "8821-1",
    "esv": "8823-7",
    "rv_edv": "8822-9",
    "rv_esv": "8824-5",
    "sv": "90096001",
    "ef": "8811-2",
    "lv_myocardium": "122446",
    "lv_mass": "122447",
}
"""Codes of the figures, as PS3.16 gives them; without millilitres ``lv_mass`` is a count, hence a volume."""

Said = set[tuple[str, str, float]]
"""(code, unit, value) of figures."""

Group = (
    hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | hd.sr.MeasurementsAndQualitativeEvaluations
)


def beating(one: Bench) -> NDArray[np.uint8]:
    """Return labels uint8 [phase, slice, row, column]: end-diastole first, half-way a cavity of 40 %."""
    phases, still = one.grid.phases, heart(one.grid.slices, one.grid.rows, one.grid.columns)
    labels = np.repeat(still[None], phases, axis=0)
    for phase in range(phases):
        cavity = np.flatnonzero(still == 3)
        lost = cavity[: round(len(cavity) * 0.6 * np.sin(np.pi * phase / phases))]
        labels[phase].reshape(-1)[lost] = 2
    return labels


def store_report(folder: Path, one: Bench, provenance: Provenance) -> tuple[Path, Measurements]:
    """Write the report on a beating heart and return the file and the figures in it."""
    figures = measure(beating(one), one.grid.voxel_mm3)
    path = folder / "sr.dcm"
    path.write_bytes(write_report(figures, one.grid, one.headers, provenance))
    return path, figures


def groups(report: Dataset) -> list[Group]:
    """Return the groups of a report that highdicom read: those of structures, then that of the function."""
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    content = report.content
    assert isinstance(content, hd.sr.MeasurementReport)
    return [*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()]


def in_report(report: Dataset) -> Said:
    """Return what a report that highdicom read says."""
    found = [figure for group in groups(report) for figure in group.get_measurements()]
    return {(figure.name.value, figure.unit.value, float(figure.value)) for figure in found}


def in_json(measurements: Mapping[str, object]) -> Said:
    """Return what a report must say of the figures in ``measurements.json``."""
    said: Said = set()
    for name, value in measurements.items():
        stem, _, ending = name.rpartition("_")
        if ending in ENDINGS and isinstance(value, float):
            code = CODES["lv_myocardium" if name == "lv_mass_voxels" else stem]
            said.add((code, ENDINGS[ending], value))
    assert len(said) >= 7
    return said
