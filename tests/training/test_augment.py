"""Views: labels go where their pixels go, and an unturned view is what serving sees."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.cases import Case
from contracts.prepare import Prepare, Square, prepare_slices, whole_square
from training.data.augment import Views, sample
from training.data.slices import Slice, drawn, slices_of
from training.data.streams import Batch, Streams
from training.data.strong import Strong
from training.data.synthetic import synthetic_cases

STILL = Views(
    region=1, region_scale=0, region_shift=0, whole_scale=0, whole_shift=0, rotation=0, quarter_turn=0, flip=0,
    jitter=0, blur=0, noise=0, shading=0, flatten=0, circle=0,
)  # fmt: skip
RAW = Prepare(low_percentile=0, high_percentile=100, high_value=1)


def labelled(slices: list[Slice], views: Views, prepare: Prepare, seed: int) -> Batch:
    """One step that shows every slice once."""
    return Streams(slices, [], len(slices), 0, views, Strong(), prepare, seed).draw(0)


@pytest.fixture(scope="module")
def case() -> Case:
    return synthetic_cases(1, seed=3)[0]


@pytest.fixture(scope="module")
def slices(case: Case) -> list[Slice]:
    return slices_of(case, Prepare())


@pytest.mark.parametrize("heart", [0.0, 1.0])
def test_an_unchanged_view_is_what_serving_shows_the_network(slices: list[Slice], heart: float) -> None:
    still = STILL.model_copy(update={"region": heart})
    views = labelled(slices, still, Prepare(), 0).images.numpy()
    square = slices[0].region if heart else whole_square(*slices[0].image.shape)
    shown = np.stack([slices[i].image for i in drawn(len(slices), len(slices), 0, (0, 1))])
    served = prepare_slices(shown, square, Prepare())
    assert np.corrcoef(views.ravel(), served.ravel())[0, 1] > 0.98
    assert abs(float((views - served).mean())) < 0.01


@settings(max_examples=30, deadline=None)
@given(angle=st.floats(-math.pi, math.pi), mirror=st.booleans(), side=st.floats(30, 120), off=st.floats(-20, 20))
def test_a_picture_that_is_its_label_stays_so(angle: float, mirror: bool, side: float, off: float) -> None:
    """Whatever the geometry: where the picture shows a structure, the label says so."""
    label = np.zeros((90, 110), dtype=np.uint8)
    label[30:60, 40:80] = 1
    flip = np.diag([-1.0 if mirror else 1.0, 1.0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) @ flip
    picture, mask = sample(label.astype(np.float32), label, Square(45 + off, 55 - off, side), turn, 64)
    picture = picture[0]
    clear = (picture < 0.2) | (picture > 0.8)
    assert ((picture > 0.5) == (mask == 1))[clear].mean() > 0.99


def test_a_quarter_turn_turns_the_picture() -> None:
    image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    label = (image > 0.5).astype(np.uint8)
    square = Square(31.5, 31.5, 64)
    plain, _ = sample(image, label, square, np.eye(2), 64)
    turned, mask = sample(image, label, square, np.array([[0.0, -1.0], [1.0, 0.0]]), 64)
    np.testing.assert_allclose(turned[0], np.rot90(plain[0]), atol=1e-4)
    np.testing.assert_array_equal(mask, np.rot90(label))


def test_labels_stay_labels_and_grey_values_stay_in_range(slices: list[Slice]) -> None:
    everything = Views(blur=1, noise=1, shading=1, flatten=1, circle=1)
    batch = labelled(slices, everything, RAW, 5)
    assert batch.images.dtype.is_floating_point
    assert batch.images.shape == (8, 1, 128, 128)
    assert batch.labels.shape == (8, 128, 128)
    assert set(batch.labels.unique().tolist()) <= {0, 1, 2, 3}
    assert 0 <= batch.images.min() <= batch.images.max() <= 1
    assert batch.images.isfinite().all()


def test_the_same_random_numbers_give_the_same_batch(slices: list[Slice]) -> None:
    one, two = (labelled(slices, Views(), Prepare(), 8) for _ in range(2))
    assert one.images.equal(two.images)
    assert one.labels.equal(two.labels)


def test_the_originals_are_left_alone(slices: list[Slice]) -> None:
    before = slices[0].image.copy()
    labelled(slices, Views(flatten=1, circle=1), Prepare(), 0)
    np.testing.assert_array_equal(slices[0].image, before)


def test_the_heart_is_in_almost_every_view(slices: list[Slice]) -> None:
    batch = labelled(slices * 6, Views(), Prepare(), 1)
    seen = (batch.labels > 0).flatten(1).any(dim=1).float().mean()
    assert seen > 0.95


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 40), batch=st.integers(1, 9), seed=st.integers(0, 9))
def test_every_epoch_shows_every_slice_once(count: int, batch: int, seed: int) -> None:
    steps = math.lcm(count, batch) // batch
    shown = [index for step in range(steps) for index in drawn(count, batch, step, (seed,))]
    for start in range(0, len(shown), count):
        assert sorted(shown[start : start + count]) == list(range(count))


def test_epochs_differ_and_repeat_for_the_same_seed() -> None:
    first, second = drawn(30, 30, 0, (1,)), drawn(30, 30, 1, (1,))
    assert first != second
    assert first == drawn(30, 30, 0, (1,))
    assert first != drawn(30, 30, 0, (2,))


def test_slices_of_a_patient_share_its_square(case: Case, slices: list[Slice]) -> None:
    assert len(slices) == case.images.shape[0] * case.images.shape[1]
    assert len({piece.region for piece in slices}) == 1
    np.testing.assert_array_equal(slices[5].image, case.images[1, 1])
