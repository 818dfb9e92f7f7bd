"""Real T2 studies of the prostate: answered where the experts marked it, and nothing else of the exam is."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from contracts.scores import dice
from contracts.tasks import Task
from tests.journeys.masks import grid_of
from tests.journeys.running import RunningGateway, retrieve, send, storescu
from tests.patient_space import asked, mirrored_columns, mirrored_rows, planes_of, rotated, stored_anew
from tests.stand_ins import models_for, shipped

STUDY = "Prostate3T-03-0001"
LEAST = 0.84
"""Dice of the shipped student on the real study."""


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack a study; return its files, which are named anew."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if not name.endswith("/")]
        for number, name in enumerate(names):
            (folder / f"{number:04d}.dcm").write_bytes(packed.read(name))
    return sorted(folder.iterdir())


@pytest.fixture
def study(data, tmp_path) -> list[Path]:
    """The real study that the experts marked."""
    return unpack(data("prostate") / "dicom" / f"{STUDY}.zip", tmp_path / "study")


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[RunningGateway]:
    """A gateway that serves the task, for all of these journeys."""
    folder = tmp_path_factory.mktemp("prostate")
    made = RunningGateway(folder / "home", model_repository=models_for(Task.PROSTATE, folder)).start()
    yield made
    made.stop()


def altered(study: Sequence[Path], folder: Path, change: Callable[[Dataset, int], object]) -> list[Path]:
    """Write a study's images again under UIDs of their own, each after a change (image, place in the list)."""
    folder.mkdir()
    paths = []
    for number, path in enumerate(study):
        image = pydicom.dcmread(path)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(image, keyword, generate_uid(entropy_srcs=[image[keyword].value, folder.name]))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        change(image, number)
        image.save_as(folder / path.name)
        paths.append(folder / path.name)
    return paths


def experts(data, paths: Sequence[Path]) -> NDArray[np.bool_]:
    """The experts' mask [slice, row, column] on the grid of the files: each slice by the image that it names."""
    with np.load(data("prostate") / "dicom" / f"{STUDY}_label.npz") as kept:
        label, uids = kept["label"], kept["sop_instance_uid"].tolist()
    return np.stack([label[uids.index(row.sop_uid)] > 0 for row in grid_of(paths).planes[0]])


def study_uid_of(paths: Sequence[Path]) -> str:
    """The study that files belong to."""
    return str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)


def answered(running: RunningGateway, paths: Sequence[Path]) -> tuple[dict, dict]:
    """Send a study by C-STORE; return it and the stack that was segmented."""
    assert storescu(running.dicom_port, paths)
    found = running.settled(study_uid_of(paths), seconds=240)
    (stack,) = [stack for stack in found["stacks"] if stack["task"]]
    assert (stack["task"], stack["state"]) == ("prostate", "done"), stack["reason"]
    return found, stack


def seg_of(running: RunningGateway, found: dict, stack: dict) -> Dataset:
    """The one result of a stack."""
    (result,) = stack["results"]
    assert result["kind"] == "seg"
    return pydicom.dcmread(io.BytesIO(retrieve(running, found["study_uid"], result)))


def test_a_real_study_is_answered_where_the_experts_marked_it(running, study, data, tmp_path):
    found, stack = answered(running, study)
    seg = seg_of(running, found, stack)
    mask = asked(seg, planes_of(grid_of(study)), Task.PROSTATE) == 1
    truth = experts(data, study)
    volume = truth.sum() * 0.5 * 0.5 * 3 / 1000
    score = dice(mask, truth)
    print(f"{STUDY}: Dice {score:.3f}, {stack['measurements']} for {volume:.1f} ml of the experts")
    assert stack["measurements"]["prostate_volume_ml"] == pytest.approx(mask.sum() * 0.75 / 1000, abs=0.01)
    if shipped(Task.PROSTATE):
        assert score >= LEAST
        assert abs(stack["measurements"]["prostate_volume_ml"] - volume) <= 0.2 * volume


def test_the_client_saves_the_answer_in_its_form(running, study, tmp_path):
    out = tmp_path / "out"
    code, document = send(running, str(study[0].parent), "--wait", "--out", str(out))
    assert code == 0, document
    ((found,), (stack,)) = (document["studies"], document["studies"][0]["stacks"])
    assert (stack["task"], stack["state"], len(stack["results"])) == ("prostate", "done", 1)
    folder = out / found["study_uid"] / "prostate-1"
    assert sorted(path.name for path in folder.iterdir()) == ["measurements.json", "overlay.png", "seg-1.dcm"]
    assert list(json.loads((folder / "measurements.json").read_text())) == ["prostate_volume_ml"]


