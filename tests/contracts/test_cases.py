"""Reading the ACDC layout and its lists."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases import Case, Listed, check_cases, names_of, phases_of, read_case, read_cases, read_list
from contracts.errors import Missing, Refused, Usage
from contracts.tasks import Task


def write_patient(folder: Path, patient: str, **arrays: np.ndarray) -> None:
    (folder / "patients").mkdir(exist_ok=True)
    np.savez(folder / "patients" / f"{patient}.npz", **arrays)


def arrays(shape: tuple[int, ...] = (3, 6, 5)) -> dict[str, np.ndarray]:
    image = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    label = (image % 4).astype(np.uint8)
    return {"ed_image": image, "es_image": image + 1, "ed_label": label, "es_label": label, "ed_scale": np.uint16(9)}


def test_a_patient_is_a_stack_of_two_phases(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient007", **arrays())
    case = read_case(Task.CARDIAC, tmp_path, "patient007")
    assert case.images.shape == case.labels.shape == (2, 3, 6, 5)
    assert case.images.dtype == np.uint16
    assert case.labels.dtype == np.uint8
    assert (case.images[1] == case.images[0] + 1).all()
    assert case.frames == ("patient007_frame01", "patient007_frame02")


def test_cases_come_in_the_order_asked_for(tmp_path: Path) -> None:
    for name in ("patient001", "patient002"):
        write_patient(tmp_path, name, **arrays())
    cases = list(read_cases(Task.CARDIAC, tmp_path, ("patient002", "patient001")))
    assert [case.name for case in cases] == ["patient002", "patient001"]


def test_an_absent_patient_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        read_case(Task.CARDIAC, tmp_path, "patient001")
    assert caught.value.code == "no_case"


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no folder named patients") as caught:
        check_cases(Task.CARDIAC, tmp_path, ("patient001",))
    assert caught.value.code == "other_layout"
    write_patient(tmp_path, "patient001", **arrays())
    check_cases(Task.CARDIAC, tmp_path, ("patient001",))
    with pytest.raises(Missing, match=r"1 of 2 .* patient200\.") as caught:
        check_cases(Task.CARDIAC, tmp_path, ("patient001", "patient200"))
    assert caught.value.code == "no_case"
    with pytest.raises(Missing, match=r"10 of 10 .* patient005 and so on"):
        check_cases(Task.CARDIAC, tmp_path, tuple(f"patient{n:03d}" for n in [*range(2, 6), *range(5, 11)]))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients" / "patient001.npz").write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_case(Task.CARDIAC, tmp_path, "patient001")
    assert caught.value.code == "bad_case"


@pytest.mark.parametrize(
    "change",
    [{"es_label": np.zeros((3, 6, 4), np.uint8)}, {"ed_image": np.zeros((2, 6, 5), np.uint16)}],
    ids=["other columns", "other slices"],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    write_patient(tmp_path, "patient001", **{**arrays(), **change})
    with pytest.raises(Refused) as caught:
        read_case(Task.CARDIAC, tmp_path, "patient001")
    assert caught.value.code == "bad_case"


def test_a_file_of_other_arrays_is_refused(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001", image=np.zeros(3))
    with pytest.raises(Refused):
        read_case(Task.CARDIAC, tmp_path, "patient001")


def test_all_three_forms_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "some.list"
    path.write_text("010\npatient011\n\npatient012_frame02\npatient012_frame02_slice_3\npatient010\n", "utf-8")
    entries = read_list(Task.CARDIAC, path)
    assert entries == (Listed("patient010", None), Listed("patient011", None), Listed("patient012", 1))
    assert names_of(entries) == ("patient010", "patient011", "patient012")
    empty = np.zeros((2, 1, 1, 1), np.uint8)
    assert phases_of(entries, Case("patient010", empty, empty, ("ed", "es"))) == (0, 1)
    assert phases_of(entries, Case("patient012", empty, empty, ("ed", "es"))) == (1,)


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["unix", "windows"])
def test_lists_of_any_editor(before: bytes, end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "some.list"
    path.write_bytes(before + end.join([b"# the worst of them", b"010", b"", b"  patient011  ", b"010"]))
    assert read_list(Task.CARDIAC, path) == (Listed("patient010", None), Listed("patient011", None))


@given(numbers=st.lists(st.integers(1, 100), min_size=1, unique=True))
def test_short_and_long_names_mean_the_same(numbers: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "short").write_text("\n".join(f"{n:03d}" for n in numbers), "utf-8")
    (folder / "long").write_text("\n".join(f"patient{n:03d}" for n in numbers), "utf-8")
    assert read_list(Task.CARDIAC, folder / "short") == read_list(Task.CARDIAC, folder / "long")


@pytest.mark.parametrize("text", ["", "\n \n", "# none\n", "patient_x\n", "patient010_frame03\n", "../patient010\n"])
def test_bad_lists_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.list"
    path.write_text(text, "utf-8")
    with pytest.raises(Refused) as caught:
        read_list(Task.CARDIAC, path)
    assert caught.value.code == "bad_list"


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.list").write_bytes(b"\x80\x03patient010")
    with pytest.raises(Refused, match="UTF-8"):
        read_list(Task.CARDIAC, tmp_path / "bad.list")


def test_an_absent_list_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        read_list(Task.CARDIAC, tmp_path / "none")


def test_a_task_without_a_layout_is_said(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="gland"):
        read_case(Task.GLAND, tmp_path, "train_1")
    with pytest.raises(Usage, match="gland"):
        read_list(Task.GLAND, tmp_path / "none")
    with pytest.raises(Usage, match="gland"):
        check_cases(Task.GLAND, tmp_path, ("train_1",))
