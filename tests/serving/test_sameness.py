"""Two copies are the same by what they say, whatever wrote them."""

from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from contracts.errors import Refused
from serving.dicomweb import frames
from serving.receive import sameness
from serving.receive.sameness import Verdict, differences
from tests.builders import Exam, compress, heart
from tests.serving.receiving import encoded

Change = Callable[[FileDataset], object]


def image() -> FileDataset:
    """A cine slice with what senders encode in different ways: sequences, private elements, numbers as text."""
    made = Exam().short_axis(1, 1, rows=33, columns=47)[0]
    made.WindowCenter, made.PatientWeight, made.PatientComments = "40.0", "70.50", "odd"
    made.SmallestImagePixelValue = 3
    code, inner = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99X", "one"
    inner.PurposeOfReferenceCodeSequence = Sequence([code])
    inner.ReferencedSOPInstanceUID = "1.02.3"
    made.ReferencedImageSequence = Sequence([inner, Dataset()])
    block = made.private_block(0x0029, "SEGLOOP TEST", create=True)
    block.add_new(0x01, "LO", "text")
    block.add_new(0x02, "US", 513)
    block.add_new(0x03, "SQ", Sequence([code]))
    return made


def claiming(folder: Path, syntax: str, side: int) -> Path:
    """A small compressed image whose header, and for JPEG 2000 its codestream too, names a huge size."""
    path = compress(Exam().short_axis(1, 1, rows=64, columns=64)[0], syntax, folder)
    content = path.read_bytes()
    for tag in (b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x11\x00US\x02\x00"):
        at = content.index(tag) + len(tag)
        content = content[:at] + side.to_bytes(2, "little") + content[at + 2 :]
    at = content.find(b"\xff\x4f\xff\x51")
    if at >= 0:
        for place in (8, 12, 24, 28):
            content = content[: at + place] + side.to_bytes(4, "big") + content[at + place + 4 :]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_a_small_file_that_claims_a_huge_image_is_never_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    """Comparing it, or a look at it, would take gigabytes: of every one who may send."""
    path = claiming(tmp_path, syntax, 60000)
    for module in (sameness, frames):
        monkeypatch.setattr(module, "iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))
    assert sameness.digests(path).pixels
    with pytest.raises(Refused) as refused:
        next(frames.arrays(path, [1], raw=False))
    assert refused.value.code == "too_large"


def differ(tmp_path: Path, known: bytes, new: bytes) -> Verdict:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(known)
    second.write_bytes(new)
    there, back = differences(first, second), differences(second, first)
    assert there.verdict is back.verdict
    assert (there.known, there.new) == (back.new, back.known)
    return there.verdict


def big_endian(dataset: FileDataset) -> bytes:
    swapped, buffer = deepcopy(dataset), BytesIO()
    swapped.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    swapped.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(buffer, swapped, implicit_vr=False, little_endian=False, enforce_file_format=True)
    return buffer.getvalue()


def undefined_lengths(dataset: FileDataset) -> bytes:
    changed = deepcopy(dataset)
    for element in changed.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
    return encoded(changed)


def test_equal_bytes_are_the_same(tmp_path: Path) -> None:
    assert differ(tmp_path, encoded(image()), encoded(image())) is Verdict.SAME


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_the_encoding_does_not_count(tmp_path: Path, syntax: str) -> None:
    known = encoded(image())
    assert differ(tmp_path, known, encoded(image(), syntax)) is Verdict.SAME
    assert differ(tmp_path, known, undefined_lengths(image())) is Verdict.SAME


def test_byte_order_does_not_count(tmp_path: Path) -> None:
    assert differ(tmp_path, encoded(image()), big_endian(image())) is Verdict.SAME


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless, JPEGLosslessSV1])
def test_lossless_compression_does_not_count(tmp_path: Path, syntax: str) -> None:
    (tmp_path / "made").mkdir()
    plain, packed = (Exam().short_axis(1, 1, rows=64, columns=64, SpacingBetweenSlices=1.0)[0] for _ in range(2))
    path = compress(packed, syntax, tmp_path / "made")
    assert differ(tmp_path, encoded(plain), path.read_bytes()) is Verdict.SAME


def test_compressed_colour_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    plain, packed = Exam().screenshot(), Exam().screenshot()
    path = compress(packed, RLELossless, tmp_path / "made")
    assert differ(tmp_path, encoded(plain), path.read_bytes()) is Verdict.SAME


def without_traces(made: FileDataset) -> None:
    made.file_meta.ImplementationVersionName = "OTHER"
    made.file_meta.SourceApplicationEntityTitle = "OTHER"


@pytest.mark.parametrize(
    "change",
    [
        without_traces,
        lambda made: made.add_new(0x00080000, "UL", 400),
        lambda made: made.add_new(0xFFFCFFFC, "OB", b"\0\0"),
        lambda made: setattr(made, "PatientWeight", "70.5"),
        lambda made: setattr(made, "PatientComments", "odd "),
        lambda made: setattr(made, "WindowCenter", " 40"),
    ],
)
def test_traces_of_writing_do_not_count(tmp_path: Path, change: Change) -> None:
    changed = image()
    change(changed)
    assert differ(tmp_path, encoded(image()), encoded(changed)) is Verdict.SAME


