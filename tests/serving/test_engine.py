"""The embedded engine: what it loads, what it refuses, and that callers may share it."""

import threading
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from contracts.errors import Missing, Usage
from contracts.model_repository import read_model, seed
from contracts.tasks import Task
from serving.engines import onnxruntime as embedded
from serving.engines.onnxruntime import OnnxRuntimeEngine, check_installation
from serving.engines.pool import EnginePool
from serving.settings import SHIPPED_MODELS, Settings


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home") / "models"
    seed(SHIPPED_MODELS, folder)
    return folder


@pytest.fixture(scope="module")
def engine(models):
    return OnnxRuntimeEngine(read_model(models, "cardiac"), threads=1)


def batch(engine, count, seed_=0):
    shape = (count, *engine.contract.input.shape)
    return np.random.default_rng(seed_).random(shape, dtype=np.float32)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_labels_have_the_shape_and_values_the_contract_promises(engine, count):
    labels = engine.run(batch(engine, count))
    assert labels.shape == (count, *engine.contract.output.shape)
    assert labels.dtype == np.uint8
    assert labels.max() <= max(label.value for label in engine.contract.labels)


def test_a_slice_is_answered_the_same_alone_and_in_a_batch(engine):
    many = batch(engine, 4)
    together = engine.run(many)
    for index in range(4):
        assert np.array_equal(engine.run(many[index : index + 1])[0], together[index])


def test_callers_of_many_threads_share_one_session(engine):
    inputs = [batch(engine, 2, seed_) for seed_ in range(4)]
    expected = [engine.run(part) for part in inputs]
    got = [None] * 4

    def work(index):
        got[index] = engine.run(inputs[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, other) for one, other in zip(got, expected, strict=True))


def test_a_provider_that_is_not_there_is_refused_with_what_there_is(models):
    with pytest.raises(Usage) as refused:
        OnnxRuntimeEngine(read_model(models, "cardiac"), provider="TensorrtExecutionProvider")
    assert "CPUExecutionProvider" in refused.value.sentence


def test_it_says_what_runs_and_why(engine):
    assert engine.provider == "CPUExecutionProvider"
    assert "1 threads" in engine.why


@pytest.mark.parametrize(
    ("installed", "error"),
    [
        ({"onnxruntime", "onnxruntime-gpu"}, Usage),
        (set(), Missing),
        ({"onnxruntime"}, None),
        ({"onnxruntime-gpu"}, None),
    ],
)
def test_exactly_one_runtime_may_be_installed(monkeypatch, installed, error):
    def lookup(name):
        if name not in installed:
            raise PackageNotFoundError(name)

    monkeypatch.setattr(embedded, "distribution", lookup)
    if error is None:
        check_installation()
    else:
        with pytest.raises(error):
            check_installation()


def test_the_pool_loads_once_and_knows_what_it_does_not_have(models, tmp_path):
    pool = EnginePool(Settings(home=tmp_path, model_repository=models, threads=1))
    assert pool.has_model(Task.CARDIAC)
    assert pool.serving(Task.CARDIAC) is pool.serving(Task.CARDIAC)
    bare = EnginePool(Settings(home=tmp_path, model_repository=tmp_path / "empty", threads=1))
    assert not bare.has_model(Task.CARDIAC)
    with pytest.raises(Missing):
        bare.serving(Task.CARDIAC)
