"""A header answers as pydicom does, whatever stands in it and however often it is asked."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from contracts.describe import KEYWORDS
from contracts.dicom import read_header, settle
from contracts.headers import LONGEST, REMEMBERED, Header, remembered
from tests.builders import Exam, compress, write

ABSENT = ("PatientWeight", "TriggerTime", "SharedFunctionalGroupsSequence", "NoSuchKeyword", "", "lower")


def answer(header: Dataset, key: Any) -> object:
    """What ``get`` says, a failure included."""
    try:
        value = header.get(key, "nothing")
    except Exception as error:
        return type(error)
    return (type(value), repr(value))


def files(folder: Path) -> list[Path]:
    """An image, the same with implicit VRs, compressed, and an object of many sequences."""
    exam = Exam()
    image, enhanced = exam.short_axis(1, 1)[0], exam.enhanced(2, 2)
    for number, name in enumerate(("plain", "implicit")):
        (folder / name).mkdir()
        if number:
            image = dcmread(compress(image, ImplicitVRLittleEndian, folder / name))
    plain = write([*Exam().short_axis(1, 1), enhanced], folder / "plain")
    return [*plain.values(), *(folder / "implicit").iterdir()]


def test_every_value_is_the_one_that_pydicom_reads(tmp_path: Path) -> None:
    for path in files(tmp_path):
        expected = dcmread(path, stop_before_pixels=True)
        keywords = [keyword_for_tag(tag) for tag in sorted(expected.keys())]
        for _ in range(2):
            header = read_header(path)
            assert isinstance(header, Header)
            for key in (*keywords, *KEYWORDS, *ABSENT, 0x00100010, (0x0018, 0x1050), Tag(0x00280010)):
                assert answer(header, key) == answer(expected, key), key
                assert (key in header) == (key in expected)
        assert header == expected


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, "1.2.840.10008.1.2.1"])
def test_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    image = Exam().short_axis(1, 1)[0]
    path = tmp_path / "one.dcm"
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = b""
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(path, image, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    header, expected = read_header(path), dcmread(path, stop_before_pixels=True)
    for tag in sorted(expected.keys()):
        assert answer(header, keyword_for_tag(tag)) == answer(expected, keyword_for_tag(tag))


@given(vr=st.sampled_from(sorted(REMEMBERED)), value=st.binary(min_size=1, max_size=12), little=st.booleans())
def test_whatever_the_bytes_are(vr: str, value: bytes, little: bool) -> None:
    """Hostile values raise what they raise for pydicom, each time."""
    settle()
    tag = Tag(0x00181316)
    for _ in range(2):
        told = []
        for kind in (Dataset, Header):
            made = Dataset() if kind is Dataset else Header("", {})
            made._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, little, True)
            made.set_original_encoding(False, little)
            told.append(answer(made, "SAR"))
        assert told[0] == told[1]


def test_what_was_changed_since_is_what_is_told(tmp_path: Path) -> None:
    (path,) = write(Exam().short_axis(1, 1), tmp_path).values()
    header = read_header(path)
    assert header.get("Rows") == header.Rows
    header.Rows = 7
    assert header.get("Rows") == 7
    del header["Rows"]
    assert header.get("Rows") is None
    assert "Rows" not in header


def test_text_and_long_values_are_not_remembered() -> None:
    tag = Tag(0x00104000)

    def raw(vr: str, value: bytes | None) -> RawDataElement:
        return RawDataElement(tag, vr, 0, value, 0, False, True, True)

    assert remembered(raw("DS", b"1.5 ")) == 1.5
    for element in (
        raw("LT", b"text"),
        raw("PN", b"A^B"),
        raw("DS", b"1\\" * LONGEST),
        raw("DS", b""),
        raw("DS", None),
    ):
        assert remembered(element) is None
    assert remembered(FileDataset("", {}).get("Rows")) is None
