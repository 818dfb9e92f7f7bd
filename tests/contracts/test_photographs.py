"""A photograph is a stack of its own with a plane in its own coordinates; what is none is left as it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.describe import describe
from contracts.errors import Refused
from contracts.features import features_of
from contracts.instances import from_json, to_json
from contracts.photographs import LARGEST_PHOTOGRAPH
from contracts.stacks import Stack, stacks_of
from contracts.volumes import Grid, arrange, load
from tests.builders import Exam, set_pixels, write
from tests.photographs import CLASSES, photograph, skin, spot

PICTURE = skin(spot(14, 21))


def stack_of(**options: Any) -> Stack:
    """The stack of a photograph."""
    (stack,) = stacks_of([describe(photograph(PICTURE, **options))])
    return stack


def grid_of(stack: Stack) -> Grid:
    """Its grid."""
    return arrange(stack, accept_per_instance_frame_of_reference=False)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_kind_of_photograph_has_its_place_in_the_picture_only(kind: str) -> None:
    stack = stack_of(kind=kind)
    grid = grid_of(stack)
    assert (stack.problem, stack.photograph, grid.photograph) == (None, True, True)
    assert (grid.phases, grid.slices, grid.rows, grid.columns) == (1, 1, 14, 21)
    assert (grid.positions, grid.orientation) == (((0, 0, 0),), (1, 0, 0, 0, 1, 0))
    assert (grid.voxel_mm3, grid.pixel_mm) == (None, None)
    assert any("given in pixels" in warning for warning in grid.warnings)


def test_what_is_remembered_survives_json() -> None:
    made = describe(photograph(PICTURE, PixelSpacing=[0.02, 0.03]))
    assert from_json(json.loads(json.dumps(to_json(made)))) == made
    grid = grid_of(stacks_of([made])[0])
    assert Grid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


def test_what_was_remembered_before_there_were_photographs_can_be_read() -> None:
    plain = to_json(describe(Exam().short_axis(1, 1)[0]))
    del plain["photograph"]
    assert not from_json(plain).photograph


@pytest.mark.parametrize("kind", CLASSES)
def test_a_stated_spacing_is_used(kind: str) -> None:
    grid = grid_of(stack_of(kind=kind, PixelSpacing=[0.02, 0.03]))
    assert (grid.pixel_mm, grid.warnings) == ((0.02, 0.03), ())


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": [-1, 1]},
        {"PixelSpacing": [5e2, 5e2]},
        {"NominalScannedPixelSpacing": [0.1, 0.1]},
        {"ImagerPixelSpacing": [0.004, 0.004]},
        {"PixelSpacing": [0.1, 0.1], "ImageComments": "Spacing invented"},
    ],
)
def test_what_is_no_spacing_on_the_skin_is_not_used(attributes: dict[str, Any]) -> None:
    stack = stack_of(kind="capture", **attributes)
    assert grid_of(stack).pixel_mm is None
    assert stack.features["row_spacing_mm"] is None


def test_photographs_of_one_series_and_size_are_stacks_of_their_own() -> None:
    exam = Exam()
    shots = [photograph(PICTURE, exam=exam) for _ in range(3)]
    for shot in shots:
        shot.SeriesInstanceUID, shot.FrameOfReferenceUID = shots[0].SeriesInstanceUID, "2.25.9"
    stacks = stacks_of([describe(shot) for shot in shots])
    assert [len(stack.instances) for stack in stacks] == [1, 1, 1]
    assert len({stack.key for stack in stacks}) == len({stack.digest for stack in stacks}) == 3
    references = {grid_of(stack).frame_of_reference_uid for stack in stacks}
    assert len(references) == 3
    assert "2.25.9" not in references
    early = stacks_of([describe(shot) for shot in shots[:2]])
    assert [stack.key for stack in early] == [stack.key for stack in stacks[:2]], "what comes later changes none"


def test_frames_of_one_object_are_phases(tmp_path: Path) -> None:
    frames = np.stack([skin(spot(14, 21, centre=(0.3 + 0.1 * step, 0.5))) for step in range(4)])
    made = photograph(frames, "frames")
    (stack,) = stacks_of([describe(made)])
    grid = grid_of(stack)
    assert (grid.phases, grid.slices, stack.features["images_per_position"]) == (4, 1, 4)
    images = load(grid, write([made], tmp_path).__getitem__)
    assert (images.shape, images.dtype) == ((4, 1, 14, 21, 3), np.uint8)
    assert np.array_equal(images[:, 0], frames)


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR", "SamplesPerPixel": 1}, "palette_colours"),
        ({"PhotometricInterpretation": "HSV"}, "colour_space"),
        ({"PhotometricInterpretation": None}, "colour_space"),
        ({"PhotometricInterpretation": "CMYK", "SamplesPerPixel": 4, "PixelData": bytes(2000)}, "colour_space"),
        ({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelData": bytes(1764)}, "unusual_bits"),
        ({"BitsStored": 7, "HighBit": 6}, "unusual_bits"),
        ({"PixelRepresentation": 1}, "unusual_bits"),
        ({"PixelData": bytes(800)}, "pixel_data_short"),
        ({"PixelData": None}, "no_pixel_data"),
        ({"Rows": 6000, "Columns": 6000}, "too_large"),
    ],
)
@pytest.mark.parametrize("kind", ["dermoscopic", "capture"])
def test_what_cannot_be_read_right_says_so(kind: str, attributes: dict[str, Any], code: str) -> None:
    described = describe(photograph(PICTURE, kind, **attributes))
    assert described.problem is not None
    assert described.problem[0] == code
    assert described.problem[1].endswith(".")
    assert len(described.planes) == 1
    (stack,) = stacks_of([described])
    with pytest.raises(Refused) as caught:
        grid_of(stack)
    assert caught.value.code == code


def test_a_grey_photograph_has_no_colours_and_a_grey_capture_no_place() -> None:
    for kind, code in (("photographic", "no_colours"), ("capture", "no_geometry")):
        made = photograph(PICTURE, kind)
        set_pixels(made, PICTURE[..., 0])
        described = describe(made)
        assert described.problem is not None
        assert (described.problem[0], described.photograph) == (code, kind == "photographic")


def test_a_capture_of_a_scanner_keeps_its_place_in_the_patient() -> None:
    image = Exam().short_axis(1, 1)[0]
    image.SOPClassUID = CLASSES["capture"][0]
    described = describe(image)
    assert not described.photograph
    assert described.planes[0].position == pytest.approx((10, -20, 30))


def test_a_number_of_frames_that_is_a_lie_costs_nothing() -> None:
    described = describe(photograph(PICTURE[None], "frames", NumberOfFrames=10**9))
    assert described.problem is not None
    assert (described.problem[0], len(described.planes)) == ("pixel_data_short", 1)


def test_photographs_may_be_larger_than_other_images() -> None:
    assert LARGEST_PHOTOGRAPH > 4100 * 5000
    empty = bytes(3 * 4100 * 5000)
    assert describe(photograph(PICTURE, Rows=4100, Columns=5000, PixelData=empty)).problem is None


def test_features_say_nothing_of_a_geometry_that_is_not_there() -> None:
    found = features_of([describe(photograph(PICTURE))])
    assert not {"positions", "slice_distance_mm", "angle_to_body_axis_deg", "field_of_view_mm"} & set(found)
    assert (found["modality"], found["images"], found["SkinNamed"]) == ("DMS", 1, True)
