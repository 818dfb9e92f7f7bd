"""What rules may ask of a stack."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

from contracts.describe import describe
from contracts.features import features_of
from tests.builders import AXIAL, FOUR_CHAMBER, SHORT_AXIS, Exam


def features(images: list[FileDataset]) -> dict[str, object]:
    """The features of some images."""
    return features_of([describe(image) for image in images])


@settings(max_examples=20, deadline=None)
@given(
    slices=st.integers(2, 8),
    phases=st.integers(2, 6),
    distance=st.sampled_from([3.0, 8.0, 10.0]),
    interval=st.sampled_from([20.0, 37.5, 800.0]),
)
def test_geometry_and_time_are_measured(slices: int, phases: int, distance: float, interval: float) -> None:
    found = features(Exam().stack(slices, phases, distance=distance, interval_ms=interval))
    assert (found["positions"], found["images_per_position"], found["images"]) == (slices, phases, slices * phases)
    assert found["slice_distance_mm"] == pytest.approx(distance, abs=0.01)
    assert found["phase_interval_ms"] == pytest.approx(interval)
    assert (found["row_spacing_mm"], found["field_of_view_mm"]) == (1.5, 36.0)


@pytest.mark.parametrize(
    ("orientation", "long_axis", "body_axis"), [(SHORT_AXIS, 0, 65), (FOUR_CHAMBER, 90, 30.5), (AXIAL, 65, 0)]
)
def test_angles_do_not_depend_on_the_sign_of_the_normal(orientation: Any, long_axis: float, body_axis: float) -> None:
    for sign in (1, -1):
        turned = tuple(sign * cosine for cosine in orientation[:3]) + orientation[3:]
        found = features(Exam().stack(2, 1, orientation=turned))
        assert found["angle_to_long_axis_deg"] == pytest.approx(long_axis, abs=1.5)
        assert found["angle_to_body_axis_deg"] == pytest.approx(body_axis, abs=1.5)


@pytest.mark.parametrize(
    ("first", "last", "seconds"), [("102000", "102055.5", 55.5), ("235958", "000001", 3), ("", "", None)]
)
def test_the_span_of_a_position_goes_past_midnight(first: str, last: str, seconds: float | None) -> None:
    images = Exam().stack(1, 2)
    images[0].AcquisitionTime, images[1].AcquisitionTime = first, last
    assert features(images)["span_s"] == seconds


def test_what_is_unknown_is_none_or_absent() -> None:
    found = features(Exam().stack(1, 1, TriggerTime=None, CardiacNumberOfImages=None))
    assert found["slice_distance_mm"] is None
    assert found["phase_interval_ms"] is None
    assert "CardiacNumberOfImages" not in found
    assert "positions" not in features([Exam().screenshot()])


def test_attributes_that_differ_become_the_list_of_their_values() -> None:
    images = Exam().stack(1, 3)
    for image, echo in zip(images, (1.4, 2.8, 1.4), strict=True):
        image.EchoTime = echo
    images[2].ImageType = ["DERIVED", "PRIMARY", "P"]
    found = features(images)
    assert found["EchoTime"] == [1.4, 2.8]
    assert found["ImageType"] == ["ORIGINAL", "PRIMARY", "M", "DERIVED", "P"]
    assert found["FlipAngle"] == 50
