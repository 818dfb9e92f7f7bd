"""What a cardiac mask says in figures: volumes, ejection fraction, mass."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Refused
from contracts.prepare import Masks

RV, MYOCARDIUM, LV = 1, 2, 3
MYOCARDIUM_G_PER_ML = 1.05


@dataclass(frozen=True, eq=False)
class Measurements:
    """Figures of a cine stack.

    ``volumes`` float64 [phase, label - 1] for right ventricle, myocardium and left ventricle cavity, in millilitres, or
    in voxels where ``unit`` is ``voxels``; ``ed`` and ``es`` are phase indices (0-based) of the largest and smallest
    cavity of the left ventricle, of equal ones the first.
    """

    volumes: NDArray[np.float64]
    unit: str
    ed: int
    es: int

    @property
    def stroke(self) -> float:
        """Stroke volume of the left ventricle, in ``unit``."""
        return float(self.volumes[self.ed, LV - 1] - self.volumes[self.es, LV - 1])

    @property
    def ejection_percent(self) -> float | None:
        """Ejection fraction of the left ventricle; None where no cavity was found."""
        full = float(self.volumes[self.ed, LV - 1])
        return 100 * self.stroke / full if full else None

    def to_json(self) -> dict[str, float | int | str | None]:
        """Return the figures under the names that scripts rely on.

        ``edv_ml`` and so on, or ``edv_voxels`` where no millilitres can be given (the myocardium then is
        ``lv_mass_voxels``, a count and no mass). ``ed_phase`` and ``es_phase`` count from 1.
        """
        mass, mass_name = float(self.volumes[self.ed, MYOCARDIUM - 1]), "lv_mass_voxels"
        if self.unit == "ml":
            mass, mass_name = mass * MYOCARDIUM_G_PER_ML, "lv_mass_g"
        ejection = self.ejection_percent
        return {
            f"edv_{self.unit}": round(float(self.volumes[self.ed, LV - 1]), 2),
            f"esv_{self.unit}": round(float(self.volumes[self.es, LV - 1]), 2),
            f"sv_{self.unit}": round(self.stroke, 2),
            "ef_percent": None if ejection is None else round(ejection, 2),
            mass_name: round(mass, 2),
            "ed_phase": self.ed + 1,
            "es_phase": self.es + 1,
        }


def ed_es(labels: Masks) -> tuple[int, int]:
    """Return the phase indices (0-based) of the largest and smallest cavity of the left ventricle.

    ``labels`` uint8 [phase, slice, row, column]; of equal ones the first phase.
    """
    cavity = np.count_nonzero(labels == LV, axis=(1, 2, 3))
    return int(cavity.argmax()), int(cavity.argmin())


def measure(labels: Masks, voxel_mm3: float | None) -> Measurements:
    """Measure cardiac labels uint8 [phase, slice, row, column].

    ``voxel_mm3`` is the volume of one voxel, slice distance (not thickness) x row spacing x column spacing; None where
    the spacing is invented or the slices have no common distance: voxels are reported then. Raises ``Refused``
    ``not_a_volume`` for another number of axes.
    """
    if labels.ndim != 4 or 0 in labels.shape:
        raise Refused("not_a_volume", "The labels are not a stack of phases and slices with pixels.")
    counts = np.stack([np.count_nonzero(labels == value, axis=(1, 2, 3)) for value in (RV, MYOCARDIUM, LV)], axis=1)
    ed, es = ed_es(labels)
    if voxel_mm3 is None:
        return Measurements(counts.astype(np.float64), "voxels", ed, es)
    return Measurements(counts * (voxel_mm3 / 1000), "ml", ed, es)
