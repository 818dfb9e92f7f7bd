"""From the instances of one study to its input stacks: what is segmented together."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    position: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
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
    header itself rules out segmentation; the instance is kept all the same. ``planes`` is empty for what has no images.
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
