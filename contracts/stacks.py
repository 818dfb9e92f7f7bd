"""From the instances of one study to its input stacks: what is segmented together.

1. Each series is cut into *parts* of one geometry: orientation, matrix, pixel spacing, SOP class. A localizer that was
   mixed into a series falls out as parts of its own.
2. Parts of several series are put together where geometry, frame of reference and the way of acquisition agree and
   their slice positions differ: scanners of one large vendor store each short-axis slice as a series of its own. A
   series that repeats positions which are there already stays apart.

A photograph lies nowhere in the patient, so each is a stack of its own; the frames of one object are its phases.

The frame of reference of a part is ``uniform``, ``each`` (every instance has its own), ``missing`` or ``split``.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from contracts.describe import describe
from contracts.features import features_of
from contracts.geometry import (
    POSITION_TOLERANCE_MM,
    group_by_position,
    in_plane_offset,
    normal_of,
    same_orientation,
    same_spacing,
)
from contracts.instances import Instance, Plane, from_json, to_json

__all__ = ["Instance", "Plane", "Stack", "describe", "from_json", "stacks_of", "to_json", "without_images"]

LINE_TOLERANCE_MM = 1.0
"""Two stacks whose slices lie on lines further apart than this are two, even where all else agrees."""
MISSING_SHARE = 0.2
"""A series that has fewer images a slice than its stack by at most this share lacks some; one with less is another."""


@dataclass(frozen=True)
class Stack:
    """Instances that are segmented together; an enhanced instance is cut down to the frames that belong here.

    ``key`` names the stack within its study and stays when instances come later. ``features`` is what routing rules
    ask for. ``frame_of_reference`` is ``uniform``, ``each``, ``missing`` or ``split``. ``problem`` is (code, sentence)
    where the stack cannot be segmented whatever its rule says.
    """

    key: str
    study_uid: str
    series_uids: tuple[str, ...]
    instances: tuple[Instance, ...]
    features: Mapping[str, object] = field(default_factory=dict)
    problem: tuple[str, str] | None = None
    frame_of_reference: str = "uniform"

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """All planes, in the order of arrival of their instances."""
        return tuple(plane for instance in self.instances for plane in instance.planes)

    @property
    def photograph(self) -> bool:
        """Whether this is a photograph, whose planes have coordinates of their own."""
        return self.instances[0].photograph

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the instances, their revisions and frames; the order of arrival does not matter."""
        lines = sorted(f"{i.sop_uid} {i.revision} {','.join(str(p.frame) for p in i.planes)}" for i in self.instances)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def stacks_of(instances: Sequence[Instance]) -> list[Stack]:
    """Form the stacks of one study's instances, given in order of their first arrival.

    The same instances in another order give the same stacks (their order and keys may differ); instances that are
    appended leave the keys of the stacks that were there. Instances without images are left out.

    Large parts look for a stack first, so that single slices fill their gaps; then those with the usual number of
    images, so that a trial shot takes no place of a slice; then by series number.
    """
    parts = _parts([instance for instance in instances if instance.has_images])
    usual = Counter(part.images for part in parts)
    gathered: list[list[_Part]] = []
    for part in sorted(parts, key=lambda p: (-len(p.positions), -usual[p.images], *p.rank)):
        home = next((group for group in gathered if _belongs(part, group)), None)
        if home is None:
            gathered.append([part])
        else:
            home.append(part)
    ordered = sorted((sorted(group, key=lambda p: p.arrival) for group in gathered), key=lambda g: g[0].arrival)
    return [_stack(group) for group in ordered]


def without_images(instances: Sequence[Instance]) -> list[tuple[str, str]]:
    """Return (series UID, reason) for each series in which no instance has images, in order of arrival."""
    with_images = {instance.series_uid for instance in instances if instance.has_images}
    modalities = {i.series_uid: i.modality or "unknown" for i in instances if i.series_uid not in with_images}
    return [(uid, f"no images in this series (modality {modality})") for uid, modality in modalities.items()]


