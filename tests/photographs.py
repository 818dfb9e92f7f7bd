"""Photographs for tests: pictures that tell where each of their pixels is, as DICOM objects of every kind in use."""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    UID,
    JPEGBaseline8Bit,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    VLPhotographicImageStorage,
)

from tests.builders import Exam, set_pixels

DERMOSCOPIC = UID("1.2.840.10008.5.1.4.1.1.77.1.7")
CLASSES = {
    "dermoscopic": (DERMOSCOPIC, "DMS"),
    "photographic": (VLPhotographicImageStorage, "XC"),
    "capture": (SecondaryCaptureImageStorage, "OT"),
    "frames": (MultiFrameTrueColorSecondaryCaptureImageStorage, "OT"),
}
"""SOP class and modality of each kind of photograph."""

Pixels = NDArray[np.uint8]
SKIN, SPOT = (226, 178, 152), (92, 58, 46)


def spot(rows: int, columns: int, centre: tuple[float, float] = (0.4, 0.65), radius: float = 0.18) -> NDArray[np.bool_]:
    """Return where a lesion [row, column] is: a disc off the middle, with a notch, so that no mirror image is equal.

    ``centre`` and ``radius`` in shares of the rows and columns.
    """
    down, along = np.mgrid[0:rows, 0:columns]
    y, x = (down + 0.5) / rows - centre[0], (along + 0.5) / columns - centre[1]
    return (np.hypot(y, x) < radius) & ~((y < -0.2 * radius) & (x > 0.1 * radius))


def skin(where: NDArray[np.bool_]) -> Pixels:
    """Return a photograph [row, column, 3] of a lesion on skin; its colours drift, so that pixels can be told apart."""
    rows, columns = where.shape
    drift = np.add.outer(np.linspace(-9, 9, rows), np.linspace(-6, 6, columns))
    colours = np.where(where[..., None], np.array(SPOT), np.array(SKIN)) + drift[..., None]
    return np.clip(np.round(colours), 0, 255).astype(np.uint8)


def photograph(
    pixels: Pixels, kind: str = "dermoscopic", exam: Exam | None = None, jpeg: bytes = b"", **attributes: Any
) -> FileDataset:
    """Return an object of a kind of ``CLASSES`` with pixels uint8 [row, column, 3] or [frame, row, column, 3].

    ``jpeg`` stands in for the pixels. ``attributes`` are set as they are, None takes one away.
    """
    exam = exam or Exam("photographs")
    sop_class, modality = CLASSES[kind]
    made = exam.bare(sop_class, exam.next_series(), modality=modality)
    made.ImageType = ["ORIGINAL", "PRIMARY"] if kind in ("dermoscopic", "photographic") else ["DERIVED", "SECONDARY"]
    made.PatientOrientation, made.LossyImageCompression = "", "01" if jpeg else "00"
    if modality == "OT":
        made.ConversionType, made.BodyPartExamined = "DI", "SKIN"
    set_pixels(made, pixels[0] if pixels.ndim == 4 else pixels)
    made.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    if pixels.ndim == 4:
        made.NumberOfFrames = len(pixels)
        made.FrameIncrementPointer = 0x00182001
        made.PageNumberVector = list(range(1, len(pixels) + 1))
    if jpeg:
        wrap(made, jpeg, "YBR_FULL_422")
    for keyword, value in attributes.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def wrap(made: Dataset, jpeg: bytes, space: str) -> None:
    """Put a JPEG file into an object as it is, under the colour space that the header shall name."""
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.PhotometricInterpretation, made.PlanarConfiguration = space, 0
    made.PixelData = encapsulate([jpeg])
    made["PixelData"].is_undefined_length = True


def native(made: Dataset, pixels: Pixels, space: str, planar: int = 0) -> None:
    """Store RGB pixels [row, column, 3] uncompressed in another colour space or by colour planes."""
    stored = pixels if space == "RGB" else convert_color_space(pixels, "RGB", "YBR_FULL")
    made.PhotometricInterpretation, made.PlanarConfiguration = space, planar
    if space == "YBR_FULL_422":  # Y Y Cb Cr for each pair of pixels of a row (PS3.3 section C.7.6.3.1.2)
        pairs = stored.reshape(len(stored), -1, 2, 3)
        stored = np.concatenate([pairs[..., 0], pairs[..., 0, 1:]], axis=-1)
    elif planar:
        stored = np.moveaxis(stored, -1, 0)
    payload = np.ascontiguousarray(stored).tobytes()
    made.PixelData = payload + bytes(len(payload) % 2)


def as_jpeg(pixels: Pixels, **options: Any) -> bytes:
    """Return a JPEG file of pixels, as Pillow writes it: with JFIF, in YCbCr."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **{"quality": 95, **options})
    return stream.getvalue()


@dataclass
class DarkSpots:
    """A network that calls dark cells a lesion; ``seen`` holds the batches that it was asked."""

    output_side: int
    seen: list[NDArray[np.float32]] = field(default_factory=list)

    def __call__(self, batch: NDArray[np.float32]) -> Pixels:
        """Return labels uint8 [n, output_side, output_side] of float32 [n, channel, side, side] in 0..1."""
        self.seen.append(batch)
        enlarged = self.output_side // batch.shape[2]
        dark = (batch.mean(axis=1) < 0.5).repeat(enlarged, axis=1).repeat(enlarged, axis=2)
        return dark.astype(np.uint8)
