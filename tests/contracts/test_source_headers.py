"""What results take over from their sources, whatever state it is in."""

import io
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, EnhancedMRImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from contracts.dicom import read_header
from contracts.segmentations import write_segmentation
from contracts.source_headers import normalise_for_seg
from tests.contracts.benches import PROVENANCE, Bench, bench, random_labels

LABELS = random_labels((4, 12, 10), 1)


def result_of(one: Bench) -> Dataset:
    return dcmread(io.BytesIO(write_segmentation(LABELS, one.grid, 0, one.headers, PROVENANCE)))


def first(one: Bench) -> Dataset:
    """Return the header that patient and study are taken from."""
    return one.headers[one.grid.planes[0][0].sop_uid]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 192", "Žluťoučký^Kůň"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люкceмбypг"),
        (None, "Plain^Name"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_names_keep_their_character_set(
    tmp_path: Path, character_set: str | list[str] | None, name: str, syntax: str
) -> None:
    one = bench()
    for uid, header in one.headers.items():
        if character_set is None:
            del header.SpecificCharacterSet
        else:
            header.SpecificCharacterSet = character_set
        header.PatientName = name
        header.PatientComments = name.split("=")[0]
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = UID(syntax)
        header.save_as(tmp_path / f"{uid}.dcm", enforce_file_format=True)
    read = Bench(one.grid, {uid: read_header(tmp_path / f"{uid}.dcm") for uid in one.headers})
    result = result_of(read)
    assert str(result.PatientName) == name
    assert result.PatientComments == name.split("=")[0]
    assert result.get("SpecificCharacterSet") == one.headers[one.grid.planes[0][0].sop_uid].get("SpecificCharacterSet")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_text_that_belies_its_character_set_comes_back_byte_for_byte(tmp_path: Path, syntax: str) -> None:
    one = bench()
    path = tmp_path / "one.dcm"
    header = first(one)
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName, header.PatientComments, header.AccessionNumber = "NAME^N", "COMMENTS", "ACCESS"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.save_as(path, enforce_file_format=True)
    odd = {b"NAME^N": b"M\xfcl^Z\xeb", b"COMMENTS": b"\x8e\xd4\xff\x00 \xb1\xb2 ", b"ACCESS": b"\xd4-\xff7 \xe9"}
    content = path.read_bytes()
    for plain, bad in odd.items():
        content = content.replace(plain, bad)
    path.write_bytes(content)
    read = Bench(one.grid, {**one.headers, str(header.SOPInstanceUID): read_header(path)})
    payload = write_segmentation(LABELS, read.grid, 0, read.headers, PROVENANCE)
    for bad in odd.values():
        assert bad in payload


def test_invalid_uids_and_dates_come_back_byte_for_byte() -> None:
    one = bench(series_of=lambda phase, index: "1.2.0826.00.5")
    for header in one.headers.values():
        header.StudyInstanceUID = "1.2.0826.04"
        header.PatientBirthDate, header.StudyDate, header.StudyTime = "00000000", "20120000", "99"
    payload = write_segmentation(LABELS, one.grid, 0, one.headers, PROVENANCE)
    for verbatim in (b"1.2.0826.04", b"1.2.0826.00.5", b"00000000", b"20120000"):
        assert verbatim in payload
    result = dcmread(io.BytesIO(payload))
    assert result.StudyInstanceUID == "1.2.0826.04"
    assert result.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.0826.00.5"
    assert result.StudyTime == "99"


def test_sequences_of_patient_and_study_are_copied() -> None:
    one = bench()
    issuer, other = Dataset(), Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    other.PatientID, other.TypeOfPatientID = "ALIAS", "TEXT"
    for header in one.headers.values():
        header.IssuerOfAccessionNumberSequence = [issuer]
        header.OtherPatientIDsSequence = [other]
        header.StudyDescription = "Heart"
        header.PatientAge = "054Y"
        header.ClinicalTrialSubjectID = "S-1"
    result = result_of(one)
    assert result.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert result.OtherPatientIDsSequence[0].PatientID == "ALIAS"
    assert (result.StudyDescription, result.PatientAge, result.ClinicalTrialSubjectID) == ("Heart", "054Y", "S-1")


REQUIRED_MAY_BE_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                         "AccessionNumber", "StudyID", "ReferringPhysicianName")  # fmt: skip


def test_missing_attributes_are_present_but_empty_where_the_standard_asks_for_them() -> None:
    one = bench()
    for header in one.headers.values():
        for keyword in REQUIRED_MAY_BE_EMPTY:
            del header[keyword]
    result = result_of(one)
    for keyword in REQUIRED_MAY_BE_EMPTY:
        assert keyword in result
        assert not result[keyword].value


def test_series_and_equipment_of_the_source_are_not_copied() -> None:
    one = bench()
    for header in one.headers.values():
        header.SeriesDescription, header.Manufacturer, header.StationName = "cine", "Maker", "MR1"
        header.add_new((0x0009, 0x0010), "LO", "PRIVATE")
        header.add_new((0x0009, 0x1001), "LO", "secret")
    result = result_of(one)
    assert result.Manufacturer == "segloop"
    assert result.SeriesDescription != "cine"
    assert "StationName" not in result
    assert (0x0009, 0x1001) not in result


