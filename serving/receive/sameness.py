"""Are two copies with one SOP Instance UID the same instance?

Compared are values, never files: every sender may re-encode what it sends. Group 0002, group lengths, padding, the
encoding of sequences, explicit or implicit VRs, byte order and compression do not count. What counts is split in
two: pixels and geometry decide where a result lies in the patient, the rest is text about it.

Memory stays bounded by one frame: large values and native pixels are hashed as they are read.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_sequence
from pydicom.filewriter import write_data_element
from pydicom.pixels.utils import iter_pixels
from pydicom.tag import BaseTag

from contracts.dicom import quiet, read_header
from contracts.pixels import check_claims

DEFER_BYTES = 1 << 16
CHUNK = 1 << 20
MOST_FRAME_BYTES = 512 * 2**20
"""Pixels of larger frames, and of those that claim to be, are compared as they are encoded."""

PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
NOT_COMPARED = frozenset({0x00080001, 0x7FE00001, 0x7FE00002, 0xFFFCFFFC})
"""Length to end, extended offset table and its lengths, trailing padding: about the encoding, not the instance."""

GEOMETRY = frozenset(
    {
        0x00180050,  # slice thickness
        0x00200032,  # position
        0x00200037,  # orientation
        0x00200052,  # frame of reference
        0x00280002,  # samples per pixel
        0x00280004,  # photometric interpretation
        0x00280006,  # planar configuration
        0x00280008,  # number of frames
        0x00280010,  # rows
        0x00280011,  # columns
        0x00280030,  # pixel spacing
        0x00280034,  # pixel aspect ratio
        0x00280100,  # bits allocated
        0x00280101,  # bits stored
        0x00280102,  # high bit
        0x00280103,  # pixel representation
        0x00281052,  # rescale intercept
        0x00281053,  # rescale slope
        0x00283000,  # modality LUT
        0x52009229,  # shared functional groups
        0x52009230,  # per-frame functional groups
    }
)
COLOUR_ENCODING = frozenset({0x00280004, 0x00280006})
WORDS = {"US": 2, "SS": 2, "OW": 2, "AT": 2, "UL": 4, "SL": 4, "FL": 4, "OF": 4, "OL": 4, "FD": 8, "OD": 8, "OV": 8}
"""VRs whose values have a byte order, with the size of their words."""

NUMBERS = frozenset({"DS", "IS"})
TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "PN", "SH", "TM", "UC", "UI"})
ITEM = b"\xfe\xff\x00\xe0"
UNDEFINED = 0xFFFFFFFF


class Verdict(Enum):
    """How two copies relate."""

    SAME = "same"
    ATTRIBUTES = "attributes"
    PIXELS = "pixels"


@dataclass(frozen=True)
class Differences:
    """How a new copy relates to the known one, and the fingerprints of both (empty where their bytes are equal)."""

    verdict: Verdict
    known: str = ""
    new: str = ""


@dataclass(frozen=True)
class Digests:
    """What one copy says, as hex digests: ``text`` of its attributes, ``geometry``, and its decoded ``pixels``."""

    text: str
    geometry: str
    pixels: str

    @property
    def fingerprint(self) -> str:
        """One digest of all three."""
        return hashlib.sha256(f"{self.text}{self.geometry}{self.pixels}".encode()).hexdigest()


def differences(known_path: Path, new_path: Path) -> Differences:
    """Say what differs between two copies: nothing, attributes only, or pixels or geometry too.

    A copy that breaks the comparison has nothing that could be equal: its pixels count as different. ``OSError`` of
    the disk passes through.
    """
    if _same_bytes(known_path, new_path):
        return Differences(Verdict.SAME)
    known, new = digests(known_path), digests(new_path)
    verdict = Verdict.SAME if known.text == new.text else Verdict.ATTRIBUTES
    if (known.geometry, known.pixels) != (new.geometry, new.pixels):
        verdict = Verdict.PIXELS
    return Differences(verdict, known.fingerprint, new.fingerprint)


def digests(path: Path) -> Digests:
    """Read one copy. Pixels that no decoder here can read count as they are encoded, a broken copy by all its bytes."""
    try:
        return _digests(path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; pydicom's own, about sequences that end too early, have no number
        with path.open("rb") as file:
            return Digests("", "", hashlib.file_digest(file, "sha256").hexdigest())


def _digests(path: Path) -> Digests:
    with quiet(), path.open("rb") as file:
        dataset = dcmread(path, defer_size=DEFER_BYTES)
        reader = _Reader(file, dataset)
        text, geometry = hashlib.sha256(), hashlib.sha256()
        colour = int(dataset.get("SamplesPerPixel") or 1) > 1
        for tag in sorted(dataset.keys()):
            if tag in PIXELS or tag in NOT_COMPARED or (colour and tag in COLOUR_ENCODING):
                continue
            reader.feed(dataset, tag, (geometry if tag in GEOMETRY else text).update)
        return Digests(text.hexdigest(), geometry.hexdigest(), _pixels(path, reader, dataset))


class _Reader:
    """Turns elements into canonical bytes: tag, then value, the same for every encoding of it."""

    def __init__(self, file: BinaryIO, dataset: Dataset) -> None:
        self._file = file
        self._little = dataset.original_encoding[1] is not False

    def feed(self, dataset: Dataset, tag: BaseTag, update: Callable[[bytes], object]) -> None:
        """Hand the element's canonical bytes to ``update``; group lengths have none."""
        if tag.element == 0:
            return
        update(b"(%08x" % int(tag))
        element: Any = dataset.get_item(tag, keep_deferred=True)
        vr = _vr(tag, element)
        if not isinstance(element, RawDataElement) or vr == "SQ":
            update(self._converted(dataset[tag]))
        elif _deferred(element):
            self.stream(element, update)
        else:
            update(self._plain(vr, element))
        update(b")")

    def stream(self, element: RawDataElement, update: Callable[[bytes], object]) -> None:
        """Hash a large value straight from the file, without its padding."""
        left = element.length
        if left == UNDEFINED:
            left = _undefined_length(self._file, element.value_tell)
        self._file.seek(element.value_tell)
        while left > 0 and (piece := self._file.read(min(CHUNK, left))):
            left -= len(piece)
            piece = self._in_little_endian(piece, element.VR or "OW")
            update(piece if left > 0 else piece.rstrip(b" \0"))

    def _plain(self, vr: str, element: RawDataElement) -> bytes:
        raw = element.value or b""
        if vr == "UN" and raw.startswith(ITEM):
            return self._items(read_sequence(io.BytesIO(raw), True, True, len(raw), ["iso8859"]))
        return _canonical(vr, self._in_little_endian(raw, element.VR or vr))

    def _items(self, items: Iterable[Dataset]) -> bytes:
        whole: list[bytes] = []
        for item in items:
            whole.append(b"[")
            for tag in sorted(item.keys()):
                self.feed(item, tag, whole.append)
            whole.append(b"]")
        return b"".join(whole)

    def _converted(self, element: DataElement) -> bytes:
        """Elements that pydicom converts while it reads: sequences, and what it must know to read others."""
        if element.VR == "SQ":
            return self._items(element.value)
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, True
        write_data_element(buffer, element, ["utf-8"])
        return _canonical(_vr(element.tag, element), buffer.getvalue()[8:])

    def _in_little_endian(self, raw: bytes, vr: str) -> bytes:
        size = WORDS.get(vr, 1)
        if self._little or size == 1 or len(raw) % size:
            return raw
        return np.frombuffer(raw, f">u{size}").astype(f"<u{size}").tobytes()


