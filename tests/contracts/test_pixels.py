"""Pixels come out as they went in: every codec, sign, depth and modality transformation, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from contracts.errors import Refused
from contracts.pixels import codestream_size, read_frames
from tests.builders import Exam, compress, set_pixels, write

CODECS = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "jpeg 2000": JPEG2000Lossless,
    "jpeg lossless": JPEGLosslessSV1,
}
ROWS, COLUMNS = 37, 42


def pattern(dtype: str, stored: int) -> NDArray[np.generic]:
    """Pixels over the whole range of the stored bits, both ends included."""
    low, high = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if dtype.startswith("int") else (0, 2**stored - 1)
    values = np.random.default_rng(5).integers(low, high, (ROWS, COLUMNS), endpoint=True)
    values[0, :2] = low, high
    return values.astype(dtype)


def image(pixels: NDArray[np.generic], stored: int | None = None, **attributes: Any) -> FileDataset:
    """A classic image of these pixels."""
    exam = Exam()
    made = exam.image(exam.next_series(), 1, (0, 0, 0), pixels)
    set_pixels(made, pixels, stored)
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def read(path: Path, frame: int = 1) -> NDArray[np.float32]:
    """One decoded frame."""
    (pixels,) = read_frames(path, [frame], (ROWS, COLUMNS))
    return pixels


def refusal(path: Path) -> Refused:
    """Why a file is refused."""
    with pytest.raises(Refused) as caught:
        read(path)
    return caught.value


def saved(made: FileDataset, folder: Path) -> Path:
    """The file of an image."""
    return write([made], folder)[made.SOPInstanceUID]


@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint8", 8), ("uint16", 12), ("uint16", 16), ("int16", 12), ("int16", 16)]
)
@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_gives_the_pixels_back(tmp_path: Path, codec: str, dtype: str, stored: int) -> None:
    pixels = pattern(dtype, stored)
    path = compress(image(pixels, stored), CODECS[codec], tmp_path)
    np.testing.assert_array_equal(read(path), pixels.astype(np.float32))


@pytest.mark.parametrize("codec", CODECS)
def test_each_codec_gives_single_frames_back(tmp_path: Path, codec: str) -> None:
    made = Exam().enhanced(2, 3, rows=ROWS, columns=COLUMNS)
    expected = made.pixel_array.astype(np.float32)
    path = compress(made, CODECS[codec], tmp_path)
    got = list(read_frames(path, [5, 1, 3], (ROWS, COLUMNS)))
    np.testing.assert_array_equal(got, expected[[4, 0, 2]])


def test_bits_above_the_stored_ones_are_no_pixels(tmp_path: Path) -> None:
    """Old scanners keep overlays there; of a signed value they are the sign."""
    plain = pattern("uint16", 12)
    path = saved(image(plain | np.uint16(0x5000), 12), tmp_path)  # type: ignore[operator]
    np.testing.assert_array_equal(read(path), plain.astype(np.float32))
    signed = pattern("int16", 12)
    path = saved(image((signed.view(np.uint16) & 0x0FFF).view(np.int16), 12), tmp_path)
    np.testing.assert_array_equal(read(path), signed.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(slope=st.floats(0.001, 1000), intercept=st.floats(-5000, 5000))
def test_slope_and_intercept_are_applied(
    tmp_path_factory: pytest.TempPathFactory, slope: float, intercept: float
) -> None:
    pixels = pattern("uint16", 12)
    made = image(pixels, RescaleSlope=f"{slope:.8g}", RescaleIntercept=f"{intercept:.8g}")
    path = saved(made, tmp_path_factory.mktemp("slope"))
    expected = pixels.astype(np.float64) * float(made.RescaleSlope) + float(made.RescaleIntercept)
    np.testing.assert_allclose(read(path), expected, rtol=1e-6, atol=1e-3)


def test_each_frame_may_have_its_own_slope(tmp_path: Path) -> None:
    made = Exam().enhanced(1, 2, rows=ROWS, columns=COLUMNS, slope=2.0)
    groups = made.PerFrameFunctionalGroupsSequence[1]
    groups.PixelValueTransformationSequence = made.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    groups.PixelValueTransformationSequence[0].RescaleSlope = 3.0
    del made.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    expected = made.pixel_array.astype(np.float32)
    path = saved(made, tmp_path)
    np.testing.assert_array_equal(read(path, 1), expected[0])
    np.testing.assert_array_equal(read(path, 2), 3 * expected[1])


@pytest.mark.parametrize("slope", ["0", "1e300"])
def test_a_slope_that_leaves_nothing_is_refused(tmp_path: Path, slope: str) -> None:
    path = saved(image(pattern("uint16", 12), RescaleSlope=slope, RescaleIntercept="0"), tmp_path)
    assert refusal(path).code == "bad_rescale"


@pytest.mark.parametrize(("dtype", "stored"), [("uint16", 12), ("int16", 16), ("uint8", 8)])
def test_inverted_images_are_turned_round_within_their_range(tmp_path: Path, dtype: str, stored: int) -> None:
    pixels = pattern(dtype, stored)
    path = saved(image(pixels, stored, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    sum_of_both = -1 if dtype == "int16" else 2**stored - 1
    np.testing.assert_array_equal(read(path), sum_of_both - pixels.astype(np.float32))


def test_8_bit_jpeg_is_decoded_nearly(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(ROWS) * 3, np.arange(COLUMNS) * 4).astype(np.uint8)
    np.testing.assert_allclose(read(saved(in_jpeg(smooth, tmp_path), tmp_path)), smooth, atol=6)


def in_jpeg(pixels: NDArray[np.uint8], folder: Path, syntax: UID = JPEGBaseline8Bit) -> FileDataset:
    """An image whose pixels are baseline JPEG."""
    Image.fromarray(pixels).save(folder / "x.jpg", quality=95)
    made = image(pixels)
    made.PixelData = encapsulate([(folder / "x.jpg").read_bytes()])
    made["PixelData"].is_undefined_length = True
    made.file_meta.TransferSyntaxUID = syntax
    return made


def test_12_bit_lossy_jpeg_is_refused_with_what_to_send(tmp_path: Path) -> None:
    made = in_jpeg(np.zeros((ROWS, COLUMNS), np.uint8), tmp_path, JPEGExtended12Bit)
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
    refused = refusal(saved(made, tmp_path))
    assert refused.code == "lossy_12_bit"
    assert "losslessly" in refused.sentence


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.95", "1.2.3.4.5"])
def test_an_unknown_transfer_syntax_is_refused_by_name(tmp_path: Path, syntax: str) -> None:
    made = in_jpeg(np.zeros((ROWS, COLUMNS), np.uint8), tmp_path, UID(syntax))
    refused = refusal(saved(made, tmp_path))
    assert refused.code == "transfer_syntax"


def test_a_retired_layout_of_bits_is_refused(tmp_path: Path) -> None:
    assert refusal(saved(image(pattern("uint16", 12), 12, HighBit=15), tmp_path)).code == "unusual_bits"


def cut_codestream(content: bytes) -> bytes:
    """Content whose compressed bytes are overwritten."""
    start = content.rindex(b"\xfe\xff\x00\xe0") + 40
    return content[:start] + b"\x07" * (len(content) - start - 8) + content[-8:]


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("BitsStored", "US", [12, 12]),
        ("BitsStored", "LO", "twelve"),
        ("HighBit", "US", [11, 11]),
        ("RescaleSlope", "LO", "steep"),
        ("RescaleIntercept", "DS", ["1", "2"]),
    ],
)
def test_a_value_that_is_no_number_is_refused(tmp_path: Path, keyword: str, vr: str, value: object) -> None:
    made = image(pattern("uint16", 12), 12, RescaleSlope="2")
    made.add_new(keyword, vr, value)
    error = refusal(saved(made, tmp_path))
    assert error.code in ("bad_header", "undecodable_pixels")
    assert "send" in error.sentence


@pytest.mark.parametrize("codec", ["rle", "jpeg-ls", "jpeg 2000", "jpeg lossless"])
def test_a_broken_codestream_is_refused(tmp_path: Path, codec: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A decoder may also take the damage for pixels, as there is nothing to check them by; it must not crash."""
    path = compress(image(pattern("uint16", 12), 12), CODECS[codec], tmp_path)
    path.write_bytes(cut_codestream(path.read_bytes()))
    try:
        assert read(path).shape == (ROWS, COLUMNS)
    except Refused as refused:
        codes = refused.code
    else:
        codes = "other_size"
    assert codes in {"undecodable_pixels", "other_size"}


