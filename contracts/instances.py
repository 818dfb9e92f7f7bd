"""One DICOM instance as the index remembers it: its planes and what rules may ask for, no pixels."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

Vector = tuple[float, float, float]
Cosines = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Plane:
    """One image plane: a classic instance, or one frame of an enhanced one.

    Positions and orientation are in patient coordinates (LPS, mm; DICOM PS3.3 section C.7.6.2): ``position`` is the
    centre of the first pixel, ``orientation`` the cosines of the row direction then of the column direction,
    ``spacing`` is (between rows, between columns) in mm.
    """

    sop_uid: str
    series_uid: str
    frame: int
    """Counts from 1; 1 for a classic instance."""
    position: Vector
    orientation: Cosines
    spacing: tuple[float, float]
    thickness: float | None
    trigger_time: float | None
    temporal_position: int | None
    instance_number: int | None
    acquired_s: float | None
    """Acquisition time in seconds of the day."""


@dataclass(frozen=True)
class Instance:
    """What the index remembers of one instance: enough to form stacks and to route them, no pixels.

    ``attributes`` holds what rules may ask for, keyword -> plain JSON value. ``problem`` is (code, sentence) where the
    header itself rules out segmentation; the instance is kept all the same. ``planes`` is empty for what has no images
    (``problem`` is None then) and for images whose place in the patient is unknown (``problem`` says so). A
    ``photograph`` has planes in coordinates of its own (:mod:`contracts.photographs`).
    """

    sop_uid: str
    series_uid: str
    study_uid: str
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    frame_of_reference_uid: str
    planes: tuple[Plane, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    problem: tuple[str, str] | None = None
    revision: int = 1
    photograph: bool = False

    @property
    def has_images(self) -> bool:
        """Whether the instance has pixels, or should have."""
        return bool(self.planes) or self.problem is not None


_FRAME_FIELDS = (
    "frame",
    "position",
    "orientation",
    "spacing",
    "thickness",
    "trigger_time",
    "temporal_position",
    "instance_number",
    "acquired_s",
)


def plane_to_list(plane: Plane) -> list[object]:
    """Return a plane as a JSON list, without the UIDs that its owner repeats."""
    return [list(value) if isinstance(value, tuple) else value for value in (getattr(plane, f) for f in _FRAME_FIELDS)]


def plane_from_list(values: list[Any], sop_uid: str, series_uid: str) -> Plane:
    """Undo :func:`plane_to_list`."""
    named: dict[str, Any] = {
        f: tuple(v) if isinstance(v, list) else v for f, v in zip(_FRAME_FIELDS, values, strict=True)
    }
    return Plane(sop_uid=sop_uid, series_uid=series_uid, **named)


def to_json(instance: Instance) -> dict[str, object]:
    """Return an instance as plain JSON values; :func:`from_json` gives an equal one."""
    plain = asdict(instance)
    plain["attributes"] = dict(instance.attributes)
    plain["problem"] = list(instance.problem) if instance.problem else None
    plain["planes"] = [plane_to_list(plane) for plane in instance.planes]
    return plain


def from_json(plain: Mapping[str, object]) -> Instance:
    """Undo :func:`to_json`."""
    named = cast(dict[str, Any], dict(plain))
    named["problem"] = tuple(named["problem"]) if named["problem"] else None
    named["planes"] = tuple(plane_from_list(p, named["sop_uid"], named["series_uid"]) for p in named["planes"])
    return Instance(**named)
