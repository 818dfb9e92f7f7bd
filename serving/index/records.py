"""From a header to what the index remembers: attributes of each level as DICOM JSON (PS3.18 Annex F)."""

import json

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

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
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in header:
            continue
        try:
            value = header[tag].to_json_dict(None, 1024)
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
            found[f"{tag:08X}"] = value
        except Exception:  # noqa: S112 - values of others raise almost anything
            continue
    if "00080005" in found:
        found["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # JSON is UTF-8, whatever the object is
    return found
