"""What a result takes over from its sources: plain headers for highdicom, then the original values put back."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from math import dist
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.uid import MRImageStorage
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, VR, DSfloat, PersonName

from contracts.errors import Refused
from contracts.stacks import Plane
from contracts.volumes import Grid

if TYPE_CHECKING:
    from highdicom import SOPClass

LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)


def check_one_patient(headers: Iterable[Dataset]) -> None:
    """Refuse sources that name several patients: a result bears the patient of one of them.

    Raises ``Refused`` ``several_patients``, which names none of them.
    """
    patients = {
        tuple(str(header.get(keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID"))
        for header in headers
    }
    if len(patients) > 1:
        raise Refused(
            "several_patients",
            f"The images of this stack name {len(patients)} different patients (PatientID and its issuer), so that a "
            "mask could be filed under the wrong one; send all of them under one.",
        )


def normalise_for_seg(plane: Plane, grid: Grid, header: Dataset, uid: str) -> Dataset:
    """Return a stand-in for one source plane that highdicom can build on, whatever the source looks like.

    It is a classic single-frame header under the SOP Instance UID ``uid``, with the plane's own position and the
    grid's orientation, spacing and frame of reference (patient coordinates, LPS mm). All stand-ins of a grid form one
    series. What describes patient and study is empty: :func:`restore_study` puts the originals into the result.
    """
    stand_in = Dataset()
    stand_in.SOPClassUID = MRImageStorage
    stand_in.SOPInstanceUID = uid
    stand_in.StudyInstanceUID = stand_in.SeriesInstanceUID = "1.2.3"
    stand_in.Modality = "MR"
    for keyword in EMPTY:
        setattr(stand_in, keyword, "")
    for keyword in LOSSY if _readable(header, "LossyImageCompression") in ("00", "01") else ():
        with suppress(TypeError, ValueError):  # a ratio that is no number
            if keyword in header:
                setattr(stand_in, keyword, _readable(header, keyword))
    stand_in.FrameOfReferenceUID = grid.frame_of_reference_uid
    landmark = "" if grid.frame_of_reference_derived else _readable(header, "PositionReferenceIndicator")
    stand_in.PositionReferenceIndicator = landmark if isinstance(landmark, str) else ""
    stand_in.Rows, stand_in.Columns = grid.rows, grid.columns
    stand_in.ImagePositionPatient = decimals(plane.position)
    stand_in.ImageOrientationPatient = decimals(grid.orientation)
    stand_in.PixelSpacing = decimals(grid.spacing)
    stand_in.SliceThickness = DSfloat(plane.thickness or _nearest_slice(grid), auto_format=True)
    if grid.slice_distance:
        stand_in.SpacingBetweenSlices = DSfloat(grid.slice_distance, auto_format=True)
    return stand_in


def _nearest_slice(grid: Grid) -> float:
    """Return the smallest distance of neighbouring slices in mm: what stands in for a thickness that is not stated,
    which results must state. For one slice alone it is the width of a pixel."""
    gaps = [dist(one, other) for one, other in pairwise(grid.positions)]
    return grid.slice_distance or min(gaps, default=min(grid.spacing))


def _readable(header: Dataset, keyword: str) -> object:
    """Return a value, None where it is missing or cannot be read."""
    with suppress(Exception):
        return header.get(keyword)
    return None


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Return numbers as decimal strings of at most 16 characters (PS3.5 section 6.2)."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def restore_study(result: "SOPClass", header: Dataset) -> None:
    """Put the patient's and the study's attributes of a source into ``result`` as they were received, valid or not.

    With them goes the character set they are written in, and the time zone where the source names one: without it
    none is named in the result either, since the study's times would be given one that nobody stated.
    """
    for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC"):
        result.pop(keyword, None)
        with suppress(Exception):
            if keyword in header:
                result.add(header[keyword])
    copy = _with_undecoded_text(header)
    copy.pop("SOPClassUID", None)  # the element is the header's own, so its value must not be set
    copy.SOPClassUID = MRImageStorage  # one of which highdicom knows the modules
    result.copy_patient_and_study_information(copy)


def _with_undecoded_text(header: Dataset) -> Dataset:
    """Return a copy whose text is the very bytes of the file, as far as nobody has decoded it yet.

    Text that does not keep to its character set would not survive decoding and encoding. What cannot be read is left
    out: a broken sequence of a header is no reason to leave a study without its answer.
    """
    copy = Dataset()
    encodings = convert_encodings(header.get("SpecificCharacterSet") or default_encoding)
    for tag in list(header.keys()):
        raw = header.get_item(tag)
        vr = raw.VR or (dictionary_VR(tag) if dictionary_has_tag(tag) else "UN")
        if not raw.is_raw or not raw.value or vr not in CUSTOMIZABLE_CHARSET_VR or vr == VR.SQ:
            with suppress(Exception):
                copy[tag] = header[tag]
        else:
            value = PersonName(raw.value, encodings) if vr == VR.PN else raw.value
            copy[tag] = DataElement(tag, vr, value, already_converted=True)
    return copy


def reference(plane: Plane, headers: Mapping[str, Dataset]) -> Dataset:
    """Return a reference (PS3.3 Table 10-3) to one source plane: its instance, and its frame where it has several."""
    header = headers[plane.sop_uid]
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = plane.sop_uid
    if int(header.get("NumberOfFrames") or 1) > 1:
        item.ReferencedFrameNumber = plane.frame
    return item


def frames_of(planes: Iterable[Plane], headers: Mapping[str, Dataset]) -> dict[str, list[int] | None]:
    """Return the instances of some planes with their frames, each once; None for those of one frame only."""
    frames: dict[str, list[int] | None] = {}
    for item in (reference(plane, headers) for plane in planes):
        known = frames.setdefault(item.ReferencedSOPInstanceUID, [] if "ReferencedFrameNumber" in item else None)
        if known is not None:
            known.append(int(item.ReferencedFrameNumber))
    return frames
