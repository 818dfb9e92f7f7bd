"""What masks of one structure say in figures: the volume of a prostate, the area of a lesion."""

from dataclasses import dataclass

import numpy as np

from contracts.errors import Refused
from contracts.prepare import Masks


@dataclass(frozen=True)
class Sizes:
    """The size of a structure in each phase, in ``unit`` (``ml``, ``voxels``, ``mm2`` or ``pixels``)."""

    structure: str
    values: tuple[float, ...]
    unit: str

    @property
    def figures(self) -> dict[str, float]:
        """The sizes to two decimals by name: ``prostate_volume_ml``; of several phases ``prostate_volume_ml_2``."""
        name = f"{self.structure}_{self.unit}"
        return {
            name if len(self.values) == 1 else f"{name}_{phase}": round(value, 2)
            for phase, value in enumerate(self.values, start=1)
        }

    def to_json(self) -> dict[str, object]:
        """Return ``figures``."""
        return dict(self.figures)


def prostate_volume(labels: Masks, voxel_mm3: float | None) -> Sizes:
    """Measure the prostate in labels uint8 [phase, slice, row, column].

    ``voxel_mm3`` is slice distance (not thickness) x row spacing x column spacing; None where the spacing is invented
    or the slices have no common distance: voxels are reported then. Raises ``Refused`` ``not_a_volume``.
    """
    if voxel_mm3 is None:
        return Sizes("prostate_volume", _counts(labels, 1.0), "voxels")
    return Sizes("prostate_volume", _counts(labels, voxel_mm3 / 1000), "ml")


def lesion_area(labels: Masks, pixel_mm: tuple[float, float] | None) -> Sizes:
    """Measure the lesion in labels uint8 [phase, slice, row, column], a photograph a phase.

    ``pixel_mm`` is the distance (between rows, between columns) in the plane of the skin; None where none is given:
    pixels are reported then. Raises ``Refused`` ``not_a_volume``.
    """
    if pixel_mm is None:
        return Sizes("lesion_area", _counts(labels, 1.0), "pixels")
    return Sizes("lesion_area", _counts(labels, pixel_mm[0] * pixel_mm[1]), "mm2")


def _counts(labels: Masks, size: float) -> tuple[float, ...]:
    if labels.ndim != 4 or 0 in labels.shape:
        raise Refused("not_a_volume", "The labels are not a stack of phases and slices with pixels.")
    return tuple(float(size * count) for count in np.count_nonzero(labels, axis=(1, 2, 3)))
