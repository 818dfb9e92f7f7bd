"""One labelled case, a line of a list, and what a layout of labelled data has to say."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from contracts.prepare import Masks


@dataclass(frozen=True, eq=False)
class Case:
    """One labelled patient or image, whatever the task.

    ``images`` of any real dtype, [phase, slice, row, column] in grey or [phase, slice, row, column, channel] in colour
    (red, green, blue, 0 to 255); ``labels`` uint8 [phase, slice, row, column]; ``frames`` the name of each phase in the
    layout's words; ``spacing_mm`` between slices, rows and columns, None where it is not known.
    """

    name: str
    images: NDArray[Any]
    labels: Masks
    frames: tuple[str, ...]
    spacing_mm: tuple[float, float, float] | None = None

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """Distance (between rows, between columns), None where it is not known."""
        return self.spacing_mm and self.spacing_mm[1:]


@dataclass(frozen=True)
class Listed:
    """A line of a list: the name of a case, and the phase it is limited to (None: all)."""

    name: str
    phase: int | None = None


@dataclass(frozen=True)
class Layout:
    """How a data set keeps its cases.

    ``held_by`` says whether a folder is in the layout, ``needs`` what it lacks otherwise; ``file`` is where a case's
    image stands or would stand; ``read`` raises ``Missing`` ``no_case`` and ``Refused`` ``bad_case``; ``parse`` turns a
    line of a list into a name, None where it is none.
    """

    title: str
    needs: str
    held_by: Callable[[Path], bool]
    file: Callable[[Path, str], Path]
    read: Callable[[Path, str], Case]
    parse: Callable[[str], Listed | None]
