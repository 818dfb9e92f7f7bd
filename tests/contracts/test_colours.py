"""A photograph has the same red, green and blue however it is stored; where that is not certain it is refused."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from contracts.colours import has_component_transform, jpeg_space, read_photographs
from contracts.errors import Refused
from tests.builders import Exam, compress, write
from tests.photographs import Pixels, as_jpeg, native, photograph, skin, spot, wrap

ODD = skin(spot(37, 51))
EVEN = skin(spot(38, 52))
ROUNDING = 2
"""Colours change by so much on the way to YCbCr and back in 8 bits."""


def read(path: Path, pixels: Pixels, frames: tuple[int, ...] = (1,)) -> list[Pixels]:
    """The frames of a file, checked for shape and type."""
    found = list(read_photographs(path, frames, pixels.shape[-3:-1]))
    assert all(frame.dtype == np.uint8 and frame.shape == pixels.shape[-3:] for frame in found)
    return found


def off(found: Pixels, pixels: NDArray[np.generic]) -> int:
    """The largest difference of a colour."""
    return int(np.abs(found.astype(int) - pixels.astype(int)).max())


def store(made: FileDataset, folder: Path) -> Path:
    """Write one object."""
    return write([made], folder)[made.SOPInstanceUID]


@pytest.mark.parametrize("pixels", [ODD, EVEN], ids=["odd", "even"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("space", "most"), [("RGB", 0), ("YBR_FULL", ROUNDING)])
def test_uncompressed(tmp_path: Path, pixels: Pixels, planar: int, space: str, most: int) -> None:
    made = photograph(pixels)
    native(made, pixels, space, planar)
    assert off(read(store(made, tmp_path), pixels)[0], pixels) <= most


def test_uncompressed_with_halved_colours(tmp_path: Path) -> None:
    made = photograph(EVEN)
    native(made, EVEN, "YBR_FULL_422")
    (found,) = read(store(made, tmp_path), EVEN)
    assert off(found[:, ::2], EVEN[:, ::2]) <= ROUNDING


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_uncompressed_syntaxes(tmp_path: Path, syntax: str) -> None:
    assert off(read(compress(photograph(ODD), syntax, tmp_path), ODD)[0], ODD) == 0


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_keeps_every_colour(tmp_path: Path, syntax: str) -> None:
    assert off(read(compress(photograph(ODD), syntax, tmp_path), ODD)[0], ODD) == 0


def test_run_lengths_keep_every_colour(tmp_path: Path) -> None:
    made = photograph(ODD)  # GDCM's encoder ends the process at odd sizes
    made.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    assert off(read(store(made, tmp_path), ODD)[0], ODD) == 0


@pytest.mark.parametrize(("option", "most"), [("+e1", 0), ("+eb", 60)])
def test_what_dcmtk_compresses_is_read(tmp_path: Path, program: Callable[[str], str], option: str, most: int) -> None:
    path, packed = store(photograph(ODD, "photographic"), tmp_path), tmp_path / "packed.dcm"
    subprocess.run([program("dcmcjpeg"), option, str(path), str(packed)], check=True, timeout=60)
    assert off(read(packed, ODD)[0], ODD) <= most


def test_a_transform_of_jpeg_2000_is_undone(tmp_path: Path) -> None:
    made = photograph(ODD, PhotometricInterpretation="YBR_RCT")
    path = compress(made, JPEG2000Lossless, tmp_path)
    assert off(read(path, ODD)[0], ODD) == 0


def without_jfif(jpeg: bytes, instead: bytes = b"") -> bytes:
    """Take the first segment of a JPEG file away."""
    assert jpeg[2:4] == b"\xff\xe0"
    return jpeg[:2] + instead + jpeg[4 + int.from_bytes(jpeg[4:6]) :]


def adobe(transform: int) -> bytes:
    """The segment in which Adobe's programs name the colour space."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


def in_rgb(pixels: Pixels) -> bytes:
    """A JPEG file that holds red, green and blue themselves, and says so twice."""
    return as_jpeg(pixels, keep_rgb=True, subsampling=0)


PLAIN = as_jpeg(ODD, subsampling=0)
SURE = {
    "as cameras write it": as_jpeg(ODD),
    "colours of every pixel": PLAIN,
    "progressive": as_jpeg(ODD, progressive=True),
    "Adobe, YCbCr": without_jfif(PLAIN, adobe(1)),
    "Adobe, RGB": in_rgb(ODD),
}
"""JPEG files that say in which colour space they are."""


