"""Images that are stored another way round in the same place of the patient, and what a SEG says at such a place.

Everything is in patient coordinates (LPS, mm). A mask is never turned back by the operation that turned its image: it
is asked for at points of the patient, and answers from the positions that stand in its own file (PS3.3 equation
C.7.6.2.1-1), so that a SEG in the wrong place answers wrongly.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from contracts.tasks import LABELS, Task
from contracts.volumes import Grid

Points = NDArray[np.float64]
SAME_PLANE_MM = 0.1
"""A point further than this from a frame is not on it."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A picture [row, column] and where it lies.

    ``position`` of the first pixel's centre; ``across`` and ``down`` are unit vectors along which columns and rows
    count up; ``spacing`` (between rows, between columns).
    """

    pixels: NDArray[Any]
    position: Points
    across: Points
    down: Points
    spacing: tuple[float, float]

    def at(self, row: Any, column: Any) -> Points:
        """Return the points of pixel indices, which may be fractional: [..., 3]."""
        step_down, step_across = self.spacing[0] * self.down, self.spacing[1] * self.across
        return np.asarray(self.position + np.multiply.outer(row, step_down) + np.multiply.outer(column, step_across))

    def points(self) -> Points:
        """Return the points of all pixel centres [row, column, 3]."""
        row, column = np.indices(self.pixels.shape)
        return self.at(row, column)

    def index(self, points: Points) -> tuple[Points, Points, Points]:
        """Return the row and column (fractional) of points [..., 3], and how far from the plane they lie in mm."""
        away = points - self.position
        return (
            away @ self.down / self.spacing[0],
            away @ self.across / self.spacing[1],
            np.abs(away @ np.cross(self.across, self.down)),
        )


Change = Callable[[Placed], Placed]


def rotated(quarters: int) -> Change:
    """Turn pixels and tags by quarters of a turn, counter-clockwise on the screen."""

    def turn(image: Placed) -> Placed:
        for _ in range(quarters % 4):
            last = image.pixels.shape[1] - 1
            image = Placed(np.rot90(image.pixels), image.at(0, last), image.down, -image.across, image.spacing[::-1])
        return image

    return turn


def mirrored_columns(image: Placed) -> Placed:
    """Store the columns from the other end: the normal of the planes, and with it the order of slices, turns round."""
    last = image.pixels.shape[1] - 1
    return replace(image, pixels=image.pixels[:, ::-1], position=image.at(0, last), across=-image.across)


def mirrored_rows(image: Placed) -> Placed:
    """Store the rows from the other end."""
    last = image.pixels.shape[0] - 1
    return replace(image, pixels=image.pixels[::-1], position=image.at(last, 0), down=-image.down)


def window(top: int, left: int, rows: int, columns: int) -> Change:
    """Cut a window out of the pictures; what lies outside them is 0."""

    def cut(image: Placed) -> Placed:
        pixels = np.zeros((rows, columns), image.pixels.dtype)
        here = [slice(max(first, 0), first + length) for first, length in ((top, rows), (left, columns))]
        part = image.pixels[here[0], here[1]]
        pixels[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]] = part
        return replace(image, pixels=pixels, position=image.at(top, left))

    return cut


def resampled(factor: float) -> Change:
    """Store pixels that are ``factor`` times as long, by linear interpolation (smoothed first where they grow)."""

    def change(image: Placed) -> Placed:
        shape = [round(length / factor) for length in image.pixels.shape]
        first = (factor - 1) / 2
        grey = image.pixels.astype(np.float64)
        grey = ndimage.gaussian_filter(grey, 0.4 * factor) if factor > 1 else grey
        row, column = (first + factor * index for index in np.indices(shape))
        seen = ndimage.map_coordinates(grey, [row, column], order=1, mode="nearest")
        spacing = (image.spacing[0] * factor, image.spacing[1] * factor)
        pixels = np.rint(seen).astype(image.pixels.dtype)
        return replace(image, pixels=pixels, position=image.at(first, first), spacing=spacing)

    return change


def placed(image: Dataset, pixels: NDArray[Any]) -> Placed:
    """Return a classic image's pixels [row, column] in the place that its header names."""
    cosines = np.array(image.ImageOrientationPatient, np.float64)
    spacing = (float(image.PixelSpacing[0]), float(image.PixelSpacing[1]))
    return Placed(pixels, np.array(image.ImagePositionPatient, np.float64), cosines[:3], cosines[3:], spacing)


def stored_anew(image: Dataset, change: Change) -> Dataset:
    """Change a classic image of 16 bits and say so in its tags; whatever else its header says stays."""
    kind = "<i2" if image.PixelRepresentation else "<u2"
    pixels = np.frombuffer(image.PixelData, kind).reshape(image.Rows, image.Columns)
    changed = change(placed(image, pixels))
    image.Rows, image.Columns = changed.pixels.shape
    image.PixelData = np.ascontiguousarray(changed.pixels).astype(kind).tobytes()
    image.ImagePositionPatient = [f"{value:.9g}" for value in changed.position]
    image.ImageOrientationPatient = [f"{value:.9g}" for value in (*changed.across, *changed.down)]
    image.PixelSpacing = [f"{value:.9g}" for value in changed.spacing]
    return image


def planes_of(grid: Grid) -> list[Placed]:
    """Return the slices of a grid as empty pictures."""
    cosines = np.array(grid.orientation)
    empty = np.zeros((grid.rows, grid.columns), np.uint8)
    return [Placed(empty, np.array(position), cosines[:3], cosines[3:], grid.spacing) for position in grid.positions]


def frames_of(seg: Dataset, task: Task = Task.CARDIAC) -> list[tuple[int, Placed]]:
    """Return (label, mask) of each frame of a BINARY SEG, where the file says that it lies."""
    codes = {label.type.value: label.value for label in LABELS[task]}
    labels = {
        int(segment.SegmentNumber): codes[segment.SegmentedPropertyTypeCodeSequence[0].CodeValue]
        for segment in seg.SegmentSequence
    }
    shared = seg.SharedFunctionalGroupsSequence[0]
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns).astype(bool)
    found = []
    for frame, shown in zip(seg.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        tags = Dataset()
        tags.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        tags.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        tags.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        segment = (frame if "SegmentIdentificationSequence" in frame else shared).SegmentIdentificationSequence[0]
        number = int(segment.ReferencedSegmentNumber)
        found.append((labels[number], placed(tags, shown)))
    return found


def asked(seg: Dataset, planes: Iterable[Placed], task: Task = Task.CARDIAC) -> NDArray[np.uint8]:
    """Return the labels [slice, row, column] that a SEG gives at the pixel centres of planes; 0 where it has none."""
    frames = frames_of(seg, task)
    answers = []
    for plane in planes:
        points = plane.points()
        answer = np.zeros(plane.pixels.shape, np.uint8)
        for label, frame in frames:
            if frame.index(plane.position)[2] > SAME_PLANE_MM:
                continue
            row, column, away = frame.index(points)
            if away.max() > SAME_PLANE_MM:
                continue
            nearest = np.rint([row, column]).astype(int)
            limits = np.array(frame.pixels.shape)[:, None, None]
            inside = ((nearest >= 0) & (nearest < limits)).all(axis=0)
            hit = frame.pixels[tuple(np.where(inside, nearest, 0))] & inside
            answer[hit] = label
        answers.append(answer)
    return np.stack(answers)
