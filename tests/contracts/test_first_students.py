"""The first cardiac students keep what they were judged by: what they see and how it is restored, bit for bit.

What stands here is the decision as it was when ``cardiac:1`` was published, written down a second time and not touched
since. A change of ``contracts`` for another task must not move one of their pixels.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from contracts.model_contract import read_contract
from contracts.segment import segment

SHIPPED = Path(__file__).resolve().parents[2] / "model_repository"
CONTRACT = read_contract(SHIPPED / "cardiac" / "1" / "contract.json")
Window = tuple[float, float, float]
"""Row and column of the centre, side."""


def weights(length: int, centre: float, side: float) -> NDArray[np.float32]:
    reach = max(side / 128, 1.0)
    pad = int(np.ceil(2 * reach)) + 1
    positions = centre + ((np.arange(128) + 0.5) / 128 - 0.5) * side
    pixels = np.arange(-pad, length + pad)
    triangle = np.clip(1 - np.abs(pixels[None] - positions[:, None]) / reach, 0, None)
    total = triangle.sum(axis=1, keepdims=True)
    return (triangle / np.where(total > 0, total, 1))[:, pad : pad + length].astype(np.float32)


def prepared(slices: NDArray[np.generic], window: Window) -> NDArray[np.float32]:
    row, column, side = window
    down, across = weights(slices.shape[1], row, side), weights(slices.shape[2], column, side)
    cut = down @ slices.astype(np.float32) @ across.T
    low, high = np.percentile(cut, [1.0, 99.0], axis=(-2, -1), keepdims=True).astype(np.float32)
    width = high - low
    flat = width <= 1e-5 * np.maximum(np.abs(low), np.abs(high))
    scale = np.where(flat, 0, np.float32(0.83) / np.where(flat, 1, width)).astype(np.float32)
    scaled: NDArray[np.float32] = np.clip((cut - low) * scale, 0, 1, dtype=np.float32)
    return scaled[:, None]


def restored(labels: NDArray[np.uint8], window: Window, rows: int, columns: int) -> NDArray[np.uint8]:
    row, column, side = window
    answer = np.zeros((len(labels), rows, columns), dtype=np.uint8)
    down = np.floor(((np.arange(rows) - row) / side + 0.5) * 256).astype(int)
    across = np.floor(((np.arange(columns) - column) / side + 0.5) * 256).astype(int)
    inside = ((down >= 0) & (down < 256))[:, None] & ((across >= 0) & (across < 256))
    cells = labels[:, down.clip(0, 255)][:, :, across.clip(0, 255)]
    answer[:, inside] = cells[:, inside]
    return answer


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    components, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    return components == np.bincount(components.ravel())[1:].argmax() + 1 if count else mask


def window_of(heart: NDArray[np.bool_]) -> Window:
    rows, columns = heart.shape[1:]
    if not heart.any():
        return (rows - 1) / 2, (columns - 1) / 2, 0.7 * min(rows, columns)
    _, down, across = np.nonzero(heart)
    box = max(np.ptp(down), np.ptp(across)) + 1
    side = float(np.clip(1.9 * box, 0.3 * min(rows, columns), max(rows, columns)))
    return (down.min() + down.max()) / 2, (across.min() + across.max()) / 2, side


class ByGrey:
    """A network that answers by grey value, or nothing where it is blind, and keeps digests of what it was shown."""

    def __init__(self, blind: bool = False) -> None:
        self.blind = blind
        self.seen: list[str] = []

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.uint8]:
        self.seen.append(hashlib.sha256(images.tobytes()).hexdigest())
        top = np.zeros_like(images[:, 0]) if self.blind else images[:, 0]
        labels = np.select([top > 0.7, top > 0.35], [3, 2], 0).astype(np.uint8)
        return labels.repeat(2, axis=1).repeat(2, axis=2)


def as_published(images: NDArray[np.generic], run: ByGrey) -> NDArray[np.uint8]:
    """Both passes; the slices of a phase fit into one batch."""
    rows, columns = images.shape[2:]
    whole = (rows - 1) / 2, (columns - 1) / 2, float(max(rows, columns))
    phases = len(images)
    coarse = np.zeros(images.shape[1:], dtype=bool)
    for phase in [step * phases // min(4, phases) for step in range(min(4, phases))]:
        coarse |= restored(run(prepared(images[phase], whole)), whole, rows, columns) > 0
    window = window_of(largest(coarse))
    labels = [restored(run(prepared(volume, window)), window, rows, columns) for volume in images]
    return np.stack([np.where(largest(volume > 0), volume, 0) for volume in labels]).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize(
    ("shape", "place", "radius"),
    [((5, 6, 120, 133), (60, 66), 15), ((2, 3, 256, 177), (90.5, 120), 31), ((1, 4, 97, 301), (10, 20), 12)],
)
@pytest.mark.parametrize("pixel_mm", [None, (1.4, 1.4)])
def test_a_study_is_seen_and_answered_as_when_they_were_published(
    shape: tuple[int, int, int, int],
    place: tuple[float, float],
    radius: float,
    dtype: type,
    pixel_mm: tuple[float, float] | None,
) -> None:
    far = np.hypot(np.arange(shape[2])[:, None] - place[0], np.arange(shape[3])[None] - place[1])
    images = np.random.default_rng(0).integers(0, 60, shape).astype(dtype)
    images[:, :, far < radius] += 400
    images[:, :, far < 0.6 * radius] += 500
    images[0, 1, -6:-3, 40:44] = 900
    now, then = ByGrey(), ByGrey()
    found = segment(images, CONTRACT, now, pixel_mm=pixel_mm)
    expected = as_published(images, then)
    assert now.seen == then.seen
    np.testing.assert_array_equal(found.labels, expected)
    assert expected.any()


def test_where_nothing_is_found_the_same_centre_is_looked_at() -> None:
    images = np.random.default_rng(1).integers(0, 60, (2, 3, 64, 91)).astype(np.int16)
    now, then = ByGrey(blind=True), ByGrey(blind=True)
    assert not segment(images, CONTRACT, now).found
    as_published(images, then)
    assert now.seen == then.seen
