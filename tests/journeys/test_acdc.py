"""ACDC hearts written as DICOM, through the gateway: the masks of the evaluation, and voxels, never millilitres."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.cases import read_case
from contracts.tasks import Task
from tests.builders import Exam
from tests.conftest import ROOT
from tests.journeys.acdc import as_dicom, figures, validation
from tests.journeys.masks import grid_of, masks_of
from tests.journeys.running import RunningGateway, storescu


def answered(running: RunningGateway, exam: Exam, paths: list[Path]) -> tuple[np.ndarray, dict]:
    """Return labels [phase, slice, row, column] of a study that was sent, and its stack."""
    assert storescu(running.dicom_port, [paths[0].parent])
    study = running.settled(exam.study_uid)
    (stack,) = study["stacks"]
    return masks_of(running, study, stack, grid_of(paths)), stack


def test_a_patient_of_the_data_set_is_answered_right_and_measured_in_voxels(gateway, data, tmp_path):
    case = read_case(Task.CARDIAC, data("acdc"), validation(data("acdc"))[0])
    folder = tmp_path / "images"
    folder.mkdir()
    exam, paths = as_dicom(case, folder)
    labels, stack = answered(gateway().start(), exam, paths)
    assert np.mean(figures(labels, case)) >= 0.80
    assert "edv_voxels" in stack["measurements"]
    assert not any(name.endswith(("_ml", "_g")) for name in stack["measurements"])


def evaluated(folder: Path) -> dict:
    """What ``python -m training evaluate`` says of the shipped model on the validation patients."""
    listed = ["--data", str(folder), "--list", str(folder / "lists" / "val_patients.txt")]
    command = [sys.executable, "-m", "training", "evaluate", "--task", "cardiac", "--model", "cardiac", *listed]
    return json.loads(subprocess.run([*command, "--json"], cwd=ROOT, check=True, capture_output=True).stdout)


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_the_validation_patients_reach_the_same_figure_through_the_gateway(gateway, data, tmp_path):
    """The mean agrees with the evaluation to 0.002, and no volume is off by more than a hundredth."""
    expected = evaluated(data("acdc"))
    dices = {case["id"]: list(case["dice"].values()) for case in expected["cases"]}
    running = gateway().start()
    found = {}
    for name in validation(data("acdc")):
        case = read_case(Task.CARDIAC, data("acdc"), name)
        folder = tmp_path / name
        folder.mkdir()
        exam, paths = as_dicom(case, folder)
        each = figures(answered(running, exam, paths)[0], case)
        found |= {frame: each[3 * phase : 3 * phase + 3] for phase, frame in enumerate(case.frames)}
    mean = float(np.mean(list(found.values())))
    print(f"validation patients: {expected['mean_dice']:.4f} by evaluate, {mean:.4f} through the gateway")
    assert found.keys() == dices.keys()
    assert abs(mean - expected["mean_dice"]) <= 0.002
    assert min(mean, expected["mean_dice"]) >= 0.88
    assert max(abs(np.mean(found[frame]) - np.mean(dices[frame])) for frame in found) <= 0.01
