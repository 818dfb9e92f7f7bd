"""Decoding the pixels of one object, within what its header may claim.

Decoders by transfer syntax: pydicom itself (uncompressed, RLE), pylibjpeg-openjpeg (JPEG 2000), pyjpegls (JPEG-LS),
GDCM and Pillow (JPEG). A compressed image names its size twice, in the DICOM header and in its codestream; a decoder
allocates what the codestream says, so both are compared first.
"""

import math
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, JPEGExtended12Bit

from contracts.describe import LARGEST_PLANE, describe
from contracts.dicom import quiet, read_header
from contracts.errors import Refused

_SEND_OTHERWISE = "send the images uncompressed or losslessly compressed"
FRAME_HEADER_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9), 0xFF}
_START_OF_SCAN = 0xDA


def read_frames(path: Path, frames: Sequence[int], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Decode the given frames (counted from 1), one by one, each as float32 ``[row, column]``.

    The modality transformation (rescale slope and intercept) is applied; MONOCHROME1 is turned round within its range
    of stored values, so that larger is always brighter. ``shape`` is (rows, columns).

    Raises:
        Refused: as :func:`contracts.dicom.read_header`; the header's own problem; ``other_size``;
            ``transfer_syntax``, ``lossy_12_bit`` for what no decoder here reads right; ``unusual_bits``;
            ``undecodable_pixels``; ``bad_rescale``; ``bad_header`` for a value that cannot be read.
    """
    with decodable(path, shape) as header:
        for frame, raw in zip(frames, decoded(path, header, frames), strict=True):
            yield _rescaled(_brightness(raw, header), header, frame)


@contextmanager
def decodable(path: Path, shape: tuple[int, ...]) -> Iterator[Dataset]:
    """Give the header of a file whose pixels can be decoded, for as long as its values are read.

    Raises:
        Refused: as :func:`contracts.dicom.read_header`; the header's own problem; ``other_size``;
            ``transfer_syntax``, ``lossy_12_bit``, ``unusual_bits``; ``bad_header`` for a value that turns out, here or
            inside the block, to be none.
    """
    header = read_header(path)
    described = describe(header)
    if described.problem:
        raise Refused(*described.problem)
    if (described.rows, described.columns) != tuple(shape):
        raise Refused(
            "other_size", f"It has {described.rows} x {described.columns} pixels, not {shape[0]} x {shape[1]}."
        )
    try:
        _check_decodable(header)
        with quiet():
            yield header
    except Refused:
        raise
    except Exception as error:  # several values or a text where one number belongs raise almost anything
        sentence = f"Its header holds a value that cannot be read ({type(error).__name__}); send a repaired copy."
        raise Refused("bad_header", sentence) from error


def segments(codestream: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk the marker segments of a JPEG or JPEG-LS codestream up to its first scan: (marker, what follows its length).

    A marker is the byte after 0xFF (ISO/IEC 10918-1 B.1.1). Nothing for what is no such codestream.
    """
    at = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == _START_OF_SCAN:
            return
        if marker in _BARE_MARKERS:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(codestream[at + 2 : at + 4])
        yield marker, codestream[at + 4 : end]
        at = end


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream names itself; None where it is none of them.

    JPEG: frame header, ISO/IEC 10918-1 B.2.2 (JPEG-LS: 14495-1 C.2.2). JPEG 2000: SIZ, ISO/IEC 15444-1 A.5.1.
    """
    siz = frame.find(b"\xff\x4f\xff\x51")
    if siz >= 0 and len(frame) >= siz + 24:
        right, bottom, left, top = (int.from_bytes(frame[siz + at : siz + at + 4]) for at in (8, 12, 16, 20))
        return bottom - top, right - left
    for marker, told in segments(frame):
        if marker in FRAME_HEADER_MARKERS and len(told) >= 5:
            return int.from_bytes(told[1:3]), int.from_bytes(told[3:5])
    return None


def check_claims(path: Path, header: Dataset, frames: Sequence[int], most_bytes: int) -> None:
    """Refuse what a decoder would allocate without bounds: call it before pixels of others are decoded.

    ``header`` is that of :func:`contracts.dicom.read_header`; ``frames`` (from 1) are those to be decoded.

    Raises:
        Refused: ``too_large`` where a frame has more than ``most_bytes`` by its header; ``other_size`` where a
            compressed image names another size than its header.
    """
    pixels = int(header.get("Rows") or 0) * int(header.get("Columns") or 0) * int(header.get("SamplesPerPixel") or 1)
    if pixels * int(header.get("BitsAllocated") or 8) > 8 * most_bytes:
        raise Refused("too_large", f"A frame has more than {most_bytes // 2**20} MB by its header; it is not decoded.")
    if UID(header.file_meta.get("TransferSyntaxUID", "")).is_encapsulated:
        _check_codestreams(path, header, frames if isinstance(frames, range) else set(frames))


def _check_decodable(header: Dataset) -> None:
    syntax = UID(header.file_meta.get("TransferSyntaxUID", ""))
    stored = int(header.get("BitsStored") or header.get("BitsAllocated") or 16)
    if syntax == JPEGExtended12Bit and stored > 8:
        raise Refused("lossy_12_bit", f"12-bit lossy JPEG is not decoded here; {_SEND_OTHERWISE}.")
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise Refused("transfer_syntax", f"Transfer syntax {syntax.name} is not decoded here; {_SEND_OTHERWISE}.")
    if int(header.get("HighBit", stored - 1)) != stored - 1:
        raise Refused("unusual_bits", "HighBit is not BitsStored - 1, a layout that DICOM retired; send it converted.")


def decoded(path: Path, header: Dataset, frames: Sequence[int]) -> Iterator[NDArray[np.generic]]:
    """Decode frames (from 1) of a file as they are stored: [row, column] or, of several samples, [row, column, sample].

    Raises:
        Refused: as :func:`check_claims`; ``undecodable_pixels``.
    """
    try:
        syntax = UID(header.file_meta.TransferSyntaxUID)
        check_claims(path, header, frames, LARGEST_PLANE * 8)
        # pydicom reads frames of a file one by one, but does not see into a deflated file
        source = dcmread(path) if syntax.is_deflated else path
        yield from iter_pixels(source, raw=True, indices=[frame - 1 for frame in frames])
    except Refused:
        raise
    except Exception as error:  # decoders raise anything on a broken codestream
        sentence = f"Its pixels cannot be decoded ({type(error).__name__}); {_SEND_OTHERWISE}."
        raise Refused("undecodable_pixels", sentence) from error


def _check_codestreams(path: Path, header: Dataset, wanted: Container[int]) -> None:
    named = (int(header.Rows), int(header.Columns))
    for frame in codestreams(path, header, wanted):
        size = codestream_size(frame)
        if size and size != named:
            told = f"The header claims {named[0]} x {named[1]} pixels, the compressed image has {size[0]} x {size[1]}"
            raise Refused("other_size", f"{told}; {_SEND_OTHERWISE}.")


def codestreams(path: Path, header: Dataset, wanted: Container[int]) -> Iterator[bytes]:
    """Give the compressed frames whose numbers (from 1) are ``wanted``, in order."""
    with path.open("rb") as file:
        file.seek(header.pixel_element.value_at)
        frames = generate_frames(file, number_of_frames=int(header.get("NumberOfFrames") or 1))
        yield from (frame for number, frame in enumerate(frames, 1) if number in wanted)


def _brightness(raw: NDArray[np.generic], header: Dataset) -> NDArray[np.float64]:
    """Stored values as float64, turned round for MONOCHROME1 (PS3.3 section C.7.6.3.1.2)."""
    if raw.ndim != 2:
        raise Refused("colour_pixels", "It has several samples a pixel, where one grey value is expected.")
    values = raw.astype(np.float64)
    if header.get("PhotometricInterpretation") != "MONOCHROME1":
        return values
    return (-1.0 if header.PixelRepresentation else 2.0 ** int(header.BitsStored) - 1) - values


def _rescaled(values: NDArray[np.float64], header: Dataset, frame: int) -> NDArray[np.float32]:
    """Apply slope and intercept: of the frame, of all frames, or of the classic header (PS3.3 section C.11.1)."""
    slope, intercept = 1.0, 0.0
    groups = [header]
    for keyword, place in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame - 1)):
        items = header.get(keyword) or []
        if place < len(items):
            groups += items[place].get("PixelValueTransformationSequence") or []
    for group in groups:
        if group.get("RescaleSlope") is not None:
            slope, intercept = float(group.RescaleSlope), float(group.get("RescaleIntercept") or 0)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = (values * slope + intercept).astype(np.float32)
    if not slope or not math.isfinite(slope) or not np.isfinite(pixels).all():
        raise Refused("bad_rescale", "RescaleSlope and RescaleIntercept lead to no usable pixel values.")
    return pixels
