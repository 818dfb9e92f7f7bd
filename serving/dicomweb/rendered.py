"""A frame as a picture that any browser shows. Every picture says that it is for research use only."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from contracts.dicom import quiet, read_header
from contracts.errors import Refused
from serving.dicomweb import frames

MARK = "Research use only"
FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}


def picture(path: Path, number: int, media_type: str) -> bytes:
    """Return frame ``number`` (from 1) windowed to 8 bit as JPEG or PNG. Raises ``Refused("undecodable")``."""
    header = read_header(path)
    frame = next(frames.arrays(path, [number], raw=False))
    try:
        with quiet():
            image = Image.fromarray(frame.astype(np.uint8) if frame.ndim == 3 else _grey(frame, header))
    except Exception as error:  # the values that say how to show pixels may be anything
        raise Refused("undecodable", f"The header does not tell how to show it ({type(error).__name__}).") from None
    buffer = BytesIO()
    _marked(image.convert("RGB")).save(buffer, FORMATS[media_type])
    return buffer.getvalue()


def _grey(frame: NDArray[np.generic], header: Dataset) -> NDArray[np.uint8]:
    """Window by the header where it says how and means it, else from the lowest to the highest value."""
    values = np.asarray(apply_modality_lut(frame, header), dtype=np.float64)
    windowed = "WindowCenter" in header or "VOILUTSequence" in header
    if windowed and header.get("Modality") != "SEG":
        with suppress(Exception):
            values = np.asarray(apply_voi_lut(values, header), dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    scaled = np.zeros(values.shape) if high <= low else (values - low) / (high - low)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        scaled = 1 - scaled
    return np.rint(scaled * 255).astype(np.uint8)


def _marked(image: Image.Image) -> Image.Image:
    """Add a line below the image rather than on it: no pixel of the patient is covered."""
    canvas = Image.new("RGB", (max(image.width, 110), image.height + 14))
    canvas.paste(image, (0, 0))
    ImageDraw.Draw(canvas).text((3, image.height + 1), MARK, fill=(220, 220, 220))
    return canvas
