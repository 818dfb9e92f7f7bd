"""A picture of one patient's prediction against the truth: for the eyes of whoever trains."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from torch import Tensor

from contracts.cases import Case
from contracts.prepare import Masks

COLOURS = np.array([(0, 0, 0), (86, 180, 233), (230, 159, 0), (204, 121, 167)], dtype=np.uint8)
"""Of the labels 0 to 3; the truth is drawn in white behind them."""


def save_overlay(path: Path, case: Case, labels: Masks, zoom: int = 2) -> None:
    """Write a PNG with a row a phase and a column a slice, cut to the heart: truth white, prediction in colour."""
    window = _window((case.labels > 0) | (labels > 0))
    planes = [
        np.concatenate([_plane(case, labels, phase, index, window, zoom) for index in range(labels.shape[1])], axis=1)
        for phase in range(labels.shape[0])
    ]
    picture = Image.fromarray(np.concatenate(planes, axis=0))
    ImageDraw.Draw(picture).text((4, 4), f"{case.name}: research use only", fill=(255, 255, 255))
    picture.save(path)


def _window(found: NDArray[np.bool_], border: int = 12) -> tuple[slice, slice]:
    def ends(occupied: NDArray[np.bool_]) -> slice:
        where = np.flatnonzero(occupied) if occupied.any() else np.arange(len(occupied))
        return slice(max(int(where[0]) - border, 0), int(where[-1]) + border + 1)

    return ends(np.asarray(found.any(axis=(0, 1, 3)))), ends(np.asarray(found.any(axis=(0, 1, 2))))


def _plane(
    case: Case, labels: Masks, phase: int, index: int, window: tuple[slice, slice], zoom: int
) -> NDArray[np.uint8]:
    def enlarged(plane: NDArray[np.generic]) -> NDArray[np.generic]:
        return plane[window].repeat(zoom, 0).repeat(zoom, 1)

    shown = enlarged(case.images[phase, index]).astype(np.float32)
    top = max(float(np.percentile(case.images[phase], 99.5)), 1)
    channels = shown.reshape(*shown.shape[:2], -1)
    picture = np.broadcast_to(np.clip(channels / top * 255, 0, 255), (*shown.shape[:2], 3)).astype(np.uint8)
    for mask, coloured in ((enlarged(case.labels[phase, index]), False), (enlarged(labels[phase, index]), True)):
        for value in range(1, len(COLOURS)):
            inside = mask == value
            edge = inside & ~ndimage.binary_erosion(inside)
            picture[edge] = COLOURS[value] if coloured else (255, 255, 255)
    return picture


def save_views(path: Path, images: list[Tensor], labels: list[Tensor], confidence: list[Tensor]) -> None:
    """Write a PNG of what a step learns from: for each stream a row of images with outlines and a row of confidence.

    ``images`` float32 [batch, channel, side, side] in 0..1, ``labels`` [batch, side, side], ``confidence`` [batch,
    side, side] in 0..1 (white is sure); one of each for a stream.
    """
    rows = []
    for pictures, masks, sure in zip(images, labels, confidence, strict=True):
        rows.append(_row([_outlined(p, m) for p, m in zip(pictures.numpy(), masks.numpy(), strict=True)]))
        rows.append(_row([np.repeat((plane * 255).astype(np.uint8)[..., None], 3, axis=2) for plane in sure.numpy()]))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 2), (0, width - row.shape[1]), (0, 0))) for row in rows]
    picture = Image.fromarray(np.concatenate(padded))
    ImageDraw.Draw(picture).text((4, 4), "research use only", fill=(255, 255, 255))
    picture.save(path)


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate(pictures, axis=1)


def _outlined(image: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.uint8]:
    picture = np.broadcast_to((image * 255).astype(np.uint8).transpose(1, 2, 0), (*label.shape, 3)).copy()
    for value in range(1, len(COLOURS)):
        inside = label == value
        picture[inside & ~ndimage.binary_erosion(inside)] = COLOURS[value]
    return picture
