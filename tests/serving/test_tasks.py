"""Prostate and skin through the steps: from received instances to results, figures and pictures."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from sqlalchemy import select

from contracts.model_contract import draft_contract
from contracts.prepare import prepare_for
from contracts.tasks import Task
from serving.index.models import Result, StackVersion
from serving.pipeline.progress import Board
from serving.pipeline.steps import Steps
from serving.pipeline.tiles import tile_png
from tests.builders import Exam, set_pixels
from tests.photographs import DarkSpots, photograph, skin, spot
from tests.serving.parts import Parts

CELLS = 256


class Engines:
    """Two stand-in networks: dark cells are a lesion, bright ones a prostate."""

    def has_model(self, task: Task) -> bool:
        """Both tasks have one."""
        return task in (Task.PROSTATE, Task.SKIN)

    def serving(self, task: Task) -> "Engines":
        """Return what answers for a task."""
        self.contract = draft_contract(task, prepare_for(task, input_side=CELLS, output_side=CELLS), version=1)
        return self

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Answer one batch."""
        if self.contract.task is Task.SKIN:
            return DarkSpots(CELLS)(batch)
        return (batch[:, 0] > 0.5).astype(np.uint8)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A gateway's parts on a folder."""
    made = Parts(tmp_path)
    yield made
    made.close()


def answer(parts: Parts, images: list[FileDataset]) -> list[StackVersion]:
    """Receive images and run every stack that a rule wants; return the stacks."""
    parts.receive(images)
    parts.settle()
    engines: Any = Engines()
    steps = Steps(parts.db, parts.archive, parts.intake, engines, parts.rules, parts.settings, Board())
    for stack in parts.stacks():
        for name in ("read", "predict", "write", "offer") if stack.task else ():
            if steps.run(name, stack.id):
                break
    return parts.stacks()


def segs(parts: Parts, stack: StackVersion) -> list[Dataset]:
    """The SEGs of a stack, in order of phase."""
    with parts.db.read() as session:
        rows = session.scalars(
            select(Result).where(Result.stack_version_id == stack.id, Result.kind == "seg").order_by(Result.phase)
        )
        return [dcmread(parts.archive.path(row.key)) for row in rows]


def figures(parts: Parts, stack: StackVersion) -> dict[str, Any]:
    """What ``measurements.json`` says."""
    path = parts.settings.home / "results" / str(stack.id) / "measurements.json"
    found: dict[str, Any] = json.loads(path.read_text())
    assert stack.findings["measurements"] == found
    return found


@pytest.mark.parametrize(("spacing", "name", "each"), [(None, "pixels", 1.0), ([0.02, 0.03], "mm2", 0.0006)])
def test_photographs_are_answered_one_by_one(parts: Parts, spacing: list[float] | None, name: str, each: float) -> None:
    exam, where = Exam("skin"), [spot(60, 81, (0.4, 0.2 + 0.3 * number)) for number in range(3)]
    stated = {"PixelSpacing": spacing} if spacing else {}
    series = exam.next_series()
    shots = [photograph(skin(one), "photographic", exam, **stated) for one in where]
    for shot in shots:
        shot.SeriesInstanceUID, shot.SeriesNumber = series
    stacks = answer(parts, shots)
    assert [(stack.task, stack.state, stack.series_uids) for stack in stacks] == [("skin", "done", [series[0]])] * 3
    for stack, shot, truth in zip(stacks, shots, where, strict=True):
        (seg,) = segs(parts, stack)
        assert np.array_equal(seg.pixel_array == 1, truth)
        assert seg.SourceImageSequence[0].ReferencedSOPInstanceUID == shot.SOPInstanceUID
        assert figures(parts, stack) == {f"lesion_area_{name}": pytest.approx(each * truth.sum(), abs=0.006)}
    assert len({seg.SeriesInstanceUID for stack in stacks for seg in segs(parts, stack)}) == 3


def test_a_later_photograph_of_the_series_leaves_the_answers_that_are_there(parts: Parts) -> None:
    exam = Exam("skin")
    shots = [photograph(skin(spot(40, 40)), "dermoscopic", exam) for _ in range(2)]
    shots[1].SeriesInstanceUID = shots[0].SeriesInstanceUID
    (first,) = answer(parts, shots[:1])
    again, second = answer(parts, shots)
    assert (again.id, again.version, second.version) == (first.id, 1, 1)
    assert again.changed_at == first.changed_at


