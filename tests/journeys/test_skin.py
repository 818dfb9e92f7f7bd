"""Real photographs of skin as DICOM of every class: the masks are those of the pictures, to the pixel."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileDataset

from contracts.model_repository import read_model, serving_version
from contracts.scores import dice
from contracts.segment import segment
from contracts.tasks import Task
from serving.engines.onnxruntime import OnnxRuntimeEngine
from tests.builders import Exam, write
from tests.journeys.running import RunningGateway, retrieve, send
from tests.photographs import native, photograph
from tests.stand_ins import models_for, shipped

LEAST = 0.70
"""Mean Dice of the shipped student on the real photographs; on the validation images it has 0.82 and more."""

SAME = 0.98
"""A picture that was compressed is decoded a little otherwise by every program, so outlines differ a little."""


@dataclass(frozen=True)
class Served:
    """A gateway that serves the task, and its model, to be asked directly."""

    running: RunningGateway
    engine: OnnxRuntimeEngine

    def directly(self, pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The mask [row, column] that the model gives a picture [row, column, 3] without any DICOM."""
        found = segment(pixels[None, None], self.engine.contract, self.engine.run).labels
        return np.asarray(found[0, 0] == 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """One gateway for all of these journeys."""
    folder = tmp_path_factory.mktemp("skin")
    models = models_for(Task.SKIN, folder)
    running = RunningGateway(folder / "home", model_repository=models).start()
    version = serving_version(models, Task.SKIN.value)
    yield Served(running, OnnxRuntimeEngine(read_model(models, Task.SKIN.value, version)))
    running.stop()


def pixels_of(path: Path) -> NDArray[np.uint8]:
    """A picture file as [row, column, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))


def wrapped(path: Path, kind: str, exam: Exam) -> FileDataset:
    """A camera's file in a DICOM object, not compressed anew."""
    return photograph(pixels_of(path), kind, exam, jpeg=path.read_bytes())


def by_planes(path: Path, kind: str, exam: Exam) -> FileDataset:
    """A picture as uncompressed YBR_FULL by colour planes."""
    made = photograph(pixels_of(path), kind, exam)
    native(made, pixels_of(path), "YBR_FULL", planar=1)
    return made


def plain(path: Path, kind: str, exam: Exam) -> FileDataset:
    """A picture as uncompressed RGB, with a pixel spacing."""
    return photograph(pixels_of(path), kind, exam, PixelSpacing=[0.02, 0.02])


FORMS = {
    "ISIC_0010459": (wrapped, "dermoscopic"),
    "ISIC_0012434": (plain, "dermoscopic"),
    "ISIC_0013491": (by_planes, "photographic"),
    "ISIC_0013793": (wrapped, "photographic"),
    "ISIC_0014608": (wrapped, "capture"),
    "ISIC_0014610": (plain, "capture"),
}
"""How each real photograph is stored."""


def released(running: RunningGateway, study_uid: str) -> dict:
    """The study, after a person let go what was held: of doubtful masks, too, every pixel must be in its place."""
    for stack in running.study(study_uid)["stacks"]:
        if stack["state"] == "held":
            print(f"held: {stack['reason']}")
            httpx.post(f"{running.url}/api/stacks/{stack['id']}/release", json={"reason": "a test"}, timeout=30)
    return running.settled(study_uid, states=["done"])


def seg_of(served: Served, study: dict, stack: dict) -> Dataset:
    """The one SEG of a stack."""
    (result,) = stack["results"]
    return pydicom.dcmread(io.BytesIO(retrieve(served.running, study["study_uid"], result)))


def masks_by_source(served: Served, study: dict) -> Mapping[str, tuple[Dataset, dict]]:
    """SEG and stack by the SOP Instance UID of the photograph that the SEG names."""
    found = {}
    for stack in study["stacks"]:
        assert (stack["task"], stack["state"]) == ("skin", "done"), stack["reason"]
        seg = seg_of(served, study, stack)
        found[str(seg.SourceImageSequence[0].ReferencedSOPInstanceUID)] = (seg, stack)
    return found


def test_real_photographs_are_answered_to_the_pixel(served, data, tmp_path):
    folder, exam = data("skin"), Exam("real photographs")
    files = tmp_path / "files"
    files.mkdir()
    images = {name: form(folder / "images" / f"{name}.jpg", kind, exam) for name, (form, kind) in FORMS.items()}
    write(images.values(), files)
    out = tmp_path / "out"
    code, document = send(served.running, str(files), "--wait", "--out", str(out))
    assert code == 0, document
    for number, stack in enumerate(document["studies"][0]["stacks"], start=1):
        saved = sorted(path.name for path in (out / exam.study_uid / f"skin-{number}").iterdir())
        assert saved == ["measurements.json", "overlay.png", *(["seg-1.dcm"] if stack["results"] else [])]
    found = masks_by_source(served, released(served.running, exam.study_uid))
    assert found.keys() == {image.SOPInstanceUID for image in images.values()}
    scores = {}
    for name, image in images.items():
        seg, stack = found[image.SOPInstanceUID]
        assert (seg.Rows, seg.Columns, seg.NumberOfFrames) == (image.Rows, image.Columns, 1)
        mask = seg.pixel_array == 1
        assert dice(mask, served.directly(pixels_of(folder / "images" / f"{name}.jpg"))) >= SAME, name
        measured = {"lesion_area_mm2": mask.sum() * 0.0004} if "PixelSpacing" in image else {}
        assert stack["measurements"] == pytest.approx(measured or {"lesion_area_pixels": mask.sum()}, abs=0.01)
        truth = np.asarray(Image.open(folder / "masks" / f"{name}.png").convert("L")) > 127
        scores[name] = dice(mask, truth)
    print(
        "Dice:", {name: round(score, 3) for name, score in scores.items()}, f"mean {np.mean(list(scores.values())):.3f}"
    )
    if shipped(Task.SKIN):
        assert np.mean(list(scores.values())) >= LEAST


def test_an_uncompressed_photograph_is_answered_exactly_as_its_pixels_are(served, data, tmp_path):
    path, exam = data("skin") / "images" / "ISIC_0012434.jpg", Exam("exactly")
    made = photograph(pixels_of(path)[:701, 13:1400], "dermoscopic", exam)
    write([made], tmp_path)
    code, document = send(served.running, str(tmp_path), "--wait")
    assert code == 0, document
    ((seg, _),) = masks_by_source(served, released(served.running, exam.study_uid)).values()
    expected = served.directly(pixels_of(path)[:701, 13:1400])
    assert expected.any()
    assert np.array_equal(seg.pixel_array == 1, expected)


def test_photographs_come_by_c_store_too(served, data, tmp_path):
    """Of another set, as cameras' files in the class for dermoscopy; JPEG goes over the wire as it is."""
    folder, exam = data("other") / "skin_ham10000", Exam("by C-STORE")
    paths = sorted((folder / "images").iterdir())[:2]
    images = {path.stem: wrapped(path, "dermoscopic", exam) for path in paths}
    write(images.values(), tmp_path)
    address = f"SEGLOOP@127.0.0.1:{served.running.dicom_port}"
    arguments = ["--to", address, "--api", f"{served.running.url}/dicom-web", "--wait"]
    code, document = send(served.running, str(tmp_path), *arguments)
    assert code == 0, document
    found = masks_by_source(served, released(served.running, exam.study_uid))
    for name, image in images.items():
        seg, _ = found[image.SOPInstanceUID]
        mask = seg.pixel_array == 1
        assert dice(mask, served.directly(pixels_of(folder / "images" / f"{name}.jpg"))) >= SAME
        truth = np.asarray(Image.open(folder / "masks" / f"{name}.png").convert("L")) > 127
        print(f"{name}: Dice {dice(mask, truth):.3f}")


def test_what_is_no_photograph_of_the_skin_says_why(served, tmp_path):
    exam, blank = Exam("others"), np.full((40, 50, 3), 180, np.uint8)
    images = [
        photograph(blank, "capture", exam, BodyPartExamined=None),
        photograph(blank, "photographic", exam, BodyPartExamined="EYE"),
        photograph(blank, "dermoscopic", exam, PhotometricInterpretation="PALETTE COLOR", SamplesPerPixel=1),
        photograph(blank, "dermoscopic", exam),
    ]
    write(images, tmp_path)
    code, document = send(served.running, str(tmp_path), "--wait")
    assert code == 4, document
    stacks = {stack["series_uids"][0]: stack for stack in served.running.study(exam.study_uid)["stacks"]}
    told = [stacks[image.SeriesInstanceUID] for image in images]
    assert [stack["state"] for stack in told[:3]] == ["not_processed", "not_processed", "refused"]
    assert told[2]["code"] == "palette_colours"
    assert all(json.dumps(stack["reason"]) != '""' for stack in told[:3])
    if not shipped(Task.SKIN):
        assert (told[3]["state"], told[3]["code"]) == ("held", "nothing_found")
