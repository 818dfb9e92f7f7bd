"""Reading segmentations of our sources, whichever program wrote them.

Nothing is trusted but what the object says of itself: labels are known by their codes, since editors renumber them,
and frames by the source frame they name or by their place in the patient, since editors drop and reorder them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code as SrCode

from contracts.dicom import quiet, read_dataset
from contracts.errors import Refused
from contracts.tasks import LABELS, Task
from contracts.volumes import Grid

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"

SYNONYMS = {
    Task.CARDIAC: {
        ("128586003", "SCT"): "myo",  # as other programs code the myocardium of the left ventricle
        ("74281007", "SCT"): "myo",  # myocardium, side not said: the only one that is segmented in this task
    },
}
"""Codes that others use for our labels; the retired SRT forms of our own codes are known without standing here."""

POSITION_MM = 0.01
"""Largest distance of a frame from its source plane. Programs that compute in single precision are off by 1e-5."""

COSINE = 1e-4
RELATIVE_SPACING = 1e-4


@dataclass(frozen=True, eq=False)
class _Frame:
    """One frame of a segmentation: its number from 0, its items of the functional groups, the segment where BINARY."""

    index: int
    own: Dataset
    shared: Dataset

    def group(self, keyword: str) -> Dataset | None:
        """Return the first item of a functional group of this frame, or the one that all frames share."""
        for item in (self.own, self.shared):
            if item.get(keyword):
                found: Dataset = item.get(keyword)[0]
                return found
        return None


def read_segmentation(path: Path, grid: Grid, phase: int, task: Task = Task.CARDIAC) -> NDArray[np.uint8]:
    """Return labels uint8 [slice, row, column] of a SEG file, BINARY or label map, for one phase (from 0).

    Segments of equal code count as one. Frames that are missing are empty. The object must lie on the planes of
    ``grid`` (patient coordinates LPS, mm): it is never resampled. Raises ``Refused``: ``not_a_segmentation``,
    ``fractional``, ``unknown_segment``, ``other_geometry``, ``other_source``, ``positions_disagree``, ``overlap``.
    """
    with quiet():
        seg = read_dataset(path)
        if seg.get("SOPClassUID") not in (SEGMENTATION, LABEL_MAP_SEGMENTATION):
            raise Refused("not_a_segmentation", "The object is no DICOM segmentation.")
        if seg.get("SegmentationType") not in ("BINARY", "LABELMAP"):
            raise Refused("fractional", "Fractional segmentations are not read; store it as binary or as a label map.")
        if (seg.Rows, seg.Columns) != (grid.rows, grid.columns):
            raise Refused("other_geometry", f"The segmentation has {seg.Columns} x {seg.Rows} pixels, not the images' "
                          f"{grid.columns} x {grid.rows}.")  # fmt: skip
        return _collect(seg, grid, phase, _values(seg, task))


def _values(seg: Dataset, task: Task) -> dict[int, int]:
    """Return for each segment number our label; 0 where the segment is none of ours."""
    ours = {label.name: label for label in LABELS[task]}
    known = {SrCode(label.type.value, label.type.scheme, label.type.meaning): label.value for label in ours.values()}
    for (value, scheme), name in SYNONYMS.get(task, {}).items():
        known[SrCode(value, scheme, name)] = ours[name].value
    values = {}
    for segment in seg.get("SegmentSequence") or []:
        code = segment.SegmentedPropertyTypeCodeSequence[0]
        concept = SrCode(code.get("CodeValue", ""), code.get("CodingSchemeDesignator", ""), "")
        values[int(segment.SegmentNumber)] = next((value for one, value in known.items() if one == concept), 0)
    return values


def _collect(seg: Dataset, grid: Grid, phase: int, values: dict[int, int]) -> NDArray[np.uint8]:
    labels = np.zeros((grid.slices, grid.rows, grid.columns), dtype=np.uint8)
    pixels = seg.pixel_array.reshape(-1, grid.rows, grid.columns)
    label_map = seg.SegmentationType == "LABELMAP"
    background = int(seg.get("PixelPaddingValue", 0)) if label_map else 0
    for frame in _frames(seg):
        plane = labels[_place(frame, grid, phase)]
        shown = pixels[frame.index]
        number = None if label_map else int(_segment_number(frame))
        for present in np.unique(shown) if number is None else (number,):
            if number is None and present == background:
                continue
            mask = shown == present if number is None else shown > 0
            if mask.any():
                _paint(plane, mask, _label(values, int(present)))
    return labels


def _paint(plane: NDArray[np.uint8], mask: NDArray[np.bool_], label: int) -> None:
    before = plane[mask]
    if ((before != 0) & (before != label)).any():
        raise Refused("overlap", "Two structures of the segmentation overlap, so a voxel would have two labels.")
    plane[mask] = label


def _label(values: dict[int, int], number: int) -> int:
    if not values.get(number):
        raise Refused("unknown_segment", f"Segment {number} of the segmentation has no code that this task knows.")
    return values[number]


def _segment_number(frame: _Frame) -> int:
    item = frame.group("SegmentIdentificationSequence")
    if item is None or "ReferencedSegmentNumber" not in item:
        raise Refused("not_a_segmentation", f"Frame {frame.index + 1} of the segmentation names no segment.")
    return int(item.ReferencedSegmentNumber)


def _frames(seg: Dataset) -> Iterator[_Frame]:
    shared = (seg.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for index, own in enumerate(seg.get("PerFrameFunctionalGroupsSequence") or []):
        yield _Frame(index, own, shared)


def _place(frame: _Frame, grid: Grid, phase: int) -> int:
    """Return the slice that a frame belongs to; where it names a source and a position, they must agree."""
    _check_plane(frame, grid)
    item = frame.group("PlanePositionSequence")
    position = item.get("ImagePositionPatient") if item is not None else None
    named = _by_source(frame, grid, phase)
    if position is None:
        if named is None:
            raise Refused(
                "other_geometry", f"Frame {frame.index + 1} of the segmentation says neither its place nor its source."
            )
        return named
    offsets = np.linalg.norm(
        [np.subtract(plane.position, [float(x) for x in position]) for plane in grid.planes[phase]], axis=1
    )
    nearest = int(offsets.argmin())
    if offsets[nearest] > POSITION_MM:
        raise Refused(
            "other_geometry", f"Frame {frame.index + 1} of the segmentation lies on none of the images' planes."
        )
    if named is not None and named != nearest:
        raise Refused(
            "positions_disagree", f"Frame {frame.index + 1} of the segmentation lies elsewhere than the image it names."
        )
    return nearest


def _by_source(frame: _Frame, grid: Grid, phase: int) -> int | None:
    """Return the slice whose image a frame says it was derived from, None where it names no source."""
    derivation = frame.group("DerivationImageSequence")
    sources = (derivation.get("SourceImageSequence") if derivation is not None else None) or []
    slices = set()
    for source in sources:
        numbers = source.get("ReferencedFrameNumber") or 1
        for number in [numbers] if isinstance(numbers, int) else list(numbers):
            matches = [
                index
                for index, plane in enumerate(grid.planes[phase])
                if (plane.sop_uid, plane.frame) == (source.ReferencedSOPInstanceUID, int(number))
            ]
            slices.update(matches)
    if sources and len(slices) != 1:
        raise Refused(
            "other_source", f"Frame {frame.index + 1} of the segmentation was not made from one image of this phase."
        )
    return slices.pop() if slices else None


def _check_plane(frame: _Frame, grid: Grid) -> None:
    orientation = frame.group("PlaneOrientationSequence")
    measures = frame.group("PixelMeasuresSequence")
    if orientation is not None and not np.allclose(
        [float(x) for x in orientation.ImageOrientationPatient], grid.orientation, rtol=0, atol=COSINE
    ):
        raise Refused("other_geometry", "The segmentation is oriented otherwise than the images.")
    if measures is not None and not np.allclose(
        [float(x) for x in measures.PixelSpacing], grid.spacing, rtol=RELATIVE_SPACING, atol=0
    ):
        raise Refused("other_geometry", "The segmentation has other pixels than the images.")
