"""What a teacher makes of the pool: what serving would answer, kept for the run, and never the hidden labels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import Usage
from contracts.model_contract import draft_contract
from contracts.segment import segment
from training.data.pool import FILE, unlabelled_slices
from training.data.sources import Source, read_source
from training.loop import train
from training.networks.ensemble import Ensemble
from training.networks.student import runner
from training.networks.trained import LAST, read_trained
from training.networks.unet import UNet
from training.preset import Preset
from training.watch import PATIENCE, Watch

SMALL = ("iterations=1", "warm_up=0", "batch=2", "prepare.input_side=32", "prepare.output_side=64", "evaluate_every=9")
FROZEN = ("method=fixmatch", "unlabelled_list=synthetic", "consistency.teacher=frozen")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher")
    preset = Preset.read(Path("ci"), SMALL)
    train(preset, read_source(preset, None), out)
    return out / LAST


@pytest.fixture(scope="module")
def taught(teacher: Path) -> tuple[Preset, Source]:
    preset = Preset.read(Path("ci"), (*SMALL, *FROZEN, f"init={teacher}"))
    return preset, read_source(preset, None)


def test_the_frozen_labels_are_what_serving_answers(
    taught: tuple[Preset, Source], teacher: Path, tmp_path: Path
) -> None:
    preset, source = taught
    slices = unlabelled_slices(preset, source.unlabelled, tmp_path)
    contract = draft_contract(preset.task, preset.prepare)
    run = runner(read_trained(teacher).network, contract.output.shape[0])
    answers = [segment(case.images, contract, run) for case in source.unlabelled]
    planes = [plane for answer in answers for volume in answer.labels for plane in volume]
    assert all(np.array_equal(piece.label, plane) for piece, plane in zip(slices, planes, strict=True))
    assert {piece.region for piece in slices} == {answer.square for answer in answers}


def test_they_are_kept_and_not_looked_up_again(taught: tuple[Preset, Source], tmp_path: Path) -> None:
    preset, source = taught
    first = unlabelled_slices(preset, source.unlabelled, tmp_path)
    assert (tmp_path / FILE).is_file()
    elsewhere = preset.model_copy(update={"init": "nowhere"})
    again = unlabelled_slices(elsewhere, source.unlabelled, tmp_path)
    assert all(np.array_equal(a.label, b.label) and a.region == b.region for a, b in zip(first, again, strict=True))


def test_a_frozen_teacher_must_be_named(taught: tuple[Preset, Source], tmp_path: Path) -> None:
    preset, source = taught
    with pytest.raises(Usage) as caught:
        unlabelled_slices(preset.model_copy(update={"init": ""}), source.unlabelled, tmp_path)
    assert caught.value.code == "no_teacher"


def test_without_teachers_nobody_has_labels(taught: tuple[Preset, Source], tmp_path: Path) -> None:
    _, source = taught
    cold = Preset.read(Path("ci"), (*SMALL, *FROZEN[:2]))
    slices = unlabelled_slices(cold, source.unlabelled, tmp_path)
    assert not any(piece.label.any() for piece in slices)
    assert len(slices) == sum(len(volume) for case in source.unlabelled for volume in case.images)


def test_a_run_starts_from_the_student_that_it_names(
    taught: tuple[Preset, Source], teacher: Path, tmp_path: Path
) -> None:
    preset, source = taught
    still = preset.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    train(still, source, tmp_path)
    before, after = read_trained(teacher).network, read_trained(tmp_path / LAST).network
    for one, two in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-6)


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    torch.manual_seed(0)
    networks = [UNet().eval() for _ in range(3)]
    images = torch.rand(2, 1, 32, 32)
    mean = torch.stack([network(images).softmax(dim=1) for network in networks]).mean(dim=0)
    torch.testing.assert_close(Ensemble(networks)(images).softmax(dim=1), mean)


def test_a_term_that_trains_nothing_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    for step in range(3 * PATIENCE):
        watch.see({"cross": 0.0, "intra": 0.0 if step % PATIENCE else 1.0})
    warned = [record for record in caplog.records if "trains nothing" in record.getMessage()]
    assert len(warned) == 1
    assert "'cross'" in warned[0].getMessage()
    assert watch.means() == {"cross": 0.0, "intra": pytest.approx(1 / PATIENCE)}
    assert watch.means() == {}