def test_frames_are_measured_and_written_one_by_one(parts: Parts) -> None:
    where = [spot(40, 51, (0.4, 0.3 + 0.2 * number)) for number in range(3)]
    (stack,) = answer(parts, [photograph(np.stack([skin(one) for one in where]), "frames")])
    assert stack.state == "done"
    assert figures(parts, stack) == {f"lesion_area_pixels_{n}": one.sum() for n, one in enumerate(where, start=1)}
    for seg, truth in zip(segs(parts, stack), where, strict=True):
        assert np.array_equal(seg.pixel_array == 1, truth)


def test_a_lesion_that_reaches_the_border_is_not_held(parts: Parts) -> None:
    where = np.zeros((40, 50), dtype=bool)
    where[:30, 10:] = True
    (stack,) = answer(parts, [photograph(skin(where))])
    assert (stack.state, stack.code) == ("done", "")


def test_a_photograph_without_a_lesion_waits_for_a_person(parts: Parts) -> None:
    (stack,) = answer(parts, [photograph(skin(np.zeros((40, 50), dtype=bool)))])
    assert (stack.state, stack.code) == ("held", "nothing_found")
    assert segs(parts, stack) == []


@pytest.mark.parametrize(("shown", "lines"), [(None, True), (frozenset[int](), False)])
def test_the_page_shows_a_photograph_in_its_colours_with_the_outline(
    parts: Parts, shown: frozenset[int] | None, lines: bool
) -> None:
    (stack,) = answer(parts, [photograph(skin(spot(40, 60)))])
    with parts.db.read() as session:
        png = tile_png(session, parts.archive, parts.settings.home, stack.id, 0, 0, shown)
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert pixels.shape[1] == 512
    assert np.abs(pixels[40, 60] - skin(spot(40, 60))[4, 7]).max() < 6
    assert bool((pixels == (230, 159, 0)).all(axis=-1).any()) is lines


def test_pictures_of_a_photograph_are_kept(parts: Parts) -> None:
    (stack,) = answer(parts, [photograph(skin(spot(40, 60)))])
    for name in ("overlay.png", "thumbnail.png"):
        picture = np.asarray(Image.open(parts.settings.home / "results" / str(stack.id) / name).convert("RGB"))
        assert (picture == (230, 159, 0)).all(axis=-1).sum() > 20, "the outline"
        assert np.ptp(picture.astype(int), axis=-1).max() > 60, "colours"


def pelvis(slices: int = 12) -> tuple[list[FileDataset], NDArray[np.bool_]]:
    """T2 images with a bright gland, and where it is."""
    images = Exam("pelvis").prostate(slices=slices)
    truth = np.zeros((slices, 200, 220), dtype=bool)
    truth[2:-2] = spot(200, 220, (0.5, 0.5), 0.1)
    for image, where in zip(images, truth, strict=True):
        set_pixels(image, np.where(where, 900, 50).astype(np.uint16))
        image.PixelSpacing = [0.7, 0.7]
    return images, truth


def test_a_prostate_is_answered_with_its_volume(parts: Parts) -> None:
    images, truth = pelvis()
    (stack,) = answer(parts, images[::-1])
    assert (stack.task, stack.state) == ("prostate", "done")
    expected = truth.sum() * 0.7 * 0.7 * 3.0 / 1000
    assert figures(parts, stack) == {"prostate_volume_ml": pytest.approx(expected, rel=0.02)}
    (seg,) = segs(parts, stack)
    assert seg.SegmentSequence[0].SegmentLabel == "Prostate"
    assert stack.findings["lv_by_phase"] == []


def test_localizers_and_other_series_of_the_exam_are_left_alone(parts: Parts) -> None:
    images, _ = pelvis()
    exam = Exam("pelvis")
    exam.instance_count, exam.series_count = 900, 90
    others = [*exam.localizer(), *exam.prostate(orientation=(0, 1, 0, 0, 0, -1)), *exam.haste()]
    stacks = answer(parts, [*images, *others])
    assert [stack.state for stack in stacks] == ["done"] + ["not_processed"] * 5
    assert all(stack.reason for stack in stacks[1:])


def test_a_gland_at_the_border_of_the_images_is_held(parts: Parts) -> None:
    images, _ = pelvis()
    for image in images:
        pixels = np.zeros((100, 100), np.uint16)
        pixels[40:60, 60:] = 900
        set_pixels(image, pixels)
    (stack,) = answer(parts, images)
    assert (stack.state, stack.code) == ("held", "at_the_border")