@pytest.mark.parametrize(
    "change",
    [
        lambda made: setattr(made, "PatientName", "Other"),
        lambda made: setattr(made, "WindowCenter", "40.1"),
        lambda made: setattr(made, "SmallestImagePixelValue", 768),
        lambda made: setattr(made, "SeriesInstanceUID", "1.2.3"),
        lambda made: delattr(made, "AccessionNumber"),
        lambda made: setattr(made, "StudyComments", ""),
        lambda made: made.ReferencedImageSequence.pop(),
        lambda made: setattr(made.ReferencedImageSequence[0].PurposeOfReferenceCodeSequence[0], "CodeMeaning", "x"),
        lambda made: made.private_block(0x0029, "SEGLOOP TEST").add_new(0x01, "LO", "other"),
    ],
)
def test_attributes_count(tmp_path: Path, change: Change) -> None:
    changed = image()
    change(changed)
    assert differ(tmp_path, encoded(image()), encoded(changed, ImplicitVRLittleEndian)) is Verdict.ATTRIBUTES


def one_pixel(made: FileDataset) -> None:
    made.PixelData = made.PixelData[:-2] + b"\x07\x07"


@pytest.mark.parametrize(
    "change",
    [
        one_pixel,
        lambda made: setattr(made, "ImagePositionPatient", [0, 0, 0.001]),
        lambda made: setattr(made, "PixelSpacing", [1.5, 1.50001]),
        lambda made: setattr(made, "RescaleSlope", 2),
        lambda made: setattr(made, "FrameOfReferenceUID", "1.2.3"),
        lambda made: setattr(made, "BitsStored", 12),
        lambda made: setattr(made, "PhotometricInterpretation", "MONOCHROME1"),
    ],
)
def test_pixels_and_geometry_count_most(tmp_path: Path, change: Change) -> None:
    changed = image()
    change(changed)
    changed.PatientName = "Other"
    assert differ(tmp_path, encoded(image()), encoded(changed)) is Verdict.PIXELS


def test_geometry_of_frames_counts(tmp_path: Path) -> None:
    known, moved = Exam().enhanced(2, 2), Exam().enhanced(2, 2)
    frame = moved.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0]
    frame.ImagePositionPatient = [0, 0, 99]
    assert differ(tmp_path, encoded(known), encoded(Exam().enhanced(2, 2), ImplicitVRLittleEndian)) is Verdict.SAME
    assert differ(tmp_path, encoded(known), encoded(moved)) is Verdict.PIXELS


def test_objects_without_pixels_are_compared_by_what_they_say(tmp_path: Path) -> None:
    known, other = Exam().report(), Exam().report()
    other.CompletionFlag = "PARTIAL"
    assert differ(tmp_path, encoded(known), encoded(Exam().report(), ImplicitVRLittleEndian)) is Verdict.SAME
    assert differ(tmp_path, encoded(known), encoded(other)) is Verdict.ATTRIBUTES


def test_large_values_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sameness, "DEFER_BYTES", 64)
    monkeypatch.setattr(sameness, "CHUNK", 100)
    known, changed = image(), image()
    for made, last in ((known, b"\x01\x02"), (changed, b"\x01\x03")):
        made.add_new(0x00420011, "OB", bytes(500) + last)
    assert differ(tmp_path, encoded(known), encoded(known, ImplicitVRLittleEndian)) is Verdict.SAME
    assert differ(tmp_path, encoded(known), big_endian(known)) is Verdict.SAME
    assert differ(tmp_path, encoded(known), encoded(changed)) is Verdict.ATTRIBUTES


def test_pixels_that_nothing_decodes_count_as_they_are(tmp_path: Path) -> None:
    short, other = image(), image()
    short.PixelData = short.PixelData[:100]
    other.PixelData = other.PixelData[:98] + b"\x09\x09"
    assert differ(tmp_path, encoded(short), encoded(short, ImplicitVRLittleEndian)) is Verdict.SAME
    assert differ(tmp_path, encoded(short), encoded(other)) is Verdict.PIXELS


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 4000), byte=st.integers(0, 255))
def test_damage_anywhere_breaks_nothing(tmp_path: Path, at: int, byte: int) -> None:
    known = encoded(image())
    at %= len(known)
    damaged = known[:at] + bytes([byte]) + known[at + 1 :]
    assert differ(tmp_path, known, damaged) in set(Verdict)


def test_pixels_of_wide_images_are_hashed_frame_by_frame(tmp_path: Path) -> None:
    frames = np.stack([heart(64, 64, 0, phase, 5) for phase in range(5)])
    known, changed = Exam().enhanced(1, 1), Exam().enhanced(1, 1)
    for made in (known, changed):
        made.Rows, made.Columns, made.NumberOfFrames, made.PixelData = 64, 64, 5, frames.tobytes()
    assert differ(tmp_path, encoded(known), encoded(changed, ImplicitVRLittleEndian)) is Verdict.SAME
    frames[4, 63, 63] += 1
    changed.PixelData = frames.tobytes()
    assert differ(tmp_path, encoded(known), encoded(changed)) is Verdict.PIXELS


def test_a_sequence_without_an_end_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    made = image()
    del made.ImageType
    known = encoded(made)
    start = 144 + int.from_bytes(known[140:144], "little")
    one, other = (
        known[:start] + b"\x08\0\x08\0SQ\0\0" + len(value).to_bytes(4, "little") + value + known[start:]
        for value in (b"0\\0\\0 ", b"0\\0\\1 ")
    )
    assert differ(tmp_path, one, other) is Verdict.PIXELS
    assert differ(tmp_path, one, one) is Verdict.SAME
