"""Frames as pictures, however odd their headers are."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contracts.errors import Refused
from serving.dicomweb import frames
from serving.dicomweb.rendered import picture
from tests.builders import Exam, write


def shown(folder: Path, **attributes: Any) -> np.ndarray:
    """Grey values [row, column] of the picture of an image with these attributes, without the line below it."""
    made = Exam().short_axis(1, 1)[0]
    for keyword, value in attributes.items():
        made.add_new(keyword, *value)
    (path,) = write([made], folder).values()
    return np.asarray(Image.open(BytesIO(picture(path, 1, "image/png"))).convert("L"))[: made.Rows, : made.Columns]


def test_an_image_is_windowed_by_its_header(tmp_path: Path) -> None:
    seen = shown(tmp_path, WindowCenter=("DS", "400"), WindowWidth=("DS", "100"))
    assert (seen.min(), seen.max()) == (0, 255)
    assert np.isin(seen, (0, 255)).mean() > 0.9


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": ("DS", "1"), "WindowWidth": ("DS", "0")},
        {"WindowCenter": ("DS", ["1", "2"]), "WindowWidth": ("DS", ["0", "-5"])},
        {"WindowCenter": ("LO", "middle"), "WindowWidth": ("LO", "wide")},
        {"WindowCenter": ("DS", "1")},
        {"VOILUTSequence": ("SQ", [])},
    ],
)
def test_a_senseless_window_is_not_applied(tmp_path: Path, window: dict[str, Any]) -> None:
    seen = shown(tmp_path, **window)
    assert (seen.min(), seen.max()) == (0, 255)


@pytest.mark.parametrize(
    "attributes",
    [
        {"RescaleSlope": ("LO", "steep"), "RescaleIntercept": ("LO", "high")},
        {"ModalityLUTSequence": ("SQ", [])},
        {"PhotometricInterpretation": ("CS", "PALETTE COLOR")},
        {"BitsStored": ("US", [12, 12])},
        {"NumberOfFrames": ("LO", "many")},
    ],
)
def test_what_cannot_be_shown_is_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    try:
        outcome = shown(tmp_path, **attributes).max()
    except Refused as refused:
        outcome = refused.code
    assert outcome in (255, "undecodable", "bad_header")


@pytest.mark.parametrize("attributes", [{"Rows": ("US", [20, 20])}, {"BitsAllocated": ("LO", "all")}])
def test_a_header_that_makes_no_sense_is_not_rewritten(tmp_path: Path, attributes: dict[str, Any]) -> None:
    made = Exam().short_axis(1, 1)[0]
    for keyword, value in attributes.items():
        made.add_new(keyword, *value)
    (path,) = write([made], tmp_path).values()
    with pytest.raises(Refused):
        frames.uncompressed(path)


@pytest.mark.parametrize("samples", [[1, 1], [0, 3]])
def test_frames_of_senseless_samples_are_refused(tmp_path: Path, samples: list[int]) -> None:
    made = Exam().short_axis(1, 1)[0]
    made.add_new("SamplesPerPixel", "US", samples)
    (path,) = write([made], tmp_path).values()
    with pytest.raises(Refused):
        list(frames.decoded(path, [1]))
