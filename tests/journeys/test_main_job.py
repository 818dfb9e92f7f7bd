"""The main job with the demo's own cine: in by C-STORE and STOW, out as DICOM SEG at the right place."""

import json
import random
import shutil
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
from highdicom.sr import srread

from client.samples.cardiac import Sample, write_cardiac
from contracts.scores import dice
from contracts.tasks import LABELS, Task
from tests.interop.reports import in_json, in_report
from tests.journeys.masks import grid_of, masks_of
from tests.journeys.running import RunningGateway, retrieve, send, storescu


def masks(running: RunningGateway, study: dict, sample: Sample) -> np.ndarray:
    """Return labels [phase, slice, row, column] of a study's one stack."""
    (stack,) = study["stacks"]
    return masks_of(running, study, stack, grid_of(sample.paths))


def test_a_cine_sent_by_the_client_is_answered_right(gateway, sample, tmp_path):
    running = gateway().start()
    out = tmp_path / "out"
    code, document = send(running, str(sample.paths[0].parent), "--wait", "--out", str(out))
    assert code == 0, document
    (study,) = document["studies"]
    (stack,) = study["stacks"]
    assert (study["state"], stack["task"], len(stack["results"])) == ("done", "cardiac", 5)
    folder = out / study["study_uid"] / "cardiac-1"
    assert sorted(path.name for path in folder.iterdir()) == [
        "measurements.json",
        "overlay.png",
        *(f"seg-{phase}.dcm" for phase in range(1, 5)),
        "sr.dcm",
    ]
    figures = json.loads((folder / "measurements.json").read_text())
    assert figures["implausible"] == []
    report = srread(folder / "sr.dcm")
    assert in_report(report) == in_json(figures)
    (found,) = httpx.get(
        f"{running.url}/dicom-web/studies/{study['study_uid']}/instances", params={"Modality": "SR"}, timeout=30
    ).json()
    assert found["00080018"]["Value"] == [report.SOPInstanceUID]
    labels = masks(running, running.study(study["study_uid"]), sample)
    for label in LABELS[Task.CARDIAC]:
        assert dice(labels == label.value, sample.truth == label.value) >= 0.80, label.name


def test_storescu_and_then_stow_store_once_and_answer_once(gateway, sample):
    running = gateway().start()
    assert storescu(running.dicom_port, sample.paths)
    first = running.settled(sample.study_uid)
    code, _ = send(running, str(sample.paths[0].parent), "--wait")
    assert code == 0
    second = running.settled(sample.study_uid)
    assert second["received"] == first["received"] == len(sample.paths)
    assert [stack["version"] for stack in second["stacks"]] == [1]
    assert second["stacks"][0]["results"] == first["stacks"][0]["results"]
    assert [entry["event"] for entry in second["stacks"][0]["history"]].count("read") == 1


def test_our_own_results_that_come_back_run_nothing(gateway, sample, tmp_path):
    running = gateway().start()
    assert storescu(running.dicom_port, sample.paths)
    before = running.settled(sample.study_uid)
    returned = tmp_path / "returned"
    returned.mkdir()
    for result in before["stacks"][0]["results"]:
        (returned / f"{result['kind']}-{result['phase']}.dcm").write_bytes(retrieve(running, sample.study_uid, result))
    assert storescu(running.dicom_port, [returned])
    running.complete(sample.study_uid)
    after = running.settled(sample.study_uid)
    assert after["stacks"] == before["stacks"]
    assert after["received"] == before["received"]


def test_one_series_a_position_in_any_order_gives_the_same_masks(gateway, sample, tmp_path):
    split = write_cardiac(tmp_path / "split", slices=8, phases=4, split_series=True)
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    names = list(range(len(split.paths)))
    random.Random(1).shuffle(names)
    for name, path in zip(names, split.paths, strict=True):
        shutil.copy(path, shuffled / f"{name:03d}.dcm")
    running = gateway().start()
    assert storescu(running.dicom_port, sample.paths)
    whole = running.settled(sample.study_uid)
    assert storescu(running.dicom_port, [shuffled])
    parts = running.settled(split.study_uid)
    assert len(parts["stacks"][0]["series_uids"]) == 8
    assert np.array_equal(masks(running, whole, sample), masks(running, parts, split))
    seg = pydicom.dcmread(running.home.parent / f"{parts['stacks'][0]['results'][0]['sop_uid']}.dcm")
    named = {series.SeriesInstanceUID for series in seg.ReferencedSeriesSequence}
    assert named == set(parts["stacks"][0]["series_uids"])