def test_a_source_of_an_unknown_class_still_gives_a_result() -> None:
    one = bench()
    for header in one.headers.values():
        header.SOPClassUID = "1.3.12.2.1107.5.9.1"
    result = result_of(one)
    assert result.PatientID == "7"
    assert result.SourceImageSequence[0].ReferencedSOPClassUID == "1.3.12.2.1107.5.9.1"


def test_lossy_sources_are_declared() -> None:
    one = bench()
    for header in one.headers.values():
        header.LossyImageCompression = "01"
        header.LossyImageCompressionRatio, header.LossyImageCompressionMethod = "12.5", "ISO_10918_1"
    result = result_of(one)
    assert (result.LossyImageCompression, float(result.LossyImageCompressionRatio)) == ("01", 12.5)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00081032, "SQ", b"no items here "),  # procedure code
        (0x00081140, "SQ", b"\xff\xfe\xfd\xfc"),  # referenced images, which no result takes over
        (0x00101030, "FD", b"kilo"),  # patient's weight
        (0x00282112, "DS", b"by half "),  # lossy compression ratio
        (0x00282112, "SQ", b""),
        (0x00282110, "DS", b"1\\2 "),  # whether there was lossy compression
        (0x00282114, "DS", b"1 "),  # how
        (0x00201040, "DS", b"1 "),  # a landmark of the frame of reference
        (0x00201040, "FD", b"half"),
        (0x00080201, "SQ", b"\0\0"),  # the time zone
    ],
)
def test_a_value_that_cannot_be_read_is_left_out(tag: int, vr: str, value: bytes) -> None:
    """It describes no pixel and no place, so the study is answered all the same."""
    one = bench()
    for header in one.headers.values():
        header[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    assert result_of(one).PatientID == first(one).PatientID


def test_stand_ins_have_the_grids_geometry_and_know_no_patient() -> None:
    one = bench(row_direction=(0.8, 0.6, 0.0), column_direction=(-0.36, 0.48, -0.8))
    for plane in one.grid.planes[0]:
        stand_in = normalise_for_seg(plane, one.grid, one.headers[plane.sop_uid], "1.2.3.4")
        assert np.allclose([float(x) for x in stand_in.ImagePositionPatient], plane.position, atol=1e-9)
        assert np.allclose([float(x) for x in stand_in.ImageOrientationPatient], one.grid.orientation, atol=1e-9)
        assert all(len(str(x)) <= 16 for x in stand_in.ImagePositionPatient)
        assert stand_in.FrameOfReferenceUID == one.grid.frame_of_reference_uid
        assert not any(stand_in[keyword].value for keyword in ("PatientName", "PatientID", "PatientBirthDate"))


def test_a_derived_frame_of_reference_takes_over_no_landmark_of_another() -> None:
    one = bench()
    derived = bench(frame_of_reference_derived=True)
    for header in (*one.headers.values(), *derived.headers.values()):
        header.PositionReferenceIndicator = "XY"
    assert result_of(one).PositionReferenceIndicator == "XY"
    assert result_of(derived).PositionReferenceIndicator == ""


def test_headers_are_left_as_they_were() -> None:
    one = bench()
    before = {uid: header.to_json() for uid, header in one.headers.items()}
    result_of(one)
    assert {uid: header.to_json() for uid, header in one.headers.items()} == before
    assert first(one).SOPClassUID == "1.2.840.10008.5.1.4.1.1.4"


@pytest.mark.parametrize(
    ("slices", "distance", "stated", "thickness"),
    [(4, 8.0, 6.0, 6.0), (4, 8.0, None, 8.0), (4, None, None, 8.0), (1, None, None, 1.25)],
)
def test_a_thickness_is_always_stated_and_a_slice_distance_where_there_is_one(
    slices: int, distance: float | None, stated: float | None, thickness: float
) -> None:
    one = bench(slices=slices, slice_distance=distance)
    planes = tuple(tuple(replace(plane, thickness=stated) for plane in phase) for phase in one.grid.planes)
    one = Bench(replace(one.grid, planes=planes), one.headers)
    seg = dcmread(io.BytesIO(write_segmentation(LABELS[:slices], one.grid, 0, one.headers, PROVENANCE)))
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == thickness
    assert measures.get("SpacingBetweenSlices") == distance


def test_the_headers_of_the_sources_stay_as_they_are() -> None:
    """An enhanced source serves all phases: what one result changed in its header would stand in the next."""
    one = bench(enhanced=True)
    before = {uid: deepcopy(header) for uid, header in one.headers.items()}
    named = set()
    for phase in range(one.grid.phases):
        result = dcmread(io.BytesIO(write_segmentation(LABELS, one.grid, phase, one.headers, PROVENANCE)))
        named |= {item.ReferencedSOPClassUID for item in result.SourceImageSequence}
    assert one.headers == before
    assert named == {EnhancedMRImageStorage}
