"""Laws of the streams: pixel, target and confidence always belong together, and only the losses tell methods apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.prepare import Prepare, Square
from training.data.augment import Views
from training.data.slices import Slice
from training.data.sources import Source, read_source
from training.data.streams import Batch, Streams
from training.data.strong import Strong, draw_box, strong_view
from training.preset import Preset
from training.run import make_streams

PLAIN = Strong(jitter_share=0, blur_share=0, cutmix=1)
"""CutMix alone."""
UNLABELLED = ("method=fixmatch", "unlabelled_list=synthetic")


@pytest.fixture(scope="module")
def preset() -> Preset:
    return Preset.read(Path("ci"), (*UNLABELLED, "batch=4", "prepare.input_side=32"))


@pytest.fixture(scope="module")
def streams(preset: Preset, tmp_path_factory: pytest.TempPathFactory) -> Streams:
    return make_streams(preset, read_source(preset, None), tmp_path_factory.mktemp("out"))


def same(one: Batch, two: Batch) -> bool:
    """Whether two batches hold the same numbers."""
    a, b = one.unlabelled, two.unlabelled
    assert a is not None
    assert b is not None
    pairs = [(one.images, two.images), (one.labels, two.labels), (a.weak, b.weak), (a.stored, b.stored)]
    pairs += list(zip(a.strong, b.strong, strict=True))
    pairs += [(x.boxes, y.boxes) for x, y in zip(a.mixes, b.mixes, strict=True)]
    return all(x.equal(y) for x, y in pairs)


def test_a_step_draws_the_same_whatever_was_drawn_before(streams: Streams) -> None:
    assert same(streams.draw(3), streams.draw(3))
    assert not same(streams.draw(3), streams.draw(4))


def test_the_labelled_stream_is_the_same_with_and_without_unlabelled_images(streams: Streams, preset: Preset) -> None:
    alone = Streams(streams.labelled, [], preset.batch, 4, preset.views, preset.strong, preset.prepare, preset.seed)
    with_others, without = streams.draw(5), alone.draw(5)
    assert without.unlabelled is None
    assert with_others.images.equal(without.images)
    assert with_others.labels.equal(without.labels)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), side=st.sampled_from([32, 48]))
def test_cutmix_moves_pixels_target_confidence(seed: int, side: int) -> None:
    """A picture whose pixel is its label stays so, through geometry, both strong views and both boxes."""
    random = np.random.default_rng(seed)
    label = (random.random((6, 8)) > 0.5).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    pieces = [
        Slice(np.roll(label, 10 * i, 1).astype(np.float32), np.roll(label, 10 * i, 1), Square(30, 40, 60))
        for i in range(3)
    ]
    exact = Prepare(input_side=side, output_side=side, low_percentile=0, high_percentile=100, high_value=1)
    batch = Streams(pieces[:1], pieces, 1, 3, Views(rotation=0), PLAIN, exact, seed).draw(0).unlabelled
    assert batch is not None
    target = batch.stored[:, None].float()
    for strong, mix in zip(batch.strong, batch.mixes, strict=True):
        clear = (strong < 0.2) | (strong > 0.8)
        assert ((strong > 0.5) == (mix(target) > 0.5))[clear].float().mean() > 0.97
        confidence = torch.arange(3.0)[:, None, None, None].expand_as(target)
        inside, outside = mix(confidence)[mix.boxes], mix(confidence)[~mix.boxes]
        assert (inside == mix.partner[:, None, None, None].expand_as(target)[mix.boxes]).all()
        assert outside.equal(confidence[~mix.boxes])


def test_the_two_strong_views_share_their_geometry_and_nothing_else(streams: Streams) -> None:
    batch = streams.draw(0).unlabelled
    assert batch is not None
    first, second = batch.strong
    assert not first.equal(second)
    assert not batch.mixes[0].boxes.equal(batch.mixes[1].boxes)
    untouched = ~(batch.mixes[0].boxes | batch.mixes[1].boxes)
    for strong in batch.strong:
        together = np.corrcoef(strong[untouched].numpy(), batch.weak[untouched].numpy())[0, 1]
        assert together > 0.7


def test_a_partner_is_always_another_image() -> None:
    weak = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    for seed in range(20):
        _, mix = strong_view(weak, PLAIN, np.random.default_rng(seed))
        assert (mix.partner != torch.arange(5)).all()
        assert sorted(mix.partner.tolist()) == list(range(5))


def test_boxes_have_the_areas_and_ratios_that_were_asked_for() -> None:
    random = np.random.default_rng(0)
    strong = Strong(cutmix=1)
    for _ in range(300):
        box = draw_box(96, 96, strong, random)
        height, width = int(box.any(axis=1).sum()), int(box.any(axis=0).sum())
        assert box.sum() == height * width
        assert 0.015 <= box.mean() <= 0.42
        assert 0.25 <= height / width <= 4
    assert not any(draw_box(96, 96, Strong(cutmix=0), random).any() for _ in range(5))


def test_strong_views_stay_in_range_in_grey_and_in_colour() -> None:
    everything = Strong(jitter_share=1, blur_share=1, cutmix=1)
    for channels in (1, 3):
        weak = torch.rand(4, channels, 32, 32, generator=torch.Generator().manual_seed(1))
        strong, _ = strong_view(weak, everything, np.random.default_rng(2))
        assert strong.shape == weak.shape
        assert strong.isfinite().all()
        assert 0 <= strong.min() <= strong.max() <= 1


def test_a_box_on_a_coarser_grid_is_the_same_box() -> None:
    weak = torch.rand(2, 1, 64, 64)
    _, mix = strong_view(weak, PLAIN, np.random.default_rng(3))
    fine = torch.arange(2.0)[:, None, None, None].expand(2, 1, 64, 64)
    coarse = mix(fine[..., ::4, ::4])
    assert (torch.nn.functional.avg_pool2d(mix(fine), 4) - coarse).abs().max() <= 0.5


def test_the_labels_of_unlabelled_cases_are_hidden_and_labelled_ones_leave_the_pool(acdc_layout: Path) -> None:
    lists = ("train_list=lists/train.txt", "validation_list=lists/val.txt", "method=fixmatch")
    every = acdc_layout / "lists" / "every.txt"
    every.write_text("patient001\npatient002\npatient003\n", "utf-8")
    source = read_source(Preset.read(Path("ci"), (*lists, "unlabelled_list=lists/every.txt")), acdc_layout)
    assert [case.name for case in source.unlabelled] == ["patient003"]
    assert not source.unlabelled[0].labels.any()
    assert source.seen == ("patient001", "patient002", "patient003")
    few = Preset.read(Path("ci"), (*lists, "unlabelled_list=lists/every.txt", "unlabelled_limit=0"))
    assert read_source(few, acdc_layout).unlabelled == []


def test_a_source_without_unlabelled_cases_has_none(source: Source) -> None:
    assert source.unlabelled == []
