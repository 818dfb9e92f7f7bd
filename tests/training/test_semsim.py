"""Laws of the consistency methods: what teaches, what is taught, and what the targets leave alone."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.data.sources import read_source
from training.data.streams import Batch
from training.methods.build import build_method
from training.methods.semsim import SemSim
from training.networks.unet import UNet
from training.preset import Preset
from training.run import make_streams

SMALL = (
    "unlabelled_list=synthetic", "batch=3", "batch_unlabelled=3", "prepare.input_side=32",
    "consistency.fusion_width=16", "consistency.fusion_layers=1", "consistency.threshold=0.0", "consistency.grid=2",
)  # fmt: skip
METHODS = ("fixmatch", "semsim_minus", "semsim")


def preset(method: str, *changes: str) -> Preset:
    return Preset.read(Path("ci"), (f"method={method}", *SMALL, *changes))


def method(method: str, *changes: str, seed: int = 0) -> SemSim:
    torch.manual_seed(seed)
    built = build_method(preset(method, *changes), UNet())
    assert isinstance(built, SemSim)
    return built


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    chosen = preset("fixmatch")
    return make_streams(chosen, read_source(chosen, None), tmp_path_factory.mktemp("out")).draw(0)


def step(trained: SemSim, batch: Batch, average: SemSim | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(1)
    return trained.train()(batch, (average or trained).eval() if average else trained)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_parameter_that_a_method_trains_gets_a_gradient(name: str, precision: str, batch: Batch) -> None:
    trained = method(name, "consistency.teacher=self")
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        losses, _ = step(trained, batch)
    torch.stack(list(losses.values())).sum().backward()
    without = [key for key, value in trained.named_parameters() if value.grad is None]
    assert not without
    still = [k for k, v in trained.named_parameters() if not v.grad.abs().sum() > 0 and not k.endswith("bias")]
    assert not still


@pytest.mark.parametrize("name", METHODS)
def test_losses_and_counters_are_finite_and_none_is_idle(name: str, batch: Batch) -> None:
    losses, counters = step(method(name), batch)
    expected = {"supervised", "unlabelled"} | ({"intra", "cross"} if name != "fixmatch" else set())
    assert set(losses) == expected
    for value in (*losses.values(), *counters.values()):
        assert value.isfinite()
        assert value.ndim == 0
    assert all(losses[key] > 0 for key in expected)


@pytest.mark.parametrize("teacher", ["self", "ema"])
def test_targets_deterministic_and_bn_untouched(teacher: str, batch: Batch) -> None:
    trained = method("semsim", f"consistency.teacher={teacher}")
    average = method("semsim", seed=9).eval()
    assert batch.unlabelled is not None
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    trained.train()
    first, second = (trained.look(batch.unlabelled, average) for _ in range(2))
    assert first[0].equal(second[0])
    assert first[1].equal(second[1])
    assert not first[0].requires_grad
    assert trained.training
    assert all(value.equal(before[key]) for key, value in trained.state_dict().items())
    torch.testing.assert_close(first[0].sum(dim=1), torch.ones_like(first[0][:, 0]))


def test_the_teacher_is_whom_the_preset_names(batch: Batch) -> None:
    assert batch.unlabelled is not None
    average = method("fixmatch", seed=9).eval()
    own = method("fixmatch", "consistency.teacher=self")
    other = method("fixmatch", "consistency.teacher=ema")
    other.load_state_dict(own.state_dict())
    frozen = method("fixmatch", "consistency.teacher=frozen")
    p_own, p_other, p_frozen = (m.look(batch.unlabelled, average)[0] for m in (own, other, frozen))
    assert not torch.allclose(p_own, p_other)
    assert p_frozen.argmax(dim=1).equal(batch.unlabelled.stored)
    assert set(p_frozen.unique().tolist()) <= {0.0, 1.0}


def test_a_gate_that_nothing_passes_leaves_the_labels_alone(batch: Batch) -> None:
    closed, _ = step(method("fixmatch", "consistency.threshold=1.0"), batch)
    assert closed["unlabelled"] == 0
    assert closed["supervised"] > 0


def test_losses_are_multiplied_by_their_weights(batch: Batch) -> None:
    plain, _ = step(method("semsim"), batch)
    names = ("supervised", "unlabelled", "intra", "cross")
    doubled = [f"consistency.weights.{n}={2 * getattr(preset('semsim').consistency.weights, n)}" for n in names]
    twice, _ = step(method("semsim", *doubled), batch)
    for key in names:
        torch.testing.assert_close(twice[key], 2 * plain[key])


def test_published_weights_are_the_default() -> None:
    weights = preset("semsim").consistency.weights
    total = weights.supervised, weights.unlabelled, weights.intra, weights.cross
    assert total == (1 / 2, 0.5 / 2, 0.25 / 2, 0.25 / 2)


def test_with_equal_weights_fixmatch_is_semsim_without_its_terms(batch: Batch) -> None:
    """Evaluation mode, where joint normalisation cannot tell them apart: the shared losses are equal."""
    fixmatch, semsim = method("fixmatch"), method("semsim")
    semsim.network.load_state_dict(fixmatch.network.state_dict())
    ours, _ = fixmatch.eval()(batch, fixmatch)
    theirs, _ = semsim.eval()(batch, semsim)
    for key in ("supervised", "unlabelled"):
        torch.testing.assert_close(ours[key], theirs[key])


def test_two_streams_are_the_mean_of_both(batch: Batch) -> None:
    one, two = method("fixmatch"), method("fixmatch", "consistency.streams=2")
    two.load_state_dict(one.state_dict())
    assert batch.unlabelled is not None
    swapped = Batch(batch.images, batch.labels, batch.unlabelled.__class__(
        batch.unlabelled.weak, batch.unlabelled.strong[::-1], batch.unlabelled.mixes[::-1], batch.unlabelled.stored
    ))  # fmt: skip
    first, second, both = (m.eval()(b, m)[0]["unlabelled"] for m, b in ((one, batch), (one, swapped), (two, batch)))
    torch.testing.assert_close(both, (first + second) / 2)


def test_channel_dropout_spares_labelled_views_and_evaluation(batch: Batch) -> None:
    plain, dropped = method("fixmatch"), method("fixmatch", "consistency.channel_dropout=0.5")
    dropped.load_state_dict(plain.state_dict())
    a, b = step(plain, batch)[0], step(dropped, batch)[0]
    torch.testing.assert_close(a["supervised"], b["supervised"], rtol=0.05, atol=0.05)
    assert not torch.allclose(a["unlabelled"], b["unlabelled"])
    dropped.load_state_dict(plain.state_dict())  # the step moved the running statistics of both, differently
    torch.testing.assert_close(plain.eval()(batch, plain)[0], dropped.eval()(batch, dropped)[0])


def test_an_unlabelled_stream_is_needed(batch: Batch) -> None:
    with pytest.raises(TypeError):
        step(method("fixmatch"), Batch(batch.images, batch.labels))


def test_what_is_trained_beside_the_network_is_not_the_student() -> None:
    trained = method("semsim")
    names = {key.split(".")[0] for key in trained.state_dict()}
    assert names == {"network", "similarity"}
    assert sum(p.numel() for p in trained.network.parameters()) == 1_813_764
