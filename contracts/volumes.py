"""From a stack to volumes: which plane is which slice and which phase, and its pixels.

Every plane keeps its own place in the patient, so a mask can never land elsewhere; the checks here decide whether the
planes also form a volume. A stack that cannot be ordered without guessing is refused. A photograph has no place in the
patient: its planes keep their places in the picture.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from contracts.colours import read_photographs
from contracts.errors import Refused
from contracts.geometry import group_by_position, in_plane_offset, normal_of
from contracts.identifiers import derive_uid
from contracts.instances import Cosines, Plane, Vector, plane_from_list, plane_to_list
from contracts.pixels import read_frames
from contracts.stacks import LINE_TOLERANCE_MM, Stack

GAP_TOLERANCE = 0.02
"""Largest relative difference of a slice distance from the median at which volumes are still reported (2 %)."""
GAP_TOLERANCE_MM = 0.05
"""The same, absolute, for thin slices: positions are written with few digits."""
LARGEST_STACK = 2**29
"""Values of the largest stack that is decoded (2 GB as float32): its pixels, of a photograph three for each."""


@dataclass(frozen=True)
class Grid:
    """Planes in order, ``planes[phase][slice]``; slices ascend along the normal (row x column direction).

    Positions in mm (LPS) of the first pixel's centre, ``[slice][3]``; one orientation for all; ``spacing`` is (between
    rows, between columns) in mm; ``slice_distance`` in mm, None where the gaps differ or there is one slice only.
    With ``photograph`` each phase is a frame of one picture, and all coordinates are those of the picture
    (:mod:`contracts.photographs`), in pixels where the spacing is invented.
    """

    planes: tuple[tuple[Plane, ...], ...]
    rows: int
    columns: int
    positions: tuple[Vector, ...]
    orientation: Cosines
    spacing: tuple[float, float]
    slice_distance: float | None
    frame_of_reference_uid: str
    frame_of_reference_derived: bool = False
    spacing_invented: bool = False
    warnings: tuple[str, ...] = ()
    photograph: bool = False

    @property
    def phases(self) -> int:
        """Number of phases."""
        return len(self.planes)

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.positions)

    @property
    def pixel_mm(self) -> tuple[float, float] | None:
        """Distance of pixels in mm (between rows, between columns), None where it is invented."""
        return None if self.spacing_invented else self.spacing

    @property
    def voxel_mm3(self) -> float | None:
        """Volume of a voxel in mm3, None where a spacing is invented or the slice distances differ."""
        if self.slice_distance is None or self.spacing_invented:
            return None
        return self.spacing[0] * self.spacing[1] * self.slice_distance

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values; :meth:`from_json` gives an equal grid."""
        return {
            "planes": [[[p.sop_uid, p.series_uid, plane_to_list(p)] for p in row] for row in self.planes],
            "rows": self.rows,
            "columns": self.columns,
            "positions": [list(position) for position in self.positions],
            "orientation": list(self.orientation),
            "spacing": list(self.spacing),
            "slice_distance": self.slice_distance,
            "frame_of_reference_uid": self.frame_of_reference_uid,
            "frame_of_reference_derived": self.frame_of_reference_derived,
            "spacing_invented": self.spacing_invented,
            "warnings": list(self.warnings),
            "photograph": self.photograph,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> "Grid":
        """Undo :meth:`to_json`."""
        named = cast(dict[str, Any], dict(plain))
        named["planes"] = tuple(
            tuple(plane_from_list(values, sop, series) for sop, series, values in row) for row in named["planes"]
        )
        named["positions"] = tuple(tuple(position) for position in named["positions"])
        for key in ("orientation", "spacing", "warnings"):
            named[key] = tuple(named[key])
        return cls(**named)


def arrange(stack: Stack, *, accept_per_instance_frame_of_reference: bool) -> Grid:
    """Order the planes of a stack into phases and slices; headers only.

    Phases are the rank of the trigger time within a position, else of the temporal position, else of the instance
    number (where the header says how many phases there are, or no image says anything of its time). Ranks, not
    values: the heart rate changes from slice to slice.

    Raises:
        Refused: with the stack's own problem; ``frame_of_reference_missing``; ``frame_of_reference_per_instance``;
            ``displaced_slice``; ``unequal_phases``; ``duplicate_positions``.
    """
    if stack.problem:
        raise Refused(*stack.problem)
    if not stack.planes:
        raise Refused("no_geometry", "No image of the stack says where in the patient it lies.")
    if stack.photograph:
        return _arrange_photograph(stack)
    normal = normal_of(stack.planes[0].orientation)
    slices = group_by_position(stack.planes, normal)
    _check_line(slices, normal)
    _check_counts([len(group) for _, group in slices])
    phases = _in_phases([group for _, group in slices], stack.features)
    gaps = [b - a for (a, _), (b, _) in pairwise(slices)]
    distance, warnings = _slice_distance(gaps)
    invented = bool(stack.features.get("SpacingInvented"))
    if len(phases) > 1 and _timeless(phases):
        warnings = (*warnings, "the images carry no times: phases are in the order of their instance numbers")
    if invented:
        warnings = (*warnings, "the spacing of these images is invented: volumes are given in voxels")
    first = phases[0][0]
    regular = distance is not None or len(slices) == 1
    reference, derived = _frame_of_reference(stack, first.orientation, accept_per_instance_frame_of_reference, regular)
    return Grid(
        planes=phases,
        rows=stack.instances[0].rows,
        columns=stack.instances[0].columns,
        positions=tuple(plane.position for plane in phases[0]),
        orientation=first.orientation,
        spacing=first.spacing,
        slice_distance=distance,
        frame_of_reference_uid=reference,
        frame_of_reference_derived=derived,
        spacing_invented=invented,
        warnings=warnings,
    )


def _arrange_photograph(stack: Stack) -> Grid:
    """Make every frame of a photograph a phase of one slice, in the picture's own coordinates."""
    (picture,), planes = stack.instances, stack.planes
    invented = bool(stack.features.get("SpacingInvented"))
    return Grid(
        planes=tuple((plane,) for plane in planes),
        rows=picture.rows,
        columns=picture.columns,
        positions=(planes[0].position,),
        orientation=planes[0].orientation,
        spacing=planes[0].spacing,
        slice_distance=None,
        frame_of_reference_uid=derive_uid("photograph", stack.study_uid, picture.sop_uid),
        frame_of_reference_derived=True,
        spacing_invented=invented,
        warnings=("the photograph states no pixel spacing: areas are given in pixels",) if invented else (),
        photograph=True,
    )


def load(grid: Grid, path_of: Callable[[str], Path]) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Decode all planes into ``[phase, slice, row, column]`` float32, in the units of the rescale attributes.

    A photograph becomes ``[phase, slice, row, column, 3]`` uint8 in red, green and blue.

    ``path_of`` gives the file of a SOP Instance UID. Files are decoded one by one, an enhanced one frame by frame.

    Raises:
        Refused: ``too_large`` before anything is allocated; else the reason why a file cannot be decoded, which names
            the slice and the phase.
    """
    shape = (grid.phases, grid.slices, grid.rows, grid.columns, *((3,) if grid.photograph else ()))
    if math.prod(shape) > LARGEST_STACK:
        size = " x ".join(map(str, shape))
        raise Refused("too_large", f"The stack has {size} values, more than are processed at once.")
    wanted: dict[str, list[tuple[int, int, int]]] = {}
    for phase, row in enumerate(grid.planes):
        for place, plane in enumerate(row):
            wanted.setdefault(plane.sop_uid, []).append((plane.frame, phase, place))
    volume = np.empty(shape, np.uint8 if grid.photograph else np.float32)
    for sop_uid, places in wanted.items():
        _load_file(volume, path_of(sop_uid), places, read_photographs if grid.photograph else read_frames)
    return volume


_Read = Callable[[Path, Sequence[int], tuple[int, ...]], Iterator[NDArray[Any]]]


def _load_file(volume: NDArray[Any], path: Path, places: list[tuple[int, int, int]], read: _Read) -> None:
    _, phase, place = places[0]
    try:
        frames = read(path, [frame for frame, _, _ in places], volume.shape[2:4])
        for (_, phase, place), pixels in zip(places, frames, strict=True):
            volume[phase, place] = pixels
    except Refused as error:
        where = f"slice {place + 1}, phase {phase + 1}"
        raise Refused(error.code, f"The image at {where} cannot be read. {error.sentence}") from error


_Slices = Sequence[tuple[float, Sequence[Plane]]]


def _check_line(slices: _Slices, normal: Vector) -> None:
    """Refuse a slice that lies beside the straight line of the others: its neighbours are not what they seem."""
    leads = [group[0].position for _, group in slices]
    origin = min(leads, key=lambda lead: sum(in_plane_offset(p, lead, normal) > LINE_TOLERANCE_MM for p in leads))
    off = [
        index + 1
        for index, (_, group) in enumerate(slices)
        if any(in_plane_offset(plane.position, origin, normal) > LINE_TOLERANCE_MM for plane in group)
    ]
    if off:
        raise Refused(
            "displaced_slice",
            f"Slice {_listed(off)} of {len(slices)} lies more than {LINE_TOLERANCE_MM:g} mm beside the line of the "
            "others; send a stack of parallel slices on one line, or without that slice.",
        )


def _check_counts(counts: Sequence[int]) -> None:
    """Refuse unequal numbers of images a position: which phase is missing cannot be known."""
    usual, _ = Counter(counts).most_common(1)[0]
    odd = [index + 1 for index, count in enumerate(counts) if count != usual]
    if odd:
        told = ", ".join(f"slice {index} has {counts[index - 1]}" for index in odd[:5])
        raise Refused(
            "unequal_phases",
            f"{len(counts) - len(odd)} of {len(counts)} slice positions have {usual} images, but {told}"
            f"{' and so on' if len(odd) > 5 else ''}; send the images that are missing, or take away those too many.",
        )


def _in_phases(groups: Sequence[Sequence[Plane]], features: Mapping[str, object]) -> tuple[tuple[Plane, ...], ...]:
    """Order the planes of each position in time and return them as [phase][slice]."""
    count = len(groups[0])
    for attribute in ("trigger_time", "temporal_position", "instance_number"):
        if attribute == "instance_number" and not (count in _announced(features) or _timeless(groups)):
            continue
        values = [[getattr(plane, attribute) for plane in group] for group in groups]
        if count == 1 or all(None not in row and len(set(row)) == count for row in values):
            ordered = [sorted(group, key=lambda p: getattr(p, attribute) or 0) for group in groups]
            return tuple(tuple(group[phase] for group in ordered) for phase in range(count))
    raise Refused(
        "duplicate_positions",
        f"Each slice position has {count} images, but neither trigger times nor temporal positions tell them apart; "
        "send one series a repetition, or images with TriggerTime or TemporalPositionIdentifier.",
    )


def _timeless(groups: Sequence[Sequence[Plane]]) -> bool:
    """Whether no image says anything of its time: then their numbers are the only order there is.

    Times that are there and equal are another matter: they say that the images are not phases.
    """
    return all(plane.trigger_time is None and plane.temporal_position is None for group in groups for plane in group)


def _announced(features: Mapping[str, object]) -> set[object]:
    """Numbers of phases that the headers speak of."""
    said = (features.get("CardiacNumberOfImages"), features.get("NumberOfTemporalPositions"))
    return {number for one in said for number in (one if isinstance(one, list) else [one])} - {None}


def _slice_distance(gaps: Sequence[float]) -> tuple[float | None, tuple[str, ...]]:
    if not gaps:
        return None, ("one slice only: no volumes",)
    usual = median(gaps)
    tolerance = max(GAP_TOLERANCE_MM, GAP_TOLERANCE * usual)
    odd = [index for index, gap in enumerate(gaps) if abs(gap - usual) > tolerance]
    if not odd:
        return fmean(gaps), ()
    told = ", ".join(f"{gaps[i]:.2f} mm between slices {i + 1} and {i + 2}" for i in odd[:3])
    missing = all(round(gaps[i] / usual) >= 2 and abs(gaps[i] / usual - round(gaps[i] / usual)) < 0.05 for i in odd)
    words = "slices seem to be missing" if missing else "the slice distances differ"
    return None, (f"{words} ({told}; {usual:.2f} mm elsewhere): each slice is segmented, no volumes are reported",)


def _frame_of_reference(stack: Stack, cosines: Cosines, accepted: bool, regular: bool) -> tuple[str, bool]:
    """The frame of reference of a stack and whether it was derived here."""
    first = stack.instances[0]
    if stack.frame_of_reference == "uniform":
        return first.frame_of_reference_uid, False
    if stack.frame_of_reference == "missing":
        raise Refused(
            "frame_of_reference_missing",
            "The images name no FrameOfReferenceUID, so that nothing says that their places relate; send it along.",
        )
    if not accepted or not regular:
        reason = "" if not accepted else ", and the slices form no regular grid"
        raise Refused(
            "frame_of_reference_per_instance",
            f"Every image has a frame of reference of its own{reason}; send the stack with one FrameOfReferenceUID, or "
            "have the routing rule say accept_per_instance_frame_of_reference = true.",
        )
    orientation = ",".join(f"{cosine:.3f}" for cosine in cosines)
    return derive_uid(stack.study_uid, orientation, f"{first.rows}x{first.columns}"), True


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return shown + (" and more" if len(numbers) > 5 else "")
