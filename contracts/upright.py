"""Transverse slices the way people look at them: anterior up, the patient's left on the right side of the picture.

A student that has seen patients upright only finds nothing in one that is stored upside down, so slices are turned for
it by quarters and mirrored, and its labels are turned back. No pixel is resampled. Coordinates are LPS.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.instances import Cosines

Pixels = TypeVar("Pixels", bound=np.generic)


@dataclass(frozen=True)
class Turn:
    """How stored slices become upright: rows and columns change places first, then either is read from its end."""

    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def upright(self, slices: NDArray[Pixels]) -> NDArray[Pixels]:
        """Return a view of [phase, slice, row, column, ...] with its slices upright."""
        turned = np.swapaxes(slices, 2, 3) if self.swap else slices
        return turned[:, :, self._step(self.flip_rows), self._step(self.flip_columns)]

    def stored(self, slices: NDArray[Pixels]) -> NDArray[Pixels]:
        """Undo :meth:`upright`."""
        turned = slices[:, :, self._step(self.flip_rows), self._step(self.flip_columns)]
        return np.swapaxes(turned, 2, 3) if self.swap else turned

    def spacing(self, pixel_mm: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the distances (between rows, between columns) of upright slices."""
        return pixel_mm[::-1] if pixel_mm and self.swap else pixel_mm

    @staticmethod
    def _step(flip: bool) -> slice:
        return slice(None, None, -1 if flip else 1)


def turn_of(orientation: Cosines | None) -> Turn:
    """Return the turn after which columns run to the patient's left and rows to the back, as nearly as quarters allow.

    ``orientation`` holds the cosines of the directions along a row and down a column; None: nothing is turned.
    """
    if orientation is None:
        return Turn()
    along, down = orientation[:3], orientation[3:]
    swap = abs(along[0]) + abs(down[1]) < abs(along[1]) + abs(down[0])
    if swap:
        along, down = down, along
    return Turn(swap, flip_rows=down[1] < 0, flip_columns=along[0] < 0)