def test_a_late_slice_opens_a_new_version_that_refers_to_the_old(gateway, sample):
    running = gateway().start()
    late = [path for path in sample.paths if grid_of(sample.paths).positions[-1] == grid_of([path]).positions[0]]
    first = [path for path in sample.paths if path not in late]
    assert storescu(running.dicom_port, first)
    old = running.settled(sample.study_uid)["stacks"][0]
    assert storescu(running.dicom_port, late)
    new = running.settled(sample.study_uid, version=2)["stacks"][0]
    assert {result["sop_uid"] for result in old["results"]}.isdisjoint(result["sop_uid"] for result in new["results"])
    newest = new["results"][0]
    path = running.home.parent / "new.dcm"
    path.write_bytes(retrieve(running, sample.study_uid, newest))
    text = str(pydicom.dcmread(path, stop_before_pixels=True))
    assert old["results"][0]["sop_uid"] in text
    path.write_bytes(retrieve(running, sample.study_uid, new["results"][-1]))
    (replaced,) = (
        pydicom.dcmread(path).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    )
    assert replaced.ReferencedSOPInstanceUID == old["results"][-1]["sop_uid"]


def test_twelve_stacks_of_one_study_are_twelve_entries(gateway, sample, tmp_path):
    folder = exam(tmp_path / "exam", sample)
    running = gateway().start()
    assert storescu(running.dicom_port, [folder])
    study = running.settled(sample.study_uid)
    states = sorted(stack["state"] for stack in study["stacks"])
    assert states == ["done"] + ["not_processed"] * 10 + ["refused"]
    assert all(stack["reason"] for stack in study["stacks"] if stack["state"] != "done")
    assert [entry["series_uid"] for entry in study["ignored"]] == ["1.2.826.0.1.3680043.10.1"]


def exam(folder: Path, sample: Sample) -> Path:
    """Write a study of a good cine, ten series no rule wants, a cine that must be refused, and one without images."""
    folder.mkdir()
    first = pydicom.dcmread(sample.paths[0])
    for path in sample.paths:
        shutil.copy(path, folder / path.name)
        broken = pydicom.dcmread(path)
        broken.SeriesInstanceUID = "1.2.826.0.1.3680043.10.2"
        broken.SOPInstanceUID = broken.file_meta.MediaStorageSOPInstanceUID = f"{broken.SOPInstanceUID}.1"
        # Two frames of reference within one geometry: nobody can say which planes belong together.
        half = "1" if int(broken.InstanceNumber) % 2 else "2"
        broken.FrameOfReferenceUID = f"1.2.826.0.1.3680043.10.3.{half}"
        broken.save_as(folder / f"broken-{path.name}")
    for number in range(10):
        first.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.4.{number}"
        first.SOPInstanceUID = first.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.5.{number}"
        first.EchoTime = 20 + number
        first.save_as(folder / f"single-{number}.dcm")
    note = pydicom.dcmread(sample.paths[0])
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(note, name)
    note.SOPClassUID = note.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    note.Modality = "SR"
    note.SeriesInstanceUID = "1.2.826.0.1.3680043.10.1"
    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.1.1"
    note.save_as(folder / "note.dcm")
    return folder


@pytest.fixture
def noise(tmp_path, sample) -> Path:
    """A cine of the sample's geometry without anything in it."""
    folder = tmp_path / "noise"
    folder.mkdir()
    random_ = np.random.default_rng(0)
    for path in sample.paths:
        image = pydicom.dcmread(path)
        image.PixelData = random_.integers(0, 30, (image.Rows, image.Columns)).astype(np.uint16).tobytes()
        image.save_as(folder / path.name)
    return folder


def test_where_no_heart_is_found_a_person_decides(gateway, sample, noise):
    running = gateway().start()
    assert storescu(running.dicom_port, [noise])
    (stack,) = running.settled(sample.study_uid)["stacks"]
    assert (stack["state"], stack["results"]) == ("held", [])
    assert stack["reason"]
    dismissed = httpx.post(f"{running.url}/api/stacks/{stack['id']}/dismiss", json={"reason": "a phantom"}, timeout=30)
    assert dismissed.status_code == 200
    (stack,) = running.settled(sample.study_uid, states=["dismissed"])["stacks"]
    assert stack["reason"] == "a phantom"
