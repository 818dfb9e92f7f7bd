"""Reading DICOM files (PS3.10) from anyone: real files break many rules, and none of that may break the reader.

pydicom warns once per odd value (leading zeros in UIDs, impossible dates), which floods logs; values are kept verbatim
here, so these warnings carry nothing. pydicom's own switch is per process, which also makes it safe between threads.
"""

import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from contracts.errors import Refused
from contracts.headers import Header

PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

_UID = re.compile(r"[0-9.]{1,64}")
_UNDEFINED = 0xFFFFFFFF
_DEFER_BYTES = 16 * 2**20
_INFLATED_BYTES = 128 * 2**20
_PREFIX_END, _META_BYTES = 132, 1024
_TRANSFER_SYNTAX = b"\x02\0\x10\0UI"  # (0002,0010), which no sender puts far from the start
_FILTER = ("ignore", None, UserWarning, re.compile(r"pydicom\b"), 0)


@dataclass(frozen=True)
class PixelElement:
    """What a header says about the pixels that follow it.

    ``keyword`` of the element; ``length`` in bytes, None where it is encapsulated (PS3.5 section A.4), then
    ``fragments`` counts its pieces without the offset table. ``value_at`` is where the value starts in the file.
    """

    keyword: str
    length: int | None
    fragments: int = 0
    value_at: int = 0


@dataclass
class _Seen:
    """The last data element that the reader came to: tag, position of its value, length."""

    tag: int = 0
    value_at: int = 0
    length: int = 0


def settle() -> None:
    """Tell pydicom, for the whole process, to take values as they are and to be quiet about them. Idempotent."""
    config.settings.reading_validation_mode = config.IGNORE
    if _FILTER not in warnings.filters:
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]


@contextmanager
def quiet() -> Iterator[None]:
    """Run a block without pydicom's warnings about values of others.

    Nothing is put back at the end: a change of a process-wide switch in one thread would be felt in all others.
    """
    settle()
    yield


def pixel_element(header: Dataset) -> PixelElement | None:
    """Return what is known of the pixels of a header from :func:`read_header`, or of a data set that holds them."""
    known = getattr(header, "pixel_element", None)
    if isinstance(known, PixelElement):
        return known
    for tag, keyword in PIXEL_KEYWORDS.items():
        if tag in header:
            element = header[tag]
            if element.is_undefined_length:
                return PixelElement(keyword, None, fragments=max(1, int(header.get("NumberOfFrames") or 1)))
            return PixelElement(keyword, len(element.value or b""))
    return None


def read_header(path: Path) -> Dataset:
    """Read everything before the pixels; memory does not grow with the pixels.

    The data set that is returned also answers :func:`pixel_element`.

    Raises:
        Refused: ``not_dicom``; ``truncated`` where the file ends before what it announces; ``bad_identity`` where a
            UID is missing or has other characters than digits and points.
    """
    settle()
    with path.open("rb") as file, _reading():
        header = _read_deflated(file) if _is_deflated(file) else _read_plain(file, path.stat().st_size)
        header.__class__ = Header  # pydicom's reader makes the one that it extends, and nothing else
        check_identity(header)
    return header


def read_dataset(path: Path) -> Dataset:
    """Read a whole object, pixels included (still encoded).

    Raises:
        Refused: as :func:`read_header`.
    """
    read_header(path)
    with _reading():
        return dcmread(path)


def is_uid(text: str) -> bool:
    """Whether a text is digits and points only, 64 at most.

    Leading zeros, which PS3.5 section 9.1 forbids, do occur in real files and do no harm; other characters never
    belong to a UID and could reach a path, an address or a header.
    """
    return _UID.fullmatch(text) is not None