def test_files_in_any_order_give_the_same_mask(running, study, tmp_path):
    names = list(range(len(study)))
    random.Random(4).shuffle(names)
    masks = []
    for folder, order in ((tmp_path / "as it was", study), (tmp_path / "shuffled", [study[name] for name in names])):
        paths = altered(order, folder, lambda image, number: setattr(image, "InstanceNumber", number + 1))
        found, stack = answered(running, paths)
        masks.append(asked(seg_of(running, found, stack), planes_of(grid_of(study)), Task.PROSTATE))
    assert masks[0].any()
    assert np.array_equal(masks[0], masks[1])


STORED = {"columns mirrored": mirrored_columns, "upside down": mirrored_rows, "a quarter turned": rotated(1)}


@pytest.mark.parametrize("name", STORED)
def test_a_study_stored_another_way_is_answered_at_the_same_place_of_the_patient(running, study, data, tmp_path, name):
    """The truth lies where it lay: pixels and tags were turned round, the patient was not."""
    paths = altered(study, tmp_path / name, lambda image, number: stored_anew(image, STORED[name]))
    found, stack = answered(running, paths)
    mask = asked(seg_of(running, found, stack), planes_of(grid_of(study)), Task.PROSTATE) == 1
    score = dice(mask, experts(data, study))
    print(f"{STUDY}, {name}: Dice {score:.3f}")
    if shipped(Task.PROSTATE):
        assert score >= LEAST


def test_localizers_of_an_exam_are_left_alone_with_their_reasons(running, data, tmp_path):
    """Of three orientations in one series: three stacks, none of them fit for the task."""
    folder = tmp_path / "exam"
    paths = unpack(data("other") / "prostatex" / "ProstateX-0001.zip", folder)
    found, stack = answered(running, paths)
    assert len(seg_of(running, found, stack).SourceImageSequence) == 19
    others = [other for other in found["stacks"] if not other["task"]]
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    (localizer,) = {image.SeriesInstanceUID for image in images if image.SeriesDescription == "t2_localizer"}
    assert [other["series_uids"] for other in others] == [[localizer]] * 3
    assert {other["state"] for other in others} == {"not_processed"}
    assert all(other["reason"] for other in others)


@pytest.mark.prove
@pytest.mark.parametrize("name", ["ProstateX-0000", "ProstateX-0218"])
def test_more_real_studies_are_answered(running, data, tmp_path, name):
    folder = tmp_path / "exam"
    paths = unpack(data("other") / "prostatex" / f"{name}.zip", folder)
    _, stack = answered(running, paths)
    print(f"{name}: {stack['measurements']}")
    assert 10 < stack["measurements"]["prostate_volume_ml"] < 200


def test_a_study_that_names_no_prostate_is_left_alone(running, study, tmp_path):
    def unnamed(image: Dataset, _number: int) -> None:
        image.BodyPartExamined = "PELVIS"
        for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
            setattr(image, keyword, "t2_tse_tra")
        for keyword in ("RequestedProcedureDescription", "PerformedProcedureStepDescription"):
            image.pop(keyword, None)

    paths = altered(study, tmp_path / "unnamed", unnamed)
    assert storescu(running.dicom_port, paths)
    (stack,) = running.settled(study_uid_of(paths))["stacks"]
    assert (stack["state"], stack["code"]) == ("not_processed", "no_rule")
    assert "names the prostate" in stack["reason"]


def test_without_a_slice_its_neighbours_are_answered_and_no_volume_is_claimed(running, study, tmp_path):
    lost = grid_of(study).planes[0][9].sop_uid
    there = [path for path in study if pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID != lost]
    found, stack = answered(running, altered(there, tmp_path / "with a gap", lambda image, number: None))
    assert list(stack["measurements"]) == ["prostate_volume_voxels"]
    assert any("missing" in warning for warning in stack["warnings"])
    mask = asked(seg_of(running, found, stack), planes_of(grid_of(study)), Task.PROSTATE) == 1
    assert not mask[9].any()
    assert mask[8].any()
    assert mask[10].any()
