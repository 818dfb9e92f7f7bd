"""Bad input from file to pixels: each is right, or refused with a reason, and never blocks another stack.

The parts are tested with their modules; here a whole study goes all the way, as the gateway takes it.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset

from contracts.dicom import quiet, read_header
from contracts.errors import Refused
from contracts.stacks import describe, stacks_of
from contracts.volumes import arrange, load
from tests.builders import Exam, set_pixels, write

Images = list[FileDataset]


class Outcome:
    """What became of a study: volumes and refusals by stack, refusals of single files."""

    def __init__(self, images: Iterable[FileDataset], folder: Path, cut: dict[str, float] | None = None) -> None:
        self.files = write(images, folder)
        self.volumes: list[NDArray[np.float32]] = []
        self.refused: list[Refused] = []
        self.not_read: list[Refused] = []
        self.warnings: list[str] = []
        for uid, share in (cut or {}).items():
            content = self.files[uid].read_bytes()
            self.files[uid].write_bytes(content[: int(share * len(content))])
        instances = []
        for path in self.files.values():
            try:
                instances.append(describe(read_header(path)))
            except Refused as error:
                self.not_read.append(error)
        for stack in stacks_of(instances):
            self._take(stack)

    def _take(self, stack: Any) -> None:
        try:
            grid = arrange(stack, accept_per_instance_frame_of_reference=False)
            self.volumes.append(load(grid, self.files.__getitem__))
            self.warnings += grid.warnings
        except Refused as error:
            self.refused.append(error)

    @property
    def codes(self) -> set[str]:
        """Codes of all refusals."""
        return {error.code for error in (*self.refused, *self.not_read)}


def changed(images: Images, index: int, **values: Any) -> Images:
    """Images of which one is changed."""
    with quiet():
        for keyword, value in values.items():
            setattr(images[index], keyword, value)
    return images


def without(images: Images, index: int, keyword: str) -> Images:
    """Images of which one lacks an attribute."""
    del images[index][keyword]
    return images


def recoloured(images: Images, index: int) -> Images:
    """Images of which one is in colour."""
    set_pixels(images[index], np.zeros((20, 24, 3), np.uint8))
    return images


def in_floats(images: Images) -> Images:
    """Images of floating-point pixels."""
    for image in images:
        image.FloatPixelData = image.pixel_array.astype(np.float32).tobytes()
        del image.PixelData
        image.BitsAllocated = 32
    return images


def two_frames_of_reference(images: Images) -> Images:
    """Images of one series in two frames of reference."""
    for image in images[: len(images) // 2]:
        image.FrameOfReferenceUID = "2.25.4711"
    return images


def displaced(images: Images) -> Images:
    """Images of which one slice of three lies 5 mm aside."""
    for image in images[3:6]:
        row = np.array(image.ImageOrientationPatient[:3])
        image.ImagePositionPatient = [float(v) for v in np.array(image.ImagePositionPatient) + 5 * row]
    return images


def claimed(images: Images, rows: int, columns: int) -> Images:
    """Images whose headers claim another size."""
    for image in images:
        image.Rows, image.Columns = rows, columns
    return images


REFUSED: dict[str, tuple[Callable[[Images], Images], str, str]] = {
    "no pixel data": (lambda i: without(i, 4, "PixelData"), "no_pixel_data", "complete images"),
    "two frames of reference": (two_frames_of_reference, "frame_of_reference_split", "series of its own"),
    "a displaced slice": (displaced, "displaced_slice", "Slice 2 of 5"),
    "a missing phase": (lambda i: i[:7] + i[8:], "unequal_phases", "slice 3 has 2"),
    "no way to tell phases": (
        lambda i: [changed([image], 0, TriggerTime=5, CardiacNumberOfImages=None)[0] for image in i],
        "duplicate_positions",
        "TriggerTime",
    ),
    "float pixels": (in_floats, "float_pixels", "integer images"),
    "a colour image": (lambda i: recoloured(i, 7), "colour_pixels", "originals"),
    "60 000 x 60 000": (lambda i: claimed(i, 60000, 60000), "too_large", "60000 x 60000"),
    "a row too many": (lambda i: claimed(i, 21, 24), "pixel_data_short", "complete image"),
    "no position": (lambda i: without(i, 2, "ImagePositionPatient"), "no_geometry", "ImagePositionPatient"),
    "a bent orientation": (
        lambda i: changed(i, 2, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        "no_geometry",
        "ImageOrientationPatient",
    ),
    "unreadable numbers": (lambda i: changed(i, 2, PixelSpacing=[0, 0]), "no_geometry", "PixelSpacing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_stacks_are_refused_with_a_reason_and_block_no_other(tmp_path: Path, case: str) -> None:
    spoil, code, words = REFUSED[case]
    exam = Exam()
    bad, sound = (
        spoil(exam.short_axis(slices=5, phases=3)),
        exam.short_axis(slices=5, phases=3, origin=(300.0, 0.0, 0.0)),
    )
    outcome = Outcome([*bad, *sound], tmp_path)
    assert code in outcome.codes
    assert any(words in error.sentence for error in outcome.refused)
    assert [volume.shape for volume in outcome.volumes] == [(3, 5, 20, 24)]
    for error in outcome.refused:
        assert error.sentence.endswith((".", ")", "senseless."))
        assert "Phantom" not in error.sentence
        assert "ID-exam" not in error.sentence


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_cut_file_is_refused_and_its_stack_says_what_is_missing(tmp_path: Path, share: float) -> None:
    exam = Exam()
    images = exam.short_axis(slices=5, phases=3)
    outcome = Outcome(images, tmp_path, cut={images[7].SOPInstanceUID: share})
    assert not outcome.volumes
    assert len(outcome.not_read) + len(outcome.refused) >= 1
    assert outcome.codes & {"unequal_phases", "no_pixel_data"}


def test_a_file_that_is_no_dicom_blocks_nothing(tmp_path: Path) -> None:
    images = Exam().short_axis(slices=5, phases=3)
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(Refused):
        read_header(tmp_path / "readme.txt")
    assert [v.shape for v in Outcome(images, tmp_path).volumes] == [(3, 5, 20, 24)]


@pytest.mark.parametrize("gone", [range(6, 9), range(3, 9)])
def test_missing_slices_are_warned_of_and_the_rest_is_segmented(tmp_path: Path, gone: range) -> None:
    images = [image for index, image in enumerate(Exam().short_axis(slices=6, phases=3)) if index not in gone]
    outcome = Outcome(images, tmp_path)
    assert [volume.shape[:2] for volume in outcome.volumes] == [(3, 6 - len(gone) // 3)]
    assert "no volumes" in outcome.warnings[0]


def test_a_localizer_in_the_series_leaves_the_cine_right(tmp_path: Path) -> None:
    exam = Exam()
    cine = exam.short_axis(slices=5, phases=3)
    alone = Outcome(cine, tmp_path).volumes[0]
    mixed = Outcome([*exam.localizer(series=(cine[0].SeriesInstanceUID, 1)), *cine], tmp_path)
    assert not mixed.refused
    (found,) = [volume for volume in mixed.volumes if volume.shape[0] == 3]
    np.testing.assert_array_equal(found, alone)


def test_another_matrix_in_the_series_is_a_stack_of_its_own(tmp_path: Path) -> None:
    exam = Exam()
    images = exam.short_axis(slices=5, phases=3)
    for image in images[12:]:
        set_pixels(image, np.zeros((40, 48), np.uint16))
    shapes = {volume.shape for volume in Outcome(images, tmp_path).volumes}
    assert shapes == {(3, 4, 20, 24), (3, 1, 40, 48)}


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "PatientName", "StudyID"])
def test_path_characters_in_texts_reach_no_path(tmp_path: Path, keyword: str) -> None:
    images = Exam().short_axis(slices=2, phases=2)
    for image in images:
        setattr(image, keyword, "../../../tmp/x")
    assert len(Outcome(images, tmp_path).volumes) == 1