class _Part:
    """The instances of one series that share one geometry."""

    def __init__(self, ordinal: int, arrival: int, instance: Instance) -> None:
        self.ordinal = ordinal
        self.arrival = arrival
        self.first = instance
        self.members: list[Instance] = []

    @property
    def plane(self) -> Plane | None:
        """A plane that stands for the geometry."""
        return self.first.planes[0] if self.first.planes else None

    def holds(self, instance: Instance, plane: Plane | None) -> bool:
        """Whether an instance, or a frame of it, has the geometry of this part."""
        if instance.photograph:
            return False
        mine = self.plane
        if (instance.sop_class_uid, instance.rows, instance.columns) != (
            self.first.sop_class_uid,
            self.first.rows,
            self.first.columns,
        ):
            return False
        if mine is None or plane is None:
            return mine is plane
        return same_orientation(mine.orientation, plane.orientation) and same_spacing(mine.spacing, plane.spacing)

    @cached_property
    def frame_of_reference(self) -> str:
        """``uniform``, ``each``, ``missing`` or ``split``."""
        uids = Counter(instance.frame_of_reference_uid for instance in self.members)
        if len(uids) == 1:
            return "uniform" if "" not in uids else "missing"
        return "each" if len(uids) == len(self.members) and "" not in uids else "split"

    @cached_property
    def positions(self) -> list[float]:
        """Distances of the slices along the normal, mm."""
        if self.plane is None:
            return []
        planes = [plane for instance in self.members for plane in instance.planes]
        return [distance for distance, _ in group_by_position(planes, normal_of(self.plane.orientation))]

    @cached_property
    def rank(self) -> tuple[object, ...]:
        """Order in which equal parts look for a stack, whatever came first."""
        orientation = self.plane.orientation if self.plane else ()
        number = self.number("SeriesNumber") or 0.0
        return (number, self.first.series_uid, self.first.sop_class_uid, self.first.rows, orientation)

    @cached_property
    def images(self) -> int:
        """Number of images a slice position has as a rule."""
        planes = sum(len(instance.planes) for instance in self.members)
        return round(planes / max(1, len(self.positions)))

    @cached_property
    def acquisition(self) -> tuple[object, ...]:
        """What tells apart the ways of acquisition; a series that mixes several of them stays alone."""
        kinds = {_kind(instance) for instance in self.members}
        return next(iter(kinds)) if len(kinds) == 1 else ("mixed", self.first.series_uid)

    def number(self, keyword: str) -> float | None:
        """Value of a numeric attribute, None where it is absent."""
        value = self.first.attributes.get(keyword)
        return float(value) if isinstance(value, int | float) else None


def _kind(instance: Instance) -> tuple[object, ...]:
    """Attributes that separate a cine from perfusion, late enhancement, phase contrast and maps of one geometry."""
    image_type = instance.attributes.get("ImageType")
    words = tuple(image_type) if isinstance(image_type, list) else ()
    return (
        instance.modality,
        tuple(sorted(str(word) for word in words)),
        str(instance.attributes.get("ScanningSequence", "")),
        str(instance.attributes.get("SequenceVariant", "")),
        str(instance.attributes.get("ComplexImageComponent", "")),
        "InversionTime" in instance.attributes,
        bool(instance.attributes.get("VelocityEncoding")),
    )


def _parts(instances: Sequence[Instance]) -> list[_Part]:
    by_series: dict[str, list[_Part]] = {}
    for arrival, instance in enumerate(instances):
        parts = by_series.setdefault(instance.series_uid, [])
        for piece in _by_geometry(instance):
            plane = piece.planes[0] if piece.planes else None
            part = next((p for p in parts if p.holds(piece, plane)), None)
            if part is None:
                part = _Part(len(parts), arrival, piece)
                parts.append(part)
            part.members.append(piece)
    return [part for parts in by_series.values() for part in parts]


