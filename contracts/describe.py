"""From a DICOM header to an :class:`~contracts.instances.Instance`. Nothing here raises: what is wrong is noted."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from contracts.dicom import IDENTITY, PixelElement, pixel_element, settle
from contracts.instances import Cosines, Instance, Plane, Vector
from contracts.named import organs_named
from contracts.photographs import (
    LARGEST_PHOTOGRAPH,
    colour_problem,
    is_photograph,
    photograph_planes,
    pixel_spacing,
)
from contracts.values import count_of, first_item, group_of, number_of, numbers_of, plain, text_of, whole_of

LARGEST_PLANE = 2**24
"""Pixels of the largest plane that is ever decoded (4096 x 4096), whatever its header claims."""

FINEST_MM, COARSEST_MM, FARTHEST_MM = 1e-4, 1e3, 1e6
"""Pixel spacings and positions beyond these are no measurements of a patient; figures made from them overflow."""

KEYWORDS = (
    "ImageType",
    "ScanningSequence",
    "SequenceVariant",
    "SequenceName",
    "MRAcquisitionType",
    "EchoTime",
    "EchoTrainLength",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "CardiacNumberOfImages",
    "NumberOfTemporalPositions",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "Manufacturer",
    "BodyPartExamined",
    "ComplexImageComponent",
    "AcquisitionContrast",
    "Tagging",
    "ConversionType",
    "SeriesNumber",
)
"""Attributes kept for rules. Free texts are not among them: people write names and dates into them."""

_IMAGE_NAME = re.compile(r"Image Storage|^Segmentation Storage")
_VELOCITY_NAME = re.compile(r"_v\d+(in|through|fh|hf|rl|lr|ap|pa|tp)?\b", re.IGNORECASE)
_GE_VENC = (0x0019, 0x10CC)
_PHILIPS_VENC = (0x2001, 0x101A)


def describe(header: Dataset) -> Instance:
    """Return what segloop remembers of an instance, classic or enhanced multi-frame (PS3.3 section C.7.6.16).

    ``header`` comes from :func:`contracts.dicom.read_header`, or is a whole data set. Never raises for what the header
    holds; the first thing that rules out segmentation becomes ``problem``.
    """
    settle()
    try:
        return _describe(header)
    except Exception as error:  # a value that pydicom cannot convert may raise anything
        sentence = f"The header holds a value that cannot be read ({type(error).__name__}); send a repaired copy."
        return Instance(**_identity(header), problem=("bad_header", sentence))


def _identity(header: Dataset) -> dict[str, Any]:
    named = {key: value for key in IDENTITY if isinstance(value := header.get(key), str)}
    return {
        "sop_uid": str(named.get("SOPInstanceUID", "")),
        "series_uid": str(named.get("SeriesInstanceUID", "")),
        "study_uid": str(named.get("StudyInstanceUID", "")),
        "sop_class_uid": str(named.get("SOPClassUID", "")),
        "modality": "",
        "rows": 0,
        "columns": 0,
        "frame_of_reference_uid": "",
        "planes": (),
    }


def _describe(header: Dataset) -> Instance:
    pixels = pixel_element(header)
    image, photograph = _is_image(header, pixels), is_photograph(header)
    planes, problem = _photograph(header, pixels) if photograph else _placed(header, pixels) if image else ((), None)
    return Instance(
        **_identity(header)
        | {
            "modality": text_of(header, "Modality"),
            "rows": count_of(header, "Rows"),
            "columns": count_of(header, "Columns"),
            "frame_of_reference_uid": text_of(header, "FrameOfReferenceUID"),
            "planes": planes,
        },
        attributes=_attributes(header, photograph),
        problem=problem,
        photograph=photograph,
    )


_Told = tuple[tuple[Plane, ...], tuple[str, str] | None]
"""The planes of an image and what rules out its segmentation."""


def _photograph(header: Dataset, pixels: PixelElement | None) -> _Told:
    problem = _pixel_problem(header, pixels, LARGEST_PHOTOGRAPH) or colour_problem(header)
    frames = 1 if problem else count_of(header, "NumberOfFrames", 1)  # a number that nobody checked may be any
    return photograph_planes(header, frames), problem


def _placed(header: Dataset, pixels: PixelElement | None) -> _Told:
    planes, missing = _planes(header)
    return planes, _pixel_problem(header, pixels, LARGEST_PLANE) or _place_problem(missing)


def _is_image(header: Dataset, pixels: PixelElement | None) -> bool:
    name = UID(text_of(header, "SOPClassUID")).name
    return pixels is not None or "Rows" in header or bool(_IMAGE_NAME.search(name))


def _pixel_problem(header: Dataset, pixels: PixelElement | None, largest: int) -> tuple[str, str] | None:
    """What is wrong with the pixels as the header tells it; sizes are compared before anything is allocated."""
    rows, columns = count_of(header, "Rows"), count_of(header, "Columns")
    if pixels is None or not rows or not columns:
        return "no_pixel_data", "An image has no pixel data, or no Rows and Columns; send the complete images."
    if pixels.keyword != "PixelData":
        return "float_pixels", f"The pixels are floating-point numbers ({pixels.keyword}); send the integer images."
    if rows * columns > largest:
        most = f"images of up to {largest // 2**20} million pixels are processed"
        return "too_large", f"The header claims {rows} x {columns} pixels; {most}."
    short = _shortfall(header, pixels)
    if short:
        return "pixel_data_short", short
    grey = text_of(header, "PhotometricInterpretation") in ("", "MONOCHROME1", "MONOCHROME2")
    if text_of(header, "Modality") == "MR" and (count_of(header, "SamplesPerPixel", 1) != 1 or not grey):
        return "colour_pixels", "The images are in colour, where MR has one grey value a pixel; send the originals."
    return None


def _shortfall(header: Dataset, pixels: PixelElement) -> str:
    frames = count_of(header, "NumberOfFrames", 1)
    if pixels.length is None:
        if pixels.fragments >= frames:
            return ""
        return f"The header claims {frames} frames, the compressed pixel data hold {pixels.fragments}; send it whole."
    samples, bits = count_of(header, "SamplesPerPixel", 1), count_of(header, "BitsAllocated", 16)
    needed = (count_of(header, "Rows") * count_of(header, "Columns") * samples * frames * bits + 7) // 8
    if "422" in text_of(header, "PhotometricInterpretation"):
        needed = needed * 2 // 3
    if pixels.length >= needed:
        return ""
    return f"The header claims {needed} bytes of pixels but {pixels.length} are there; send the complete image."


def _place_problem(missing: str) -> tuple[str, str] | None:
    if not missing:
        return None
    return "no_geometry", f"The place of the image in the patient is unknown: {missing} is missing or senseless."


def _planes(header: Dataset) -> tuple[tuple[Plane, ...], str]:
    """All planes of an image, or none and the name of the attribute that is missing."""
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(shared) or any(len(groups) for groups in per_frame):
        return _enhanced_planes(header, shared, per_frame)
    return _classic_planes(header)


def _classic_planes(header: Dataset) -> tuple[tuple[Plane, ...], str]:
    place = _place(header, header, header)
    if isinstance(place, str):
        return (), place
    if count_of(header, "NumberOfFrames", 1) > 1:
        return (), "PerFrameFunctionalGroupsSequence"
    trigger = number_of(header.get("TriggerTime"))
    plane = _plane(
        header,
        1,
        place,
        thickness=number_of(header.get("SliceThickness")),
        trigger_time=trigger if trigger is not None else number_of(header.get("NominalCardiacTriggerDelayTime")),
        temporal_position=whole_of(header, "TemporalPositionIdentifier"),
        acquired_s=_seconds(text_of(header, "AcquisitionTime") or text_of(header, "AcquisitionDateTime")[8:]),
    )
    return (plane,), ""


def _enhanced_planes(header: Dataset, shared: Dataset, per_frame: Sequence[Dataset]) -> tuple[tuple[Plane, ...], str]:
    frames = count_of(header, "NumberOfFrames", 1)
    if len(per_frame) != frames:
        return (), "PerFrameFunctionalGroupsSequence (one item a frame)"
    planes: list[Plane] = []
    for number, own in enumerate(per_frame, start=1):
        plane = _frame_plane(header, number, (own, shared))
        if isinstance(plane, str):
            return (), plane
        planes.append(plane)
    return tuple(planes), ""


def _frame_plane(header: Dataset, number: int, groups: Sequence[Dataset]) -> Plane | str:
    measures = group_of(groups, "PixelMeasuresSequence")
    place = _place(group_of(groups, "PlanePositionSequence"), group_of(groups, "PlaneOrientationSequence"), measures)
    if isinstance(place, str):
        return place
    content = group_of(groups, "FrameContentSequence")
    trigger = group_of(groups, "CardiacSynchronizationSequence").get("NominalCardiacTriggerDelayTime")
    moment = text_of(content, "FrameAcquisitionDateTime") or text_of(content, "FrameReferenceDateTime")
    return _plane(
        header,
        number,
        place,
        thickness=number_of(measures.get("SliceThickness")),
        trigger_time=number_of(trigger),
        temporal_position=whole_of(content, "TemporalPositionIndex"),
        acquired_s=_seconds(moment[8:]),
    )


_Place = tuple[Vector, Cosines, tuple[float, float]]


def _plane(
    header: Dataset,
    frame: int,
    place: _Place,
    *,
    thickness: float | None,
    trigger_time: float | None,
    temporal_position: int | None,
    acquired_s: float | None,
) -> Plane:
    position, orientation, spacing = place
    return Plane(
        sop_uid=text_of(header, "SOPInstanceUID"),
        series_uid=text_of(header, "SeriesInstanceUID"),
        frame=frame,
        position=position,
        orientation=orientation,
        spacing=spacing,
        thickness=thickness if thickness is not None and FINEST_MM <= thickness <= COARSEST_MM else None,
        trigger_time=trigger_time,
        temporal_position=temporal_position,
        instance_number=whole_of(header, "InstanceNumber"),
        acquired_s=acquired_s,
    )


def _place(position_of: Dataset, orientation_of: Dataset, spacing_of: Dataset) -> _Place | str:
    """Position, orientation and spacing of a plane, or the keyword of the first that is missing or senseless."""
    position = numbers_of(position_of.get("ImagePositionPatient"), 3)
    if position is None or max(map(abs, position)) > FARTHEST_MM:
        return "ImagePositionPatient"
    cosines = numbers_of(orientation_of.get("ImageOrientationPatient"), 6)
    if cosines is None or not _orthonormal(cosines):
        return "ImageOrientationPatient"
    spacing = numbers_of(spacing_of.get("PixelSpacing"), 2)
    if spacing is None or not all(FINEST_MM <= value <= COARSEST_MM for value in spacing):
        return "PixelSpacing"
    return (*position,), (*cosines,), (*spacing,)  # type: ignore[return-value]


def _orthonormal(cosines: tuple[float, ...]) -> bool:
    """Whether two directions are of unit length and perpendicular, within what rounding to four digits allows."""
    row, column = cosines[:3], cosines[3:]
    lengths = (math.hypot(*row), math.hypot(*column))
    across = sum(r * c for r, c in zip(row, column, strict=True))
    return all(abs(length - 1) < 1e-2 for length in lengths) and abs(across) < 1e-2


def _seconds(time: str) -> float | None:
    """Seconds of the day of a DICOM TM value (``HHMMSS.FFFFFF``, older ``HH:MM:SS``); None for what is none."""
    digits = time.replace(":", "").split("+")[0].split("-")[0]
    if not re.fullmatch(r"\d{6}(\.\d*)?", digits):
        return None
    return int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + float(digits[4:])


def _attributes(header: Dataset, photograph: bool) -> Mapping[str, object]:
    attributes = {key: plain(value) for key in KEYWORDS if (value := header.get(key)) not in (None, "")}
    attributes.update(_enhanced_attributes(header))
    if not attributes.get("InversionTime"):  # some scanners write 0 where there is no inversion
        attributes.pop("InversionTime", None)
    attributes["ContrastAgent"] = bool(header.get("ContrastBolusAgent") or header.get("ContrastBolusAgentSequence"))
    attributes["SpacingInvented"] = "spacing invented" in text_of(header, "ImageComments").lower() or (
        photograph and pixel_spacing(header) is None
    )
    attributes["VelocityEncoding"] = _is_velocity_encoded(header, attributes)
    attributes.update(organs_named(header))
    return attributes


_ENHANCED: tuple[tuple[str, str, str], ...] = (
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    ("MRTimingAndRelatedParametersSequence", "EchoTrainLength", "EchoTrainLength"),
    ("MRModifierSequence", "Tagging", "Tagging"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent", "ComplexImageComponent"),
    ("MRImageFrameTypeSequence", "AcquisitionContrast", "AcquisitionContrast"),
)


def _enhanced_attributes(header: Dataset) -> dict[str, object]:
    """Attributes of an enhanced object under the names that classic ones have; frame types join ImageType."""
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    frames = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    groups = [*frames[:1], shared]
    found: dict[str, object] = {}
    for sequence, keyword, name in _ENHANCED:
        value = group_of(groups, sequence).get(keyword)
        if value not in (None, ""):
            found[name] = plain(value)
    modifier = group_of(groups, "MRModifierSequence")
    if text_of(modifier, "InversionRecovery") == "YES":
        times = modifier.get("InversionTimes")
        found["InversionTime"] = plain(times) if times else True
    kinds = [group_of([group], "MRImageFrameTypeSequence") for group in (*frames, shared)]
    types = {str(word) for kind in kinds for word in kind.get("FrameType") or []}
    if types:
        found["ImageType"] = sorted(types | {str(word) for word in header.get("ImageType") or []})
    return found


def _is_velocity_encoded(header: Dataset, attributes: Mapping[str, object]) -> bool:
    """Whether an image encodes velocity: enhanced attributes, or what three vendors write into classic ones."""
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    frames = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    if text_of(header, "PhaseContrast") == "YES" or any(
        "MRVelocityEncodingSequence" in group for group in (header, shared, *frames[:1])
    ):
        return True
    if _VELOCITY_NAME.search(str(attributes.get("SequenceName", ""))):
        return True
    return any(_largest(header, tag) > 0 for tag in (_GE_VENC, _PHILIPS_VENC))


def _largest(header: Dataset, tag: tuple[int, int]) -> float:
    """Largest number of a private element, 0 where it is absent or unreadable."""
    element: Any = header.get(tag)
    value = getattr(element, "value", None)
    items = value if isinstance(value, MultiValue | list | tuple) else [value]
    return max((abs(n) for item in items if (n := number_of(item)) is not None), default=0.0)
