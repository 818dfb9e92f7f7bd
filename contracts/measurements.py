"""What a cardiac mask says in figures: volumes, ejection fraction, mass, and which of them no heart has."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Refused
from contracts.prepare import Masks

RV, MYOCARDIUM, LV = 1, 2, 3
MYOCARDIUM_G_PER_ML = 1.05
FEWEST_PHASES_OF_A_CURVE = 10
"""From this many phases on, neighbours on the volume curve are alike; with fewer a beating cavity leaps by itself."""


@dataclass(frozen=True)
class Limits:
    """What a figure may be, both ends included; ``title`` and ``unit`` name it in sentences."""

    title: str
    unit: str
    low: float
    high: float


LIMITS = {
    "ef_percent": Limits("ejection fraction", "%", 5, 90),
    "edv_ml": Limits("end-diastolic volume", "mL", 20, 700),
    "sv_ml": Limits("stroke volume", "mL", 5, 300),
    "lv_mass_g": Limits("mass of the left ventricle", "g", 15, 700),
    "rv_edv_ml": Limits("end-diastolic volume of the right ventricle", "mL", 10, 700),
    "lv_curve_jump_percent": Limits("jump of the cavity in one phase", "%", 0, 30),
}
"""What lies outside is a wrong mask and no sick heart. They are chosen so that hearts stay well inside:

Ejection fraction: 11 to 82 % in the experts' masks of ACDC (80 patients, from dilated to hypertrophic; pinned by a
test). Volumes and mass: healthy adults have an end-diastolic volume of roughly 80 to 230 mL and a mass of 42 +- 7
(women) and 53 +- 9 (men) g per m2 of body surface (Petersen et al. 2017, doi 10.1186/s12968-017-0327-9); the lower
ends leave room for infants, the upper ones for dilated ventricles of 400 to 600 mL, leaking valves and hypertrophy.
The right ventricle's lower end is half of the left's, since masks leave its basal slices out. Jump: by how much of the
end-diastolic volume one phase lies beside both its neighbours in time; students' curves reach 3 % (two Sunnybrook
studies, a synthetic cine), a cavity that is lost in one phase 60 % and more.
"""


@dataclass(frozen=True)
class Implausible:
    """A figure outside its limits; ``value`` is None where it could not be computed."""

    name: str
    value: float | None
    low: float
    high: float

    @property
    def words(self) -> str:
        """Name, value and limits for a person, for example ``ejection fraction 2.1 % (5 to 90)``."""
        limits = LIMITS[self.name]
        value = "unknown" if self.value is None else f"{self.value:.1f} {limits.unit}"
        return f"{limits.title} {value} ({limits.low:g} to {limits.high:g})"


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

    @property
    def jump_percent(self) -> float | None:
        """By how much one phase lies beside both its neighbours on the volume curve of the left ventricle.

        In percent of the end-diastolic volume: the largest distance from the median of the phase and its two
        neighbours, the last phase being the first one's. None for fewer than ``FEWEST_PHASES_OF_A_CURVE`` phases and
        where no cavity was found.
        """
        curve = self.volumes[:, LV - 1]
        if len(curve) < FEWEST_PHASES_OF_A_CURVE or not curve.max():
            return None
        middle = np.median([np.roll(curve, 1), curve, np.roll(curve, -1)], axis=0)
        return float(100 * np.abs(curve - middle).max() / curve.max())

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures under the names that scripts rely on, to two decimals.

        ``edv_ml`` and so on, or ``edv_voxels`` where no millilitres can be given (the myocardium then is
        ``lv_mass_voxels``, a count and no mass). Those of the right ventricle are at the left one's phases.
        """
        (rv_edv, muscle, edv), (rv_esv, _, esv) = (self.volumes[phase].tolist() for phase in (self.ed, self.es))
        mass = {"lv_mass_voxels": muscle}
        if self.unit == "ml":
            mass = {"lv_mass_g": muscle * MYOCARDIUM_G_PER_ML, "lv_myocardium_ml": muscle}
        exact = {
            f"edv_{self.unit}": edv,
            f"esv_{self.unit}": esv,
            f"sv_{self.unit}": self.stroke,
            "ef_percent": self.ejection_percent,
            **mass,
            f"rv_edv_{self.unit}": rv_edv,
            f"rv_esv_{self.unit}": rv_esv,
        }
        return {name: None if value is None else round(value, 2) for name, value in exact.items()}

    @property
    def implausible(self) -> tuple[Implausible, ...]:
        """The figures that no heart has, in the order of ``LIMITS``; without millilitres only ratios can be judged."""
        judged = self.figures
        if self.jump_percent is not None:
            judged["lv_curve_jump_percent"] = round(self.jump_percent, 2)
        return tuple(
            Implausible(name, judged[name], limits.low, limits.high)
            for name, limits in LIMITS.items()
            if name in judged and not _within(judged[name], limits)
        )

    def to_json(self) -> dict[str, object]:
        """Return ``figures`` with ``ed_phase`` and ``es_phase``, which count from 1, and ``implausible``."""
        return {
            **self.figures,
            "ed_phase": self.ed + 1,
            "es_phase": self.es + 1,
            "implausible": [asdict(one) for one in self.implausible],
        }


def _within(value: float | None, limits: Limits) -> bool:
    return value is not None and limits.low <= value <= limits.high


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
