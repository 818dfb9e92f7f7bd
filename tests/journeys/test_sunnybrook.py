"""Real short-axis cines of another hospital and vendor, against the experts' contours, in patient space."""

import random
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from contracts.tasks import Task
from serving.settings import Settings
from tests.journeys.masks import grid_of, masks_at, masks_of, segs_of
from tests.journeys.running import send, storescu
from tests.journeys.sunnybrook import Experts, unpack
from tests.patient_space import planes_of

SHIPPED_RULES = Path(__file__).resolve().parents[2] / "serving" / "rules.toml"


def accepting_rules(folder: Path) -> Path:
    """Return the shipped rules with the acceptance that these files need."""
    text = SHIPPED_RULES.read_text()
    switched = text.replace(
        "accept_per_instance_frame_of_reference = false", "accept_per_instance_frame_of_reference = true"
    )
    assert switched != text
    path = folder / "rules.toml"
    path.write_text(switched)
    return path


def check(gateway, data, tmp_path, name: str, how: str) -> None:
    """Send a study and compare the SEGs, where they lie in the patient, with the contours where their images lie."""
    folder = data("sunnybrook")
    paths = unpack(folder, name, tmp_path / "source")
    running = gateway(rules=accepting_rules(tmp_path)).start()
    uid = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    if how == "storescu":
        assert storescu(running.dicom_port, [tmp_path / "source"])
    else:
        code, document = send(running, str(tmp_path / "source"), "--wait")
        assert code == 0, document
    study = running.settled(uid, seconds=240)
    (stack,) = study["stacks"]
    assert stack["state"] == "done", stack["reason"]
    assert [result["phase"] for result in segs_of(stack)] == list(range(1, 21))
    experts, grid = Experts(folder, name), grid_of(paths, accept=True)
    phases = {phase for phase, _ in experts.places(grid).values()}
    found = experts.agree(masks_at(running, study, planes_of(grid), phases), grid)
    print(f"{name} by {how}: {found}; of all slices {stack['measurements']}")
    assert min(found.cavity_ed, found.cavity_es) >= 0.90
    assert found.wall_ed >= 0.74
    assert abs(found.ejection - found.ejection_of_experts) <= 6


def test_a_real_study_is_answered_right(gateway, data, tmp_path):
    check(gateway, data, tmp_path, "SCD0000101", "storescu")


@pytest.mark.prove
@pytest.mark.parametrize("name", ["SCD0000101", "SCD0000201"])
@pytest.mark.parametrize("how", ["storescu", "stow"])
def test_every_real_study_is_answered_right_both_ways(gateway, data, tmp_path, name, how):
    check(gateway, data, tmp_path, name, how)


def test_without_the_rule_it_is_refused_with_that_very_reason(gateway, data, tmp_path):
    paths = unpack(data("sunnybrook"), "SCD0000101", tmp_path / "source")
    running = gateway().start()
    assert storescu(running.dicom_port, [tmp_path / "source"])
    uid = str(pydicom.dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    (stack,) = running.settled(uid)["stacks"]
    assert (stack["state"], stack["code"]) == ("refused", "frame_of_reference_per_instance")
    assert "accept_per_instance_frame_of_reference" in stack["reason"]


@pytest.mark.prove
def test_a_real_study_in_one_series_a_position_and_shuffled_gives_the_same_masks(gateway, data, tmp_path):
    paths = unpack(data("sunnybrook"), "SCD0000201", tmp_path / "source")
    split = tmp_path / "split"
    split.mkdir()
    names = list(range(len(paths)))
    random.Random(2).shuffle(names)
    for name, path in zip(names, paths, strict=True):
        image = pydicom.dcmread(path)
        image.SeriesInstanceUID = f"1.2.826.0.1.3680043.11.{(int(path.stem) - 1) // 20 + 1}"
        image.save_as(split / f"{name:03d}.dcm")
    answers = []
    for folder in (tmp_path / "source", split):
        running = gateway(rules=accepting_rules(tmp_path)).start()
        assert storescu(running.dicom_port, [folder])
        files = sorted(folder.rglob("*.dcm"))
        uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
        study = running.settled(uid, seconds=240)
        (stack,) = study["stacks"]
        answers.append((masks_of(running, study, stack, grid_of(files, accept=True)), len(stack["series_uids"])))
        running.stop()
        shutil.rmtree(running.home)
    assert [count for _, count in answers] == [1, 13]
    assert np.array_equal(answers[0][0], answers[1][0])


def test_settings_ship_with_the_acceptance_off():
    assert Settings().rules is None
    assert "accept_per_instance_frame_of_reference = true" not in SHIPPED_RULES.read_text()
    assert Task.CARDIAC.value in SHIPPED_RULES.read_text()
