"""MetaImage files as challenges hand them out: every way to store a volume gives the same volume."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases.metaimage import read_metaimage
from contracts.errors import Missing, Refused

HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = {compressed}
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -98.2 -60.1 0.5
AnatomicalOrientation = RAI
ElementSpacing = 0.625 0.5 3.6
DimSize = {columns} {rows} {slices}
{more}ElementType = {kind}
ElementDataFile = {data}
"""
KINDS = {
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def write(
    path: Path,
    volume: np.ndarray,
    kind: str = "MET_SHORT",
    msb: bool = False,
    compressed: bool = False,
    local: bool = False,
    skipped: int | None = None,
) -> Path:
    """Write a volume [slice, row, column]; ``skipped`` bytes of rubbish stand before the pixels, -1: some."""
    pixels = volume.astype(np.dtype(KINDS[kind]).newbyteorder(">" if msb else "<")).tobytes()
    pixels = zlib.compress(pixels) if compressed else pixels
    if skipped is not None:
        pixels = b"?" * (7 if skipped < 0 else skipped) + pixels
    slices, rows, columns = volume.shape
    data = "LOCAL" if local else f"{path.stem}.raw"
    more = "" if skipped is None else f"HeaderSize = {skipped}\n"
    header = HEADER.format(
        msb=msb, compressed=compressed, columns=columns, rows=rows, slices=slices, kind=kind, data=data, more=more
    ).encode()
    path.write_bytes(header + (pixels if local else b""))
    if not local:
        path.with_name(data).write_bytes(pixels)
    return path


VOLUME = np.random.default_rng(0).integers(0, 200, (3, 4, 5))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("msb", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_every_way_to_store_it_gives_the_same_volume(
    kind: str, msb: bool, compressed: bool, local: bool, tmp_path: Path
) -> None:
    volume, spacing = read_metaimage(write(tmp_path / "Case00.mhd", VOLUME, kind, msb, compressed, local))
    assert volume.dtype == np.dtype(KINDS[kind])
    assert volume.dtype.isnative
    np.testing.assert_array_equal(volume, VOLUME)
    assert spacing == (3.6, 0.5, 0.625)


@pytest.mark.parametrize("skipped", [0, 12, -1])
def test_what_stands_before_the_pixels_is_skipped(skipped: int, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_metaimage(write(tmp_path / "a.mhd", VOLUME, skipped=skipped))[0], VOLUME)


@given(shape=st.tuples(*[st.integers(1, 6)] * 3))
def test_axes_are_slice_row_column(shape: tuple[int, int, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    volume = np.arange(np.prod(shape)).reshape(shape)
    read, _ = read_metaimage(write(tmp_path_factory.mktemp("meta") / "a.mhd", volume))
    np.testing.assert_array_equal(read, volume)


def test_an_absent_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        read_metaimage(tmp_path / "a.mhd")
    write(tmp_path / "a.mhd", VOLUME)
    (tmp_path / "a.raw").unlink()
    with pytest.raises(Missing, match=r"a\.raw"):
        read_metaimage(tmp_path / "a.mhd")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("DimSize = 5 4 3", "DimSize = 5 4 4"),
        ("DimSize = 5 4 3", "DimSize = 5 4 0"),
        ("DimSize = 5 4 3", "DimSize = five"),
        ("DimSize = 5 4 3", "DimSize = 90000 90000 90000"),
        ("ElementSpacing = 0.625 0.5 3.6", "ElementSpacing = 0.625 0.5"),
        ("MET_SHORT", "MET_OTHER"),
        ("CompressedData = False", "CompressedData = True"),
        ("BinaryData = True", "ElementNumberOfChannels = 3"),
        ("= a.raw", "= ../a.raw"),
        ("= a.raw", "= /etc/hostname"),
        ("= a.raw", "= LIST"),
        ("ElementDataFile", "DataFile"),
    ],
)
def test_what_cannot_be_right_is_refused(old: str, new: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd", VOLUME)
    text = path.read_text("ascii")
    assert old in text
    path.write_text(text.replace(old, new), "ascii")
    with pytest.raises(Refused) as caught:
        read_metaimage(path)
    assert caught.value.code == "bad_case"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00binary\n", b"no header at all\n"])
def test_what_is_no_metaimage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_bytes(content)
    with pytest.raises(Refused):
        read_metaimage(tmp_path / "a.mhd")


def test_a_compressed_file_cannot_grow_without_bounds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mhd", VOLUME, compressed=True)
    path.with_suffix(".raw").write_bytes(zlib.compress(bytes(50_000_000)))
    with pytest.raises(Refused):
        read_metaimage(path)
