"""Decoding the pixels of one object, within what its header may claim."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from contracts.describe import describe
from contracts.dicom import quiet, read_header
from contracts.errors import Refused


def read_frames(path: Path, frames: Sequence[int], shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """Decode the given frames (counted from 1), each as float32 ``[row, column]`` after the modality transformation.

    MONOCHROME1 is turned round, so that larger is always brighter.

    Raises:
        Refused: what :func:`contracts.dicom.read_header` says; the header's own problem; ``other_size`` where rows and
            columns are not ``shape``; ``undecodable_pixels``.
    """
    header = read_header(path)
    described = describe(header)
    if described.problem:
        raise Refused(*described.problem)
    if (described.rows, described.columns) != tuple(shape):
        raise Refused(
            "other_size", f"It is {described.rows} x {described.columns}, not {shape[0]} x {shape[1]} pixels."
        )
    with quiet():
        for frame, raw in zip(frames, _decoded(path, [f - 1 for f in frames]), strict=True):
            yield _transformed(raw, header, frame)


def _decoded(path: Path, indices: list[int]) -> Iterator[NDArray[np.generic]]:
    try:
        yield from iter_pixels(path, raw=True, indices=indices)
    except Exception as error:
        raise Refused("undecodable_pixels", f"Its pixels cannot be decoded ({type(error).__name__}).") from error


def _transformed(raw: NDArray[np.generic], header: Dataset, frame: int) -> NDArray[np.float32]:
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    pixels = raw.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        pixels = -pixels
    return pixels
