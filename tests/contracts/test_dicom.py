"""Reading headers: what is whole is read without its pixels, what is not is told apart and never breaks the reader."""

import os
import threading
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from contracts.dicom import PixelElement, check_identity, pixel_element, quiet, read_dataset, read_header
from contracts.errors import Refused
from tests.builders import Exam, compress, set_pixels, write


def one(folder: Path, **attributes: Any) -> tuple[FileDataset, Path]:
    """A classic image and its file."""
    exam = Exam()
    image = exam.image(exam.next_series(), 1, (0, 0, 0), np.arange(480, dtype=np.uint16).reshape(20, 24), **attributes)
    return image, write([image], folder)[image.SOPInstanceUID]


def outcome_of(path: Path) -> str:
    """The code with which a file is refused, else whether it has pixels."""
    try:
        header = read_header(path)
    except Refused as refused:
        return refused.code
    return "pixels" if pixel_element(header) else "no pixels"


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.1"])
def test_a_header_is_read_without_its_pixels(tmp_path: Path, syntax: str) -> None:
    image, _ = one(tmp_path)
    header = read_header(compress(image, syntax, tmp_path))
    assert header.SOPInstanceUID == image.SOPInstanceUID
    assert header.ImagePositionPatient == [0, 0, 0]
    assert "PixelData" not in header
    known = pixel_element(header)
    assert known is not None
    assert (known.keyword, known.length) == ("PixelData", 960)
    assert read_dataset(tmp_path / "00001.dcm").PixelData == image.PixelData


def test_fragments_of_compressed_pixels_are_counted(tmp_path: Path) -> None:
    exam = Exam()
    cine = exam.enhanced(slices=2, phases=3)
    header = read_header(compress(cine, RLELossless, tmp_path))
    known = pixel_element(header)
    assert known is not None
    assert (known.length, known.fragments) == (None, 6)


def test_pixels_of_a_whole_data_set_are_known_too(tmp_path: Path) -> None:
    image, _ = one(tmp_path)
    assert pixel_element(image) == PixelElement("PixelData", 960)
    del image.PixelData
    assert pixel_element(image) is None


def test_memory_does_not_grow_with_the_pixels(tmp_path: Path) -> None:
    """A sparse file that claims a gigabyte of pixels is read in the memory of its header."""
    _, path = one(tmp_path)
    content = path.read_bytes()
    at = content.rindex(b"\xe0\x7f\x10\x00OW")
    huge = tmp_path / "huge.dcm"
    with huge.open("wb") as file:
        file.write(content[: at + 8] + (2**30).to_bytes(4, "little"))
        file.truncate(at + 12 + 2**30)
    assert os.stat(huge).st_size > 2**30
    tracemalloc.start()
    known = pixel_element(read_header(huge))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert known is not None
    assert known.length == 2**30
    assert peak < 2**20


@pytest.mark.parametrize("content", [b"", b"x", b"not DICOM at all" * 50, b"\0" * 128 + b"DICM", b"\0" * 500])
def test_what_is_no_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_header(path)
    assert caught.value.code in {"not_dicom", "bad_identity"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLELossless, DeflatedExplicitVRLittleEndian])
def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path: Path, syntax: str, share: float) -> None:
    """A file that ends early is refused, but for a cut between two elements before the pixels, which shows later."""
    whole = tmp_path / f"{syntax}.bin"
    if not whole.exists():
        compress(one(tmp_path)[0], syntax, tmp_path).rename(whole)
    content = whole.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(content[: int(share * len(content))])
    outcome = outcome_of(cut)
    assert outcome in {"truncated", "not_dicom", "bad_identity", "no pixels"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_file_never_breaks_the_reader(tmp_path: Path, changes: list[tuple[float, int]]) -> None:
    path = tmp_path / "whole.bin"
    if not path.exists():
        one(tmp_path)[1].rename(path)
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[int(where * len(content))] = value
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(content)
    assert outcome_of(damaged)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["../../etc/passwd", "1.2/3", "1.2\\3", "1.2 3", "1.2\n3", ""])
def test_uids_that_could_reach_a_path_are_refused(tmp_path: Path, keyword: str, value: str) -> None:
    """The bytes are put into the file, since pydicom would not write them."""
    image, _ = one(tmp_path)
    setattr(image, keyword, "9.8.7.6.5.4.3.2.1.0")
    path = write([image], tmp_path)[image.SOPInstanceUID]
    path.write_bytes(path.read_bytes().replace(b"9.8.7.6.5.4.3.2.1.0", value.encode().ljust(19, b"\0")))
    with pytest.raises(Refused, match=keyword) as caught:
        read_header(path)
    assert caught.value.code == "bad_identity"
    assert "passwd" not in caught.value.sentence


def test_a_transfer_syntax_that_could_end_a_header_line_is_refused(tmp_path: Path) -> None:
    """It becomes part of the headers of multipart answers."""
    image, _ = one(tmp_path)
    path = write([image], tmp_path)[image.SOPInstanceUID]
    syntax = str(image.file_meta.TransferSyntaxUID).encode()
    path.write_bytes(path.read_bytes().replace(syntax, b"1\r\nX-Own: 1".ljust(len(syntax), b"2"), 1))
    with pytest.raises(Refused, match="TransferSyntaxUID"):
        read_header(path)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_a_missing_or_endless_uid_is_refused(tmp_path: Path, keyword: str) -> None:
    image, _ = one(tmp_path)
    with quiet():
        setattr(image, keyword, "1." + "2" * 70)
    with pytest.raises(Refused, match=keyword):
        check_identity(image)
    del image[keyword]
    with pytest.raises(Refused, match=f"{keyword} is missing"):
        check_identity(image)


def test_leading_zeros_in_uids_are_kept(tmp_path: Path) -> None:
    """Half the UIDs of a public data set have them; results must name their sources as they are."""
    with quiet():
        _, path = one(tmp_path, SeriesInstanceUID="2.16.124.99.0012.007")
    assert read_header(path).SeriesInstanceUID == "2.16.124.99.0012.007"


def test_impossible_values_raise_no_warnings_in_any_thread(tmp_path: Path) -> None:
    with quiet():
        _, path = one(tmp_path, StudyDate="20120000", PatientBirthDate="00000000", SeriesInstanceUID="1.02.3")
    seen: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert read_header(path).StudyDate == "20120000"
        except BaseException as error:
            seen.append(error)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not seen


def test_a_small_deflated_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    image, _ = one(tmp_path)
    set_pixels(image, np.zeros((4096, 4096), np.uint16))
    image.PixelData *= 5
    path = compress(image, DeflatedExplicitVRLittleEndian, tmp_path)
    assert path.stat().st_size < 2**20
    with pytest.raises(Refused) as caught:
        read_header(path)
    assert caught.value.code == "too_large"


def test_elements_after_the_pixels_do_no_harm(tmp_path: Path) -> None:
    image, _ = one(tmp_path, DataSetTrailingPadding=b"\0" * 64)
    assert pixel_element(read_header(write([image], tmp_path)[image.SOPInstanceUID])) is not None