@pytest.mark.parametrize("space", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize("name", SURE)
def test_a_jpeg_file_is_what_it_says_whatever_the_header_says(tmp_path: Path, name: str, space: str) -> None:
    truth = np.asarray(Image.open(io.BytesIO(SURE[name])).convert("RGB"))
    made = photograph(ODD)
    wrap(made, SURE[name], space)
    (found,) = read(store(made, tmp_path), ODD)
    assert off(found, truth) <= ROUNDING
    assert np.abs(truth.astype(int) - ODD).mean() < 4, "the picture is still that of the test"


def test_where_a_jpeg_file_says_nothing_the_header_does(tmp_path: Path) -> None:
    for number, (jpeg, space) in enumerate(((without_jfif(PLAIN), "YBR_FULL_422"), (bare_rgb(), "RGB"))):
        assert jpeg_space(jpeg) == ""
        made = photograph(ODD)
        wrap(made, jpeg, space)
        folder = tmp_path / str(number)
        folder.mkdir()
        assert np.abs(read(store(made, folder), ODD)[0].astype(int) - ODD).mean() < 4


def bare_rgb() -> bytes:
    """A JPEG file of red, green and blue that says so nowhere: no Adobe, its components called 1, 2 and 3."""
    jpeg = in_rgb(ODD)
    jpeg = jpeg[:2] + jpeg[4 + int.from_bytes(jpeg[4:6]) :]
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    renamed = bytearray(jpeg)
    for number in range(3):
        assert renamed[frame + 10 + 3 * number] == b"RGB"[number]
        renamed[frame + 10 + 3 * number] = renamed[scan + 5 + 2 * number] = number + 1
    return bytes(renamed)


def test_frames_come_in_the_order_asked_for(tmp_path: Path) -> None:
    frames = np.stack([skin(spot(37, 51, centre=(0.3, 0.3 + 0.1 * step))) for step in range(3)])
    found = read(store(photograph(frames, "frames"), tmp_path), frames, (3, 1, 2))
    assert all(np.array_equal(one, frames[number]) for one, number in zip(found, (2, 0, 1), strict=True))


def to_ybr(made: FileDataset) -> None:
    made.PhotometricInterpretation = "YBR_FULL"


def to_rct(made: FileDataset) -> None:
    made.PhotometricInterpretation = "YBR_RCT"


@pytest.mark.parametrize(
    ("before", "after"),
    [(to_rct, to_ybr), (lambda made: None, to_rct)],
    ids=["transformed, header YBR_FULL", "not transformed, header YBR_RCT"],
)
def test_a_jpeg_2000_file_that_contradicts_its_header_is_refused(
    tmp_path: Path, before: Callable[[FileDataset], None], after: Callable[[FileDataset], None]
) -> None:
    made = photograph(ODD)
    before(made)
    made.compress(JPEG2000Lossless, generate_instance_uid=False)
    after(made)
    with pytest.raises(Refused) as caught:
        read(store(made, tmp_path), ODD)
    assert caught.value.code == "colours_contradict"


def test_a_colour_space_of_jpeg_2000_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not") as caught:
        read(store(photograph(ODD, PhotometricInterpretation="YBR_ICT"), tmp_path), ODD)
    assert caught.value.code == "colours_contradict"


def test_what_is_no_photograph_has_no_colours(tmp_path: Path) -> None:
    image = Exam().short_axis(1, 1)[0]
    with pytest.raises(Refused) as caught:
        list(read_photographs(store(image, tmp_path), [1], (20, 24)))
    assert caught.value.code == "no_colours"


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_a_broken_jpeg_file_is_refused_or_read_never_worse(tmp_path: Path, cut: int) -> None:
    made = photograph(ODD)
    wrap(made, SURE["as cameras write it"][:cut] + b"\0", "RGB")
    with pytest.raises(Refused) as caught:
        read(store(made, tmp_path), ODD)
    assert caught.value.code in ("undecodable_pixels", "other_size")


def test_a_picture_of_another_size_than_its_header_is_refused(tmp_path: Path) -> None:
    made = photograph(EVEN)
    wrap(made, SURE["as cameras write it"], "YBR_FULL_422")
    with pytest.raises(Refused) as caught:
        read(store(made, tmp_path), EVEN)
    assert caught.value.code == "other_size"


def test_short_codestreams_say_nothing() -> None:
    assert [jpeg_space(b""), jpeg_space(b"\xff\xd8\xff\xee\x00\x04Ad")] == ["", ""]
    assert not has_component_transform(b"\xff\x4f\xff\x52")
