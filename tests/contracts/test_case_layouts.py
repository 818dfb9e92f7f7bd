"""The layouts of prostate and skin data: what is written in them is read from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contracts.cases import Listed, check_cases, names_of, phases_of, read_case, read_cases, read_list
from contracts.errors import Missing, Refused
from contracts.tasks import Task
from tests.contracts.test_metaimage import write

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 255, (4, 6, 7)).astype(np.uint8)
LABEL = RANDOM.integers(0, 2, (4, 6, 7)).astype(np.uint8)
PHOTOGRAPH = RANDOM.integers(0, 255, (5, 8, 3)).astype(np.uint8)
LESION = RANDOM.integers(0, 2, (5, 8)).astype(np.uint8)


def archive(folder: Path, name: str, **changes: np.ndarray) -> Path:
    """One patient of the prostate layout."""
    (folder / "patients").mkdir(exist_ok=True)
    path = folder / "patients" / f"{name}.npz"
    arrays = {"image": IMAGE, "label": LABEL, "spacing": np.array([3.6, 0.6, 0.5], np.float32), **changes}
    np.savez(path, **arrays)
    return path


def photograph(folder: Path, name: str, pixels: np.ndarray = PHOTOGRAPH, mask: np.ndarray = LESION * 255) -> None:
    """One image of the ISIC layout."""
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{name}.png")


def test_a_prostate_is_one_volume_with_its_spacing(tmp_path: Path) -> None:
    archive(tmp_path, "RUNMC_Case07")
    case = read_case(Task.PROSTATE, tmp_path, "RUNMC_Case07")
    np.testing.assert_array_equal(case.images[0], IMAGE)
    np.testing.assert_array_equal(case.labels[0], LABEL)
    assert (case.name, case.frames) == ("RUNMC_Case07", ("RUNMC_Case07",))
    assert case.spacing_mm == (3.6, 0.6, 0.5)
    assert case.pixel_mm == (0.6, 0.5)


@pytest.mark.parametrize("below", ["", "TrainingData_Part1"])
def test_promise12_is_found_in_its_folder_or_its_parts(below: str, tmp_path: Path) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    write(tmp_path / below / "Case03.mhd", IMAGE)
    write(tmp_path / below / "Case03_segmentation.mhd", LABEL, "MET_UCHAR")
    check_cases(Task.PROSTATE, tmp_path, ("Case03",))
    case = read_case(Task.PROSTATE, tmp_path, "Case03")
    np.testing.assert_array_equal(case.images[0], IMAGE)
    np.testing.assert_array_equal(case.labels[0], LABEL)
    assert (case.frames, case.spacing_mm) == (("Case03",), (3.6, 0.5, 0.625))
    with pytest.raises(Missing, match=r"1 of 2 .* Case04"):
        check_cases(Task.PROSTATE, tmp_path, ("Case03", "Case04"))
    with pytest.raises(Missing):
        read_case(Task.PROSTATE, tmp_path, "Case04")


def test_a_photograph_is_one_phase_of_one_slice_in_its_own_pixels(tmp_path: Path) -> None:
    photograph(tmp_path, "ISIC_0000016")
    case = read_case(Task.SKIN, tmp_path, "ISIC_0000016")
    np.testing.assert_array_equal(case.images, PHOTOGRAPH[None, None])
    np.testing.assert_array_equal(case.labels, LESION[None, None])
    assert (case.labels.dtype, case.frames, case.pixel_mm) == (np.uint8, ("ISIC_0000016",), None)


def test_pictures_of_other_colours_become_red_green_and_blue(tmp_path: Path) -> None:
    grey = PHOTOGRAPH[..., 0]
    photograph(tmp_path, "grey", grey)
    photograph(tmp_path, "alpha", np.dstack([PHOTOGRAPH, np.full((5, 8), 9, np.uint8)]))
    assert (read_case(Task.SKIN, tmp_path, "grey").images == grey[None, None, ..., None]).all()
    np.testing.assert_array_equal(read_case(Task.SKIN, tmp_path, "alpha").images, PHOTOGRAPH[None, None])


def test_a_mask_that_was_compressed_or_smoothed_is_cut_at_the_middle(tmp_path: Path) -> None:
    photograph(tmp_path, "a", mask=np.array([[0, 40, 127, 128, 200, 255, 0, 0]] * 5))
    assert read_case(Task.SKIN, tmp_path, "a").labels[0, 0, 2].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"label": LABEL[:3]},
        {"image": IMAGE[0], "label": LABEL[0]},
        {"spacing": np.array([0.5, 0.5])},
        {"spacing": np.array([0.0, 0.5, 0.5])},
        {"spacing": np.array([np.nan, 0.5, 0.5])},
        {"image": np.zeros((0, 4, 4)), "label": np.zeros((0, 4, 4))},
    ],
)
def test_a_prostate_that_does_not_fit_together_is_refused(changes: dict[str, np.ndarray], tmp_path: Path) -> None:
    archive(tmp_path, "a", **changes)
    with pytest.raises(Refused) as caught:
        read_case(Task.PROSTATE, tmp_path, "a")
    assert caught.value.code == "bad_case"


def test_a_photograph_that_does_not_fit_its_mask_is_refused(tmp_path: Path) -> None:
    photograph(tmp_path, "a", mask=np.zeros((8, 5)))
    with pytest.raises(Refused, match="differ in size"):
        read_case(Task.SKIN, tmp_path, "a")


@pytest.mark.parametrize("content", [b"", b"GIF89a nothing", b"\x89PNG\r\n\x1a\n torn"])
@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_picture_that_cannot_be_read_is_refused(content: bytes, part: str, tmp_path: Path) -> None:
    photograph(tmp_path, "a")
    (tmp_path / part / "a.png").write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_case(Task.SKIN, tmp_path, "a")
    assert caught.value.code == "bad_case"


def test_a_photograph_without_its_mask_is_missing(tmp_path: Path) -> None:
    photograph(tmp_path, "a")
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(Missing, match=r"masks.a\.png"):
        read_case(Task.SKIN, tmp_path, "a")


@pytest.mark.parametrize(
    ("task", "words"),
    [(Task.SKIN, "images and masks"), (Task.PROSTATE, "patients"), (Task.PROSTATE, "MetaImage")],
)
def test_a_folder_of_something_else_is_said_before_anything_is_read(task: Task, words: str, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=words) as caught:
        check_cases(task, tmp_path, ("a",))
    assert caught.value.code == "other_layout"


@pytest.mark.parametrize(
    ("task", "lines", "names"),
    [
        (Task.PROSTATE, ["RUNMC_Case00", "# two of them", "Case07.npz", "RUNMC_Case00"], ["RUNMC_Case00", "Case07"]),
        (Task.PROSTATE, ["Case01", "Case02.mhd", "Case02_segmentation.mhd"], ["Case01", "Case02"]),
        (Task.SKIN, ["ISIC_0000016", "0000046", "ISIC_0000071.jpg"], ["ISIC_0000016", "ISIC_0000046", "ISIC_0000071"]),
        (Task.SKIN, ["ISIC_0000016_segmentation.png"], ["ISIC_0000016"]),
    ],
)
def test_lists_take_the_names_of_the_layout(task: Task, lines: list[str], names: list[str], tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("\n".join(lines), "utf-8")
    entries = read_list(task, tmp_path / "some.txt")
    assert entries == tuple(Listed(name) for name in names)


@pytest.mark.parametrize("task", [Task.PROSTATE, Task.SKIN])
@pytest.mark.parametrize("line", ["../a", "a/b", "a b", "a.exe", "/etc/passwd"])
def test_a_list_cannot_lead_out_of_the_folder(task: Task, line: str, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text(line, "utf-8")
    with pytest.raises(Refused) as caught:
        read_list(task, tmp_path / "bad.txt")
    assert caught.value.code == "bad_list"


@pytest.mark.parametrize(
    ("task", "name", "counts"),
    [
        (Task.PROSTATE, "prostate", {"train": 22, "val": 6, "labelled_1": 1, "labelled_4": 4, "train_minus_gate": 18}),
        (Task.SKIN, "isic", {"train": 1506, "val": 215, "labelled_3pct": 44, "labelled_10pct": 151}),
    ],
)
def test_the_real_data_can_be_read(task: Task, name: str, counts: dict[str, int], data: Callable[[str], Path]) -> None:
    folder = data(name)
    lists = {part: names_of(read_list(task, folder / "lists" / f"{part}.txt")) for part in counts}
    assert {part: len(names) for part, names in lists.items()} == counts
    assert not set(lists["train"]) & set(lists["val"])
    for names in lists.values():
        check_cases(task, folder, names)
    entries = read_list(task, folder / "lists" / "val.txt")
    for case in read_cases(task, folder, lists["val"][:3]):
        assert case.images.shape[:4] == case.labels.shape
        assert phases_of(entries, case) == (0,)
        assert 0 < case.labels.mean() < 0.9
        assert set(np.unique(case.labels)) == {0, 1}
