"""What the index remembers of a header can always be answered as JSON."""

import json

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from serving.index.records import INSTANCE, SERIES, STUDY, attributes
from tests.builders import Exam


def test_attributes_come_by_tag() -> None:
    made = Exam("records").short_axis(1, 1)[0]
    assert attributes(made, STUDY)["00100020"] == {"vr": "LO", "Value": ["ID-records"]}
    assert attributes(made, STUDY)["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert attributes(made, INSTANCE)["00280010"] == {"vr": "US", "Value": [20]}


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
