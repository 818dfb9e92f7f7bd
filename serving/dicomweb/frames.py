"""Frames of stored objects: as stored, or decoded to what Explicit VR Little Endian would hold."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian

from contracts.dicom import PIXEL_KEYWORDS, pixel_element, quiet, read_header
from contracts.errors import Refused
from contracts.pixels import check_claims

MOST_DECODED_BYTES = 512 * 2**20
CHUNK = 1 << 18
NATIVE = frozenset({"1.2.840.10008.1.2", ExplicitVRLittleEndian})
PART_TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Media types of compressed frames (PS3.18 table 8.7.3-5)."""


def is_native(transfer_syntax_uid: str) -> bool:
    """Whether the pixels stand there uncompressed, in any byte order, deflated or not."""
    return transfer_syntax_uid in NATIVE or transfer_syntax_uid in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def can_decode(transfer_syntax_uid: str) -> bool:
    """Whether the pixels can be had uncompressed here."""
    if is_native(transfer_syntax_uid):
        return True
    try:
        return bool(get_decoder(UID(transfer_syntax_uid)).is_available)
    except NotImplementedError:
        return False


def count(header: Dataset) -> int:
    """Number of frames of an object; 0 where it has no pixels, 1 where its number is none."""
    if pixel_element(header) is None:
        return 0
    try:
        return max(1, int(header.get("NumberOfFrames") or 1))
    except (TypeError, ValueError):
        return 1


def decoded(path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    """Give the frames ``numbers`` (from 1) uncompressed, little endian; 1-bit frames packed, the first bit lowest.

    Colour: stored order where it is uncompressed, else RGB by pixel. Raises ``Refused("undecodable")``.
    """
    header = read_header(path)
    native = is_native(str(header.file_meta.TransferSyntaxUID))
    planar = native and header.get("SamplesPerPixel") not in (None, 1) and header.get("PlanarConfiguration") == 1
    for frame in arrays(path, numbers, raw=native):
        if header.get("BitsAllocated") == 1:
            yield np.packbits(frame.ravel().astype(bool), bitorder="little").tobytes()
        else:
            ordered = np.moveaxis(frame, -1, 0) if planar else frame
            yield np.ascontiguousarray(ordered, frame.dtype.newbyteorder("<")).tobytes()


def arrays(path: Path, numbers: Sequence[int], *, raw: bool) -> Iterator[NDArray[np.generic]]:
    """Give frames as arrays [row, column] or [row, column, sample]; ``raw`` leaves the colour space as it is.

    Raises ``Refused``: ``undecodable`` where the pixels are damaged or no decoder here reads them, and what
    :func:`contracts.pixels.check_claims` raises.
    """
    header = read_header(path)
    try:
        with quiet():
            check_claims(path, header, numbers, MOST_DECODED_BYTES)
            if header.get("BitsAllocated") == 1 and str(header.file_meta.TransferSyntaxUID) in NATIVE:
                yield from _bits(path, numbers, int(header.Rows), int(header.Columns))
            else:
                yield from iter_pixels(path, indices=[number - 1 for number in numbers], raw=raw)
    except Refused:
        raise
    except Exception as error:
        raise Refused("undecodable", f"The pixels cannot be decoded here ({type(error).__name__}).") from None


def _bits(path: Path, numbers: Sequence[int], rows: int, columns: int) -> Iterator[NDArray[np.uint8]]:
    """Frames of single bits have no gap between them and may begin inside a byte, where pydicom 3 fails."""
    start, _ = _value(path, 0x7FE00010)
    size = rows * columns
    with path.open("rb") as file:
        for number in numbers:
            first = (number - 1) * size
            file.seek(start + first // 8)
            packed = file.read((first % 8 + size + 7) // 8)
            bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
            yield bits[first % 8 : first % 8 + size].reshape(rows, columns)


def _value(path: Path, tag: int) -> tuple[int, int]:
    """Where the value of an uncompressed element stands in the file, and its length, in bytes."""
    with quiet():
        element: Any = dcmread(path, defer_size=1024).get_item(tag, keep_deferred=True)
    return element.value_tell, element.length


def stored(path: Path, numbers: Sequence[int]) -> Iterator[bytes]:
    """Give the frames ``numbers`` (from 1) of a compressed object as they are stored."""
    with quiet():
        dataset = dcmread(path)
    total = count(dataset)
    for number in numbers:
        yield get_frame(dataset.PixelData, number - 1, number_of_frames=total)


def uncompressed(path: Path) -> bytes:
    """Return a whole object as a file in Explicit VR Little Endian, under its own UID.

    Raises ``Refused``: ``undecodable``, or ``too_large`` where the pixels alone would need half a gigabyte.
    """
    header = read_header(path)
    try:
        _check_size(header)
        with quiet():
            dataset = dcmread(path)
            if not is_native(str(dataset.file_meta.TransferSyntaxUID)):
                check_claims(path, header, range(1, count(header) + 1), MOST_DECODED_BYTES)
                dataset.decompress(generate_instance_uid=False)
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            buffer = BytesIO()
            dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except Refused:
        raise
    except Exception as error:
        raise Refused("undecodable", f"The object cannot be written uncompressed ({type(error).__name__}).") from None
    return buffer.getvalue()


def _check_size(header: Dataset) -> None:
    size = count(header) * int(header.get("Rows") or 0) * int(header.get("Columns") or 0)
    if size * int(header.get("SamplesPerPixel") or 1) * int(header.get("BitsAllocated") or 8) // 8 > MOST_DECODED_BYTES:
        raise Refused("too_large", 'The object is too large to be decoded as a whole; accept transfer-syntax="*".')


def whole(path: Path) -> Iterator[bytes]:
    """Give a stored file in pieces."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


def bulk(path: Path) -> Iterator[bytes]:
    """Give the value of the pixel data in pieces, uncompressed: all frames, one after the other."""
    header = read_header(path)
    known = pixel_element(header)
    if known is None:
        return
    if str(header.file_meta.TransferSyntaxUID) not in NATIVE:
        yield from decoded(path, range(1, count(header) + 1))
        return
    start, left = _value(path, next(tag for tag, keyword in PIXEL_KEYWORDS.items() if keyword == known.keyword))
    with path.open("rb") as file:
        file.seek(start)
        while left > 0 and (piece := file.read(min(CHUNK, left))):
            left -= len(piece)
            yield piece
