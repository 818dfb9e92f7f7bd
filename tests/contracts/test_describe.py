"""From a header to what is remembered of it, for classic and enhanced images, and what is wrong with them."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.valuerep import IS

from contracts.describe import describe
from contracts.dicom import quiet
from contracts.instances import from_json, to_json
from contracts.stacks import stacks_of
from tests.builders import SHORT_AXIS, Exam, set_pixels


def image(**attributes: Any) -> FileDataset:
    """A classic image."""
    exam = Exam()
    with quiet():
        return exam.image(exam.next_series(), 7, (1.5, -2.5, 3.25), np.zeros((20, 24), np.uint16), **attributes)


def test_a_classic_image_is_one_plane() -> None:
    made = image(TriggerTime=62.5, TemporalPositionIdentifier=3, AcquisitionTime="102030.25")
    described = describe(made)
    (plane,) = described.planes
    assert described.problem is None
    assert (described.rows, described.columns, described.modality) == (20, 24, "MR")
    assert (plane.frame, plane.position, plane.spacing) == (1, (1.5, -2.5, 3.25), (1.5, 1.5))
    assert plane.orientation == pytest.approx(SHORT_AXIS)
    assert (plane.trigger_time, plane.temporal_position, plane.instance_number) == (62.5, 3, 7)
    assert plane.acquired_s == 10 * 3600 + 20 * 60 + 30.25
    assert described.attributes["ImageType"] == ["ORIGINAL", "PRIMARY", "M"]
    assert described.attributes["EchoTime"] == 1.4


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_beyond_all_bounds_breaks_neither_stacks_nor_json(digits: int) -> None:
    """IS has 12 characters at most, but nothing stops a file from holding more."""
    made = image()
    made.add(DataElement("SeriesNumber", "IS", IS(10**digits), already_converted=True))
    described = describe(made)
    assert from_json(json.loads(json.dumps(to_json(described)))) == described
    assert len(stacks_of([described])) == 1


def test_frames_of_an_enhanced_image_are_planes() -> None:
    made = Exam().enhanced(slices=2, phases=3)
    described = describe(made)
    assert described.problem is None
    assert [plane.frame for plane in described.planes] == [1, 2, 3, 4, 5, 6]
    assert [plane.temporal_position for plane in described.planes] == [1, 1, 2, 2, 3, 3]
    assert [plane.trigger_time for plane in described.planes][::2] == [12.5, 52.5, 92.5]
    assert described.planes[1].position == (0.0, 0.0, 0.0)
    assert {plane.thickness for plane in described.planes} == {8}
    assert described.attributes["EchoTime"] == 1.4
    assert "CINE" in str(described.attributes["ImageType"])


def test_an_empty_functional_group_does_not_make_an_image_enhanced() -> None:
    """A public data set of classic images carries one empty item in (5200,9230)."""
    described = describe(image(PerFrameFunctionalGroupsSequence=[Dataset()]))
    assert described.problem is None
    assert len(described.planes) == 1


def test_what_is_remembered_survives_json() -> None:
    for made in (image(), Exam().enhanced(), Exam().report(), Exam().screenshot()):
        described = describe(made)
        assert from_json(json.loads(json.dumps(to_json(described)))) == described


def test_nothing_about_the_patient_is_remembered() -> None:
    text = json.dumps(to_json(describe(image(ImageComments="Phantom 1950, spacing invented"))))
    for secret in ("Phantom", "ID-exam", "1950", "20240102"):
        assert secret not in text
    assert describe(image(ImageComments="the spacing invented here")).attributes["SpacingInvented"] is True
    assert describe(image()).attributes["SpacingInvented"] is False


@pytest.mark.parametrize("made", [Exam().report(), Exam().key_objects()])
def test_what_has_no_images_has_neither_planes_nor_a_problem(made: FileDataset) -> None:
    described = describe(made)
    assert not described.has_images
    assert not described.planes


def without(keyword: str) -> FileDataset:
    """An image that lacks an attribute."""
    made = image()
    del made[keyword]
    return made


def shorter(**claims: Any) -> FileDataset:
    """An image whose header claims more than its pixels hold."""
    made = image()
    for keyword, value in claims.items():
        setattr(made, keyword, value)
    return made


def in_colour() -> FileDataset:
    """An MR image in colour."""
    made = image()
    set_pixels(made, np.zeros((20, 24, 3), np.uint8))
    return made


def of_floats() -> FileDataset:
    """An MR image of floating-point pixels."""
    made = image()
    del made.PixelData
    made.FloatPixelData, made.BitsAllocated = np.zeros((20, 24), np.float32).tobytes(), 32
    return made


PROBLEMS = {
    "no_pixel_data": [without("PixelData"), without("Rows"), shorter(Columns=0)],
    "float_pixels": [of_floats()],
    "too_large": [shorter(Rows=60000, Columns=60000), shorter(Rows=65535, Columns=65535)],
    "pixel_data_short": [shorter(Rows=21), shorter(NumberOfFrames=2), shorter(BitsAllocated=32)],
    "colour_pixels": [in_colour(), shorter(PhotometricInterpretation="PALETTE COLOR")],
    "no_geometry": [
        without("ImagePositionPatient"),
        without("ImageOrientationPatient"),
        without("PixelSpacing"),
        image(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]),
        image(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]),
        image(ImageOrientationPatient=[1, 0, 0]),
        image(ImagePositionPatient=[0, 0]),
        image(PixelSpacing=[0, 1]),
        image(PixelSpacing=[-1, 1]),
        image(PixelSpacing=[1.5, "1e308"]),
        image(PixelSpacing=["1e-30", 1.5]),
        image(ImagePositionPatient=[0, 0, "-1e300"]),
    ],
}


@pytest.mark.parametrize(("stated", "kept"), [(8, 8.0), (-8, None), (0, None), ("1e300", None), (None, None)])
def test_a_thickness_that_is_none_is_not_stated_on(stated: object, kept: float | None) -> None:
    (plane,) = describe(image(SliceThickness=stated)).planes
    assert plane.thickness == kept


@pytest.mark.parametrize(("code", "made"), [(code, made) for code, all_made in PROBLEMS.items() for made in all_made])
def test_what_a_header_rules_out_is_noted(code: str, made: FileDataset) -> None:
    described = describe(made)
    assert described.has_images
    assert described.problem is not None
    assert described.problem[0] == code
    assert described.problem[1].endswith((".", "senseless."))


def test_the_number_of_frames_must_match_their_descriptions() -> None:
    made = Exam().enhanced(slices=2, phases=2)
    del made.PerFrameFunctionalGroupsSequence[-1]
    assert describe(made).problem is not None


HEADER = (
    *("Rows", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "TriggerTime", "NumberOfFrames"),
    *("InstanceNumber", "ImageType", "EchoTime", "AcquisitionTime", "SliceThickness", "FlipAngle", "BitsAllocated"),
)


@settings(max_examples=60, deadline=None)
@given(
    keyword=st.sampled_from(HEADER),
    value=st.one_of(
        st.none(), st.just(""), st.integers(-5, 10**6), st.lists(st.floats(-10, 10), max_size=7), st.just(["x", "y"])
    ),
)
def test_describing_never_raises(keyword: str, value: object) -> None:
    made = image()
    with quiet():
        try:
            setattr(made, keyword, value)
        except (TypeError, ValueError, OverflowError):
            return
        described = describe(made)
    assert described.sop_uid == made.SOPInstanceUID
    assert json.dumps(to_json(described))


@pytest.mark.parametrize(
    ("made", "encoded"),
    [
        (image(), False),
        (image(SequenceName="*fl2d1_v150in"), True),
        (image(SequenceName="tfi2d1_12"), False),
        (image(PhaseContrast="YES"), True),
        (image(MRVelocityEncodingSequence=[Dataset()]), True),
    ],
)
def test_velocity_encoding_is_found(made: FileDataset, encoded: bool) -> None:
    assert describe(made).attributes["VelocityEncoding"] is encoded


@pytest.mark.parametrize(("tag", "encoded"), [((0x0019, 0x10CC), True), ((0x0019, 0x10CD), False)])
def test_velocity_encoding_of_private_attributes_is_found(tag: tuple[int, int], encoded: bool) -> None:
    made = image()
    made.add_new(tag, "SS", 150)
    assert describe(made).attributes["VelocityEncoding"] is encoded
    made.add_new(tag, "SS", 0)
    assert describe(made).attributes["VelocityEncoding"] is False


def test_an_inversion_time_of_zero_is_none() -> None:
    """Some scanners write it into every image."""
    assert "InversionTime" not in describe(image(InversionTime=0)).attributes
    assert describe(image(InversionTime=300)).attributes["InversionTime"] == 300