@pytest.mark.parametrize("codec", ["jpeg-ls", "jpeg 2000", "jpeg lossless"])
def test_a_codestream_names_its_own_size(tmp_path: Path, codec: str) -> None:
    made = image(pattern("uint16", 12), 12)
    path = compress(made, CODECS[codec], tmp_path)
    content = path.read_bytes()
    assert codestream_size(content[content.rindex(b"\xfe\xff\x00\xe0") + 8 :]) == (ROWS, COLUMNS)
    assert codestream_size(b"") is None
    assert codestream_size(b"\xff\xd8\xff\xe0\x00\x04ab") is None


@pytest.mark.parametrize("codec", ["jpeg-ls", "jpeg 2000", "jpeg lossless"])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path, codec: str) -> None:
    path = compress(image(pattern("uint16", 12), 12), CODECS[codec], tmp_path)
    rows = path.read_bytes()
    tag = b"\x28\x00\x10\x00US\x02\x00"
    path.write_bytes(rows.replace(tag + bytes([ROWS, 0]), tag + bytes([ROWS + 1, 0])))
    with pytest.raises(Refused, match=f"compressed image has {ROWS} x {COLUMNS}") as caught:
        next(read_frames(path, [1], (ROWS + 1, COLUMNS)))
    assert caught.value.code == "other_size"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda made: made.pop("PixelData"), "no_pixel_data"),
        (lambda made: setattr(made, "Rows", 60000), "pixel_data_short"),
        (lambda made: setattr(made, "Columns", 60000), "pixel_data_short"),
        (lambda made: made.update({"Rows": 60000, "Columns": 60000}), "too_large"),
        (lambda made: setattr(made, "BitsAllocated", 20), "pixel_data_short"),
    ],
)
def test_what_the_header_rules_out_is_never_decoded(
    tmp_path: Path, change: Callable[[FileDataset], object], code: str
) -> None:
    made = image(pattern("uint16", 12), 12)
    change(made)
    assert refusal(saved(made, tmp_path)).code == code


def test_pixels_of_another_size_than_the_stack_are_refused(tmp_path: Path) -> None:
    path = saved(image(pattern("uint16", 12), 12), tmp_path)
    with pytest.raises(Refused, match="37 x 42"):
        list(read_frames(path, [1], (42, 37)))