def _deferred(element: RawDataElement) -> bool:
    value: object = element.value
    return value is None and element.length != 0


def _vr(tag: BaseTag, element: DataElement | RawDataElement | None) -> str:
    """The VR that decides how a value is compared; private ones count as bytes, since implicit VR hides theirs."""
    vr = element.VR if element is not None else None
    if tag.is_private:
        return "SQ" if vr == "SQ" else "UN"
    if vr not in (None, "UN"):
        return str(vr)
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def _canonical(vr: str, raw: bytes) -> bytes:
    """Strip padding; numbers written as text compare by value (``1.0`` is ``1``)."""
    if vr in NUMBERS:
        try:
            parts = [part.strip(b" \0") for part in raw.split(b"\\")]
            return b"\\".join(repr(float(part)).encode() if part else b"" for part in parts)
        except ValueError:
            return raw.rstrip(b" \0")
    if vr in WORDS or " or " in vr:
        return raw
    if vr in TEXTS:
        return b"\\".join(part.strip(b" \0") for part in raw.split(b"\\"))
    return raw.rstrip(b" \0")


def _undefined_length(file: BinaryIO, start: int) -> int:
    """Bytes from ``start`` to the sequence delimiter of an encapsulated value."""
    at = start
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] != ITEM:
            return at - start
        at += 8 + int.from_bytes(head[4:], "little")


def _pixels(path: Path, reader: _Reader, dataset: Dataset) -> str:
    tag = next((tag for tag in dataset.keys() if tag in PIXELS), None)  # noqa: SIM118 - a data set is no dict
    if tag is None:
        return ""
    digest = hashlib.sha256()
    element: Any = dataset.get_item(tag, keep_deferred=True)
    assert element is not None
    if tag == 0x7FE00010:
        try:
            header = read_header(path)
            check_claims(path, header, range(1, int(header.get("NumberOfFrames") or 1) + 1), MOST_FRAME_BYTES)
            for frame in iter_pixels(path):
                digest.update(np.ascontiguousarray(frame, frame.dtype.newbyteorder("<")).tobytes())
            return digest.hexdigest()
        except Exception:
            digest = hashlib.sha256(b"encoded")
    if isinstance(element, RawDataElement) and _deferred(element):
        reader.stream(element, digest.update)
    else:
        digest.update((element.value or b"").rstrip(b"\0"))
    return digest.hexdigest()


def _same_bytes(first: Path, second: Path) -> bool:
    """The quick way: a sender that sends its own file again."""
    if os.path.getsize(first) != os.path.getsize(second):
        return False
    with first.open("rb") as one, second.open("rb") as other:
        while piece := one.read(CHUNK):
            if piece != other.read(CHUNK):
                return False
    return True
