"""Laws of the loop: a stopped run goes on as if nothing had been, and it never saves a broken student."""

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import Broken, Missing, Refused, Usage
from training import loop, run
from training.data.sources import Source
from training.data.streams import Batch, Streams
from training.loop import learning_rate, train
from training.networks.trained import LAST, read_checkpoint, read_trained
from training.preset import Preset


def equal(one: object, two: object) -> bool:
    """Whether two checkpoints hold the same values, tensors to the last bit (a commit in between is no difference)."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.equal(two)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(
            equal(one[k], two[k]) for k in one if k not in ("code_version", "cpu_seconds")
        )
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(equal, one, two))
    return one == two


@pytest.fixture(scope="module")
def finished(tiny: Preset, source: Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert train(tiny, source, out).iteration == tiny.iterations
    return out


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_run_that_was_stopped_ends_bit_for_bit_as_the_uninterrupted_one(
    stop_after: int, finished: Path, tiny: Preset, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop._step

    def step_and_stop(state: run.Training) -> float:
        loss = step(state)
        if state.iteration == stop_after:
            signal.raise_signal(signal.SIGTERM)
        return loss

    monkeypatch.setattr(loop, "_step", step_and_stop)
    first = train(tiny, source, tmp_path)
    assert first.stopped
    assert first.iteration == stop_after
    assert train(tiny, source, tmp_path, resume=True).iteration == tiny.iterations
    assert equal(read_checkpoint(tmp_path / LAST), read_checkpoint(finished / LAST))


def test_a_run_can_be_repeated(finished: Path, tiny: Preset, source: Source, tmp_path: Path) -> None:
    train(tiny, source, tmp_path)
    assert equal(read_checkpoint(tmp_path / LAST), read_checkpoint(finished / LAST))


def test_a_finished_run_is_left_as_it_is(finished: Path, tiny: Preset, source: Source) -> None:
    before = read_checkpoint(finished / LAST)
    train(tiny, source, finished, resume=True)
    assert equal(read_checkpoint(finished / LAST), before)


def test_a_run_leaves_curves_and_a_picture_of_the_worst_case(finished: Path) -> None:
    assert list((finished / "curves").rglob("events.out.tfevents.*"))
    assert [path.name for path in finished.glob("worst-*.png")] == ["worst-000006.png"]
    assert not list(finished.glob("*.part"))


def test_a_checkpoint_gives_a_student_that_knows_its_origin(finished: Path, tiny: Preset, source: Source) -> None:
    trained = read_trained(finished / LAST)
    assert trained.patients == source.seen
    assert trained.iteration == tiny.iterations
    assert Preset.model_validate(trained.preset) == tiny
    assert set(trained.scores) == {"mean_dice", "rv", "myo", "lv"}
    assert trained.contract.prepare == tiny.prepare
    assert not trained.network.training


def test_the_student_is_the_average_and_not_the_last_step(finished: Path) -> None:
    state, trained = read_checkpoint(finished / LAST), read_trained(finished / LAST)
    weights = trained.network.state_dict()
    assert all(state["average"][f"module.network.{name}"].equal(value) for name, value in weights.items())
    assert any(not state["method"][f"network.{name}"].equal(value) for name, value in weights.items())


def test_another_preset_does_not_go_on(finished: Path, tiny: Preset, source: Source) -> None:
    with pytest.raises(Usage) as caught:
        train(tiny.model_copy(update={"seed": 99}), source, finished, resume=True)
    assert caught.value.code == "other_preset"


def test_a_loss_that_is_no_number_ends_the_run_and_spares_the_checkpoint(
    tiny: Preset, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Streams.draw

    def spoiled(streams: Streams, step: int) -> Batch:
        batch = draw(streams, step)
        if step == 4:
            batch.images.fill_(math.nan)
        return batch

    monkeypatch.setattr(Streams, "draw", spoiled)
    with pytest.raises(Broken) as caught:
        train(tiny, source, tmp_path)
    assert caught.value.code == "not_a_number"
    kept = torch.load(tmp_path / "spoiled-000004.pt", weights_only=True)
    assert kept["images"].isnan().all()
    assert kept["labels"].shape == (tiny.batch, 32, 32)
    state = read_checkpoint(tmp_path / LAST)
    assert state["iteration"] == 3
    assert all(value.isfinite().all() for value in state["method"].values())


def test_a_resume_without_a_run_starts_one(tiny: Preset, source: Source, tmp_path: Path) -> None:
    short = tiny.model_copy(update={"iterations": 1, "evaluate_every": 100})
    assert train(short, source, tmp_path, resume=True).iteration == 1


def test_signals_are_given_back(tiny: Preset, source: Source, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(tiny.model_copy(update={"iterations": 1}), source, tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_learning_rate_rises_then_falls_to_its_end() -> None:
    preset = Preset.read(Path("ci"), ("iterations=100", "warm_up=10"))
    rates = np.array([learning_rate(preset, step) for step in range(101)])
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates.max() == pytest.approx(preset.learning_rate)
    assert rates[100] == pytest.approx(preset.learning_rate * preset.final_share)


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        read_checkpoint(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"not a checkpoint")
    with pytest.raises(Refused):
        read_checkpoint(tmp_path / "bad")


def test_the_code_version_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.code_version()
    monkeypatch.setattr(run, "_git", lambda *_: "")
    assert run.code_version() == "unknown"
    monkeypatch.setattr(run, "_git", lambda *arguments: "abc" if arguments[0] == "rev-parse" else "training/loop.py")
    assert run.code_version() == "abc+changes"
