"""Headers as DICOM JSON: one odd value never costs the rest, and JSON stays JSON."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from serving.dicomweb.metadata import metadata
from tests.builders import Exam, write


def document(folder: Path, made: Dataset, more: bytes = b"") -> dict[str, Any]:
    """The metadata of an object, as a strict reader of JSON takes them; ``more`` are encoded elements to add."""
    (path,) = write([made], folder).values()
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    path.write_bytes(content[:start] + more + content[start:])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(json.dumps(metadata(path, "http://here")), parse_constant=refuse)
    assert found["0020000D"] == {"vr": "UI", "Value": [made.StudyInstanceUID]}
    return found


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    made = Exam().short_axis(1, 1)[0]
    made.add_new("DiffusionBValue", "FD", float("nan"))
    inner = Dataset()
    inner.add_new("RealWorldValueSlope", "FD", float("inf"))
    made.add_new("DisplayedAreaBottomRightHandCornerTrial", "SL", 3)
    made.add_new("RealWorldValueMappingSequence", "SQ", [inner])
    made.add_new("DiffusionGradientOrientation", "FD", [1.0, float("-inf"), 0.5])
    found = document(tmp_path, made)
    assert found["00189087"] == {"vr": "FD", "Value": [None]}
    assert found["00409096"]["Value"] == [{"00409225": {"vr": "FD", "Value": [None]}}]
    assert found["00189089"]["Value"] == [1.0, None, 0.5]


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00081140, "SQ", b"\xff\xfe\xfd\xfc"),
        (0x00101030, "FD", b"kilo"),
        (0x00200013, "IS", b"first "),
        (0x00280100, "US", b"\x10\0\x10\0"),
        (0x00280002, "LO", b"one "),
        (0x00280008, "IS", b"many"),
        (0x00100010, "PN", b"\xff^\xfe=\x1b$B"),
    ],
)
def test_a_value_that_cannot_be_read_costs_no_other(tmp_path: Path, tag: int, vr: str, value: bytes) -> None:
    made = Exam().short_axis(1, 1)[0]
    made.pop(tag, None)
    length = struct.pack("<HI", 0, len(value)) if vr == "SQ" else struct.pack("<H", len(value))
    found = document(tmp_path, made, struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + length + value)
    assert found["00200032"]["Value"] == [float(number) for number in made.ImagePositionPatient]
    assert found["7FE00010"]["BulkDataURI"].startswith("http://here/")
