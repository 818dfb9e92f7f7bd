"""Decoding photographs into red, green and blue, whatever colour space they are stored in.

A JPEG codestream says by its own markers in which space it is, and then it is right, as every viewer of pictures holds:
headers are often written by programs that wrapped a camera's file and guessed. Where it does not say, the header does.
What contradicts itself is refused: wrong colours give a wrong mask that looks like a right one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGTransferSyntaxes

from contracts.errors import Refused
from contracts.pixels import FRAME_HEADER_MARKERS, codestreams, decodable, decoded, segments

RGB, YBR = "RGB", "YBR_FULL"
_APP0, _APP14, _COD = 0xE0, 0xEE, b"\xff\x52"


def read_photographs(path: Path, frames: Sequence[int], shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
    """Decode the given frames (counted from 1), one by one, each as uint8 ``[row, column, 3]`` in red, green, blue.

    ``shape`` is (rows, columns). Pixels stay where they are stored: nothing is turned, not even where a camera wrote
    its orientation beside them, for DICOM knows no such thing. Colour profiles are not applied.

    Raises:
        Refused: as :func:`contracts.pixels.read_frames`; ``no_colours`` for a file that is no photograph;
            ``colours_contradict`` where header and codestream name two colour spaces and neither is known to be right.
    """
    with decodable(path, shape) as header:
        if header.get("SamplesPerPixel") != 3:
            raise Refused("no_colours", "It has one grey value a pixel, where red, green and blue are expected.")
        for space, raw in zip(_spaces(path, header, frames), decoded(path, header, frames), strict=True):
            pixels = raw.astype(np.uint8, copy=False)
            yield pixels if space == RGB else convert_color_space(pixels, YBR, RGB)


def jpeg_space(codestream: bytes) -> str:
    """Return the colour space that a JPEG codestream names itself: ``RGB``, ``YBR_FULL``, or "" where it does not.

    JFIF knows YCbCr only (ISO/IEC 10918-5); Adobe's segment holds a transform (ISO/IEC 10918-6 section 6.5.3); else
    components may be called R, G and B.
    """
    adobe = ids = ""
    for marker, told in segments(codestream):
        if marker == _APP0 and told[:5] == b"JFIF\0":
            return YBR
        if marker == _APP14 and told[:5] == b"Adobe" and len(told) >= 12:
            adobe = {0: RGB, 1: YBR}.get(told[11], "")
        if marker in FRAME_HEADER_MARKERS and told[6::3].upper() == b"RGB":
            ids = RGB
    return adobe or ids


def has_component_transform(codestream: bytes) -> bool:
    """Whether a JPEG 2000 codestream was transformed from RGB, which its decoder undoes (ISO/IEC 15444-1 A.6.1)."""
    at = codestream.find(_COD)
    return 0 <= at < len(codestream) - 8 and codestream[at + 8] == 1


def _spaces(path: Path, header: Dataset, frames: Sequence[int]) -> Iterator[str]:
    """Give the space that decoding leaves each frame in, in the order of ``frames``."""
    syntax, named = UID(header.file_meta.TransferSyntaxUID), str(header.PhotometricInterpretation)
    by_header = YBR if named.startswith("YBR_FULL") else RGB
    if syntax in JPEG2000TransferSyntaxes:
        found = [_jpeg_2000_space(codestream, named) for codestream in codestreams(path, header, set(frames))]
    elif named in ("YBR_ICT", "YBR_RCT"):
        raise _contradiction(f"{named} is a colour space of JPEG 2000, which this is not")
    elif syntax in JPEGTransferSyntaxes:
        found = [jpeg_space(codestream) or by_header for codestream in codestreams(path, header, set(frames))]
    else:
        found = [by_header] * len(set(frames))
    by_number = dict(zip(sorted(set(frames)), found, strict=True))
    yield from (by_number[frame] for frame in frames)


def _jpeg_2000_space(codestream: bytes, named: str) -> str:
    transformed = has_component_transform(codestream)
    if transformed and named.startswith("YBR_FULL"):
        raise _contradiction(f"the header says {named}, the compressed picture was made from RGB")
    if not transformed and named in ("YBR_ICT", "YBR_RCT"):
        raise _contradiction(f"the header says {named}, the compressed picture holds no such transform")
    return YBR if named.startswith("YBR_FULL") else RGB


def _contradiction(what: str) -> Refused:
    return Refused("colours_contradict", f"Its colours are not certain: {what}; send it with RGB pixels.")