def _by_geometry(instance: Instance) -> list[Instance]:
    """An enhanced instance cut into one for each orientation and spacing of its frames."""
    if len(instance.planes) < 2:
        return [instance]
    pieces: list[list[Plane]] = []
    for plane in instance.planes:
        for piece in pieces:
            if same_orientation(piece[0].orientation, plane.orientation) and same_spacing(
                piece[0].spacing, plane.spacing
            ):
                piece.append(plane)
                break
        else:
            pieces.append([plane])
    return [instance] if len(pieces) == 1 else [replace(instance, planes=tuple(piece)) for piece in pieces]


def _belongs(part: _Part, group: Sequence[_Part]) -> bool:
    """Whether a part of a series joins the parts that are gathered already."""
    opener = group[0]
    if part.plane is None or opener.plane is None or not opener.holds(part.first, part.plane):
        return False
    if part.acquisition != opener.acquisition or not _same_reference(part, opener):
        return False
    if not (_near(part, opener, "EchoTime", 0.1) and _near(part, opener, "FlipAngle", 0.25)):
        return False
    if abs(part.images - opener.images) > max(1.0, MISSING_SHARE * max(part.images, opener.images)):
        return False
    if len(part.positions) > 1 and not _same_stack_of_many(part, opener):
        return False
    taken = [position for other in group for position in other.positions]
    return all(abs(mine - theirs) > POSITION_TOLERANCE_MM for mine in part.positions for theirs in taken)


def _same_reference(part: _Part, other: _Part) -> bool:
    if part.frame_of_reference != other.frame_of_reference or part.frame_of_reference == "split":
        return False
    shared = part.first.frame_of_reference_uid == other.first.frame_of_reference_uid
    return shared or part.frame_of_reference == "each"


def _near(part: _Part, other: _Part, keyword: str, share: float) -> bool:
    """Whether a numeric attribute agrees within a share; scanners adapt it a little from slice to slice."""
    a, b = part.number(keyword), other.number(keyword)
    if a is None or b is None:
        return a is b
    return abs(a - b) <= share * max(abs(a), abs(b))


def _same_stack_of_many(part: _Part, opener: _Part) -> bool:
    """Whether two parts of several slices each are one stack: on one line, with as many phases.

    A single slice is not asked: where it does not fit, the stack is refused and says why.
    """
    if part.plane is None or opener.plane is None:
        return False
    if part.number("CardiacNumberOfImages") != opener.number("CardiacNumberOfImages"):
        return False
    offset = in_plane_offset(part.plane.position, opener.plane.position, normal_of(opener.plane.orientation))
    return offset <= LINE_TOLERANCE_MM


def _stack(parts: Sequence[_Part]) -> Stack:
    """The stack of some parts, in order of arrival; its key is that of the part that came first."""
    opener = parts[0]
    instances = tuple(instance for part in parts for instance in part.members)
    named = "\n".join((opener.first.study_uid, opener.first.series_uid, str(opener.ordinal)))
    marker = opener.frame_of_reference
    return Stack(
        key=hashlib.sha256(named.encode()).hexdigest()[:32],
        study_uid=opener.first.study_uid,
        series_uids=tuple(dict.fromkeys(part.first.series_uid for part in parts)),
        instances=instances,
        features=features_of(instances),
        problem=_problem(instances, marker),
        frame_of_reference=marker,
    )


def _problem(instances: Sequence[Instance], marker: str) -> tuple[str, str] | None:
    problems = [instance.problem for instance in instances if instance.problem]
    if problems:
        code, sentence = problems[0]
        more = f" (so are {len(problems) - 1} more of its {len(instances)} images)" if len(problems) > 1 else ""
        return code, sentence + more
    if marker != "split":
        return None
    uids = len({instance.frame_of_reference_uid for instance in instances})
    return (
        "frame_of_reference_split",
        f"The images of one series name {uids} different frames of reference, so that their places do not relate; "
        "send each frame of reference as a series of its own.",
    )