def check_identity(header: Dataset) -> None:
    """Raise ``Refused("bad_identity")`` unless the four UIDs that name an instance are UIDs, and so is its syntax."""
    named = [(keyword, header.get(keyword)) for keyword in IDENTITY]
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    for keyword, value in [*named, *([("TransferSyntaxUID", syntax)] if syntax else [])]:
        if not isinstance(value, str) or not is_uid(value):
            state = "is missing" if not value else "has characters that no UID has, or too many"
            raise Refused("bad_identity", f"{keyword} {state}; send the object with a proper {keyword}.")


@contextmanager
def _reading() -> Iterator[None]:
    """Turn whatever the reader stumbles over into a typed error: hostile input makes it raise almost anything."""
    try:
        yield
    except Refused:
        raise
    except InvalidDicomError:
        raise Refused("not_dicom", "The object is no DICOM file (PS3.10): its 'DICM' prefix is missing.") from None
    except OSError:
        raise
    except (EOFError, UnboundLocalError):  # the second is how pydicom's reader ends at an unexpected end of the file
        raise Refused("truncated", "The object ends inside a sequence; send it again as a whole.") from None
    except Exception as error:
        raise Refused("not_dicom", f"The object cannot be read as DICOM ({type(error).__name__}).") from None


def _is_deflated(file: BinaryIO) -> bool:
    """Whether the file meta information names the deflated transfer syntax. Leaves the file at its start."""
    start = file.read(_META_BYTES)
    file.seek(0)
    at = start.find(_TRANSFER_SYNTAX, _PREFIX_END)
    return at >= 0 and start[at + len(_TRANSFER_SYNTAX) + 2 :].startswith(DeflatedExplicitVRLittleEndian.encode())


def _read_plain(file: BinaryIO, size: int) -> Dataset:
    seen = _Seen()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        seen.tag, seen.value_at, seen.length = int(tag), file.tell(), length
        return int(tag) in PIXEL_KEYWORDS

    header = read_partial(file, stop_when=stop, defer_size=_DEFER_BYTES)
    if seen.length != _UNDEFINED and seen.value_at + seen.length > size:
        raise Refused("truncated", "The object ends before its last data element does; send it again as a whole.")
    if seen.tag in PIXEL_KEYWORDS:
        length = None if seen.length == _UNDEFINED else seen.length
        fragments = _count_fragments(file, seen.value_at) if length is None else 0
        header.pixel_element = PixelElement(PIXEL_KEYWORDS[seen.tag], length, fragments, seen.value_at)
    return header


def _count_fragments(file: BinaryIO, start: int) -> int:
    """Walk the items of encapsulated pixel data and count those after the offset table."""
    file.seek(0, 2)
    size = file.tell()
    items, at = 0, start
    while at + 8 <= size:
        file.seek(at)
        piece = file.read(8)
        length = int.from_bytes(piece[4:], "little")
        if piece[:4] == b"\xfe\xff\xdd\xe0":
            return items - 1
        if piece[:4] != b"\xfe\xff\x00\xe0":
            break
        items, at = items + 1, at + 8 + length
    raise Refused("truncated", "The compressed pixel data end before their last fragment; send the object again.")


def _read_deflated(file: BinaryIO) -> Dataset:
    """Read a deflated object, whose header cannot be read without the rest; a small file may hide a huge one."""
    start = _dataset_start(file)
    file.seek(start)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    if len(unpacker.decompress(file.read(), _INFLATED_BYTES)) >= _INFLATED_BYTES:
        raise Refused("too_large", f"The deflated object holds more than {_INFLATED_BYTES // 2**20} MB; send it plain.")
    if not unpacker.eof:
        raise Refused("truncated", "The deflated object ends too early; send it again as a whole.")
    file.seek(0)
    header = dcmread(file)
    known = pixel_element(header)
    for tag in PIXEL_KEYWORDS:
        if tag in header:
            del header[tag]
    if known:
        header.pixel_element = known
    return header


def _dataset_start(file: BinaryIO) -> int:
    """Offset of the data set: preamble and prefix, then group 0002, whose first element says how long the rest is."""
    file.seek(132)
    group_length = file.read(12)
    return 144 + int.from_bytes(group_length[8:12], "little")


settle()
