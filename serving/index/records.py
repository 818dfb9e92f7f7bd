"""From a header to what the index remembers: attributes of each level as DICOM JSON (PS3.18 Annex F)."""

import json
from collections.abc import Callable
from functools import cache, lru_cache

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from contracts.headers import convert, stands_alone

STUDY = [
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "TimezoneOffsetFromUTC",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
]
SERIES = [
    "SeriesDate",
    "SeriesTime",
    "Modality",
    "SeriesDescription",
    "BodyPartExamined",
    "ProtocolName",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Laterality",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
]
INSTANCE = [
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "ContentDate",
    "ContentTime",
    "InstanceNumber",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "ContentLabel",
    "ContentDescription",
]


def attributes(header: Dataset, keywords: list[str]) -> dict[str, object]:
    """Return those of the attributes that the header has, as DICOM JSON by tag (``"00100020"``).

    A value that cannot be put into JSON (a text where a number must stand, a number that is none) is left out: the
    object keeps it, and one such value must not spoil the answer to a search over all studies.
    """
    found: dict[str, object] = {}
    for keyword in keywords:
        tag = _tag(keyword)
        if tag not in header:
            continue
        raw = header.get_item(tag)
        if stands_alone(raw):
            value = _same_json(tag, str(raw.VR), raw.value or b"", raw.is_little_endian)
        else:
            value = _json(header.__getitem__, tag)
        if value is not None:
            found[f"{tag:08X}"] = value
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8, whatever the object is
    return found


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


@lru_cache(maxsize=4096)
def _same_json(tag: BaseTag, vr: str, value: bytes, little_endian: bool) -> dict[str, object] | None:
    return _json(lambda _: convert(tag, vr, value, little_endian), tag)


def _json(element: Callable[[BaseTag], DataElement], tag: BaseTag) -> dict[str, object] | None:
    try:
        value: dict[str, object] = element(tag).to_json_dict(None, 1024)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except Exception:  # values of others raise almost anything
        return None
    return value
