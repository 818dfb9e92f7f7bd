"""What the index remembers of a header can always be answered as JSON."""

import json
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from contracts.dicom import read_header
from serving.index.records import INSTANCE, SERIES, STUDY, attributes
from tests.builders import Exam, write


def test_attributes_come_by_tag() -> None:
    made = Exam("records").short_axis(1, 1)[0]
    assert attributes(made, STUDY)["00100020"] == {"vr": "LO", "Value": ["ID-records"]}
    assert attributes(made, STUDY)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert attributes(made, INSTANCE)["00280010"] == {"vr": "US", "Value": [20]}


def test_values_as_read_and_as_decoded_give_the_same_each_time(tmp_path: Path) -> None:
    (path,) = write(Exam().short_axis(1, 1), tmp_path).values()
    decoded = dcmread(path)
    decoded.decode()
    for keywords in (STUDY, SERIES, INSTANCE):
        for _ in range(2):
            assert attributes(read_header(path), keywords) == attributes(decoded, keywords)


@pytest.mark.parametrize(
    ("keyword", "tag", "vr", "value"),
    [
        (STUDY, 0x00080030, "DS", b"inf "),
        (STUDY, 0x00080030, "FD", b"\0\0\0\0\0\0\xf8\x7f"),
        (STUDY, 0x00100010, "PN", b"\xed\xa0\x80\xff"),
        (SERIES, 0x00200011, "IS", b"nan "),
        (SERIES, 0x00080060, "SQ", b"MR"),
        (INSTANCE, 0x00280010, "US", b"\x14"),
    ],
)
def test_what_json_cannot_hold_is_left_out(keyword: list[str], tag: int, vr: str, value: bytes) -> None:
    made = Exam().short_axis(1, 1)[0]
    made[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    found = attributes(made, keyword)
    assert json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    assert len(found) >= len(attributes(Exam().short_axis(1, 1)[0], keyword)) - 1
