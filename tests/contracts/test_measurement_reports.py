"""Laws of reports: the JSON's values, the segments and images they were counted in, the same bytes."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from contracts.errors import Broken
from contracts.measurement_reports import INVALID_UIDS, PURPOSE, report_uids, reportable, write_report
from contracts.measurements import Measurements, measure
from contracts.provenance import Provenance
from contracts.segmentations import result_uids, write_segmentation
from tests.contracts.benches import PROVENANCE, Bench, bench
from tests.interop.reports import beating, groups, in_json, in_report

ROOT = Path(__file__).resolve().parents[2]

LARGE = {"rows": 40, "columns": 40, "slices": 8, "spacing": (2.4, 2.4)}
"""A bench on whose planes a heart has plausible measures."""


def written(one: Bench, figures: Measurements | None = None, provenance: Provenance = PROVENANCE) -> bytes:
    figures = figures or measure(beating(one), one.grid.voxel_mm3)
    return write_report(figures, one.grid, one.headers, provenance)


def read(payload: bytes) -> hd.sr.Comprehensive3DSR:
    report = hd.sr.srread(io.BytesIO(payload))
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    return report


def items(dataset: Dataset) -> Iterator[Dataset]:
    """Give all content items below one."""
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def comments(dataset: Dataset) -> list[str]:
    return [item.TextValue for item in items(dataset) if item.ConceptNameCodeSequence[0].CodeMeaning == "Comment"]


def evidence(report: Dataset) -> dict[str, set[str]]:
    """Return the referenced objects of the evidence by series."""
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID
    return {
        str(series.SeriesInstanceUID): {str(item.ReferencedSOPInstanceUID) for item in series.ReferencedSOPSequence}
        for series in study.ReferencedSeriesSequence
    }


@pytest.mark.parametrize("changes", [{}, {"spacing_invented": True}, {"slice_distance": None}])
def test_values_are_those_of_the_json(changes: dict[str, object]) -> None:
    one = bench(**LARGE, **changes)  # type: ignore[arg-type]
    figures = measure(beating(one), one.grid.voxel_mm3)
    assert in_report(read(written(one, figures))) == in_json(figures.to_json())


def test_without_a_spacing_there_is_no_millilitre_and_no_gram() -> None:
    report = read(written(bench(**LARGE, spacing_invented=True)))  # type: ignore[arg-type]
    assert {unit for _, unit, _ in in_report(report)} == {"{voxels}", "%"}
    assert not any("g/mL" in str(item.get("TextValue")) for item in items(report))
    assert "voxels" in comments(report)[-1]
    assert "invented" in comments(report)[-1]


def test_each_group_references_its_segment_and_the_images_that_was_made_from() -> None:
    one = bench(**LARGE)  # type: ignore[arg-type]
    labels = beating(one)
    report = read(written(one))
    segs = [
        dcmread(io.BytesIO(write_segmentation(labels[phase], one.grid, phase, one.headers, PROVENANCE)))
        for phase in (0, 1)
    ]
    found = []
    for group in groups(report)[:-1]:
        assert isinstance(group, hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations)
        referenced = group.referenced_segment
        assert referenced is not None
        (seg,) = [seg for seg in segs if seg.SOPInstanceUID == referenced.referenced_sop_instance_uid]
        (number,) = referenced[0].referenced_segment_numbers
        segment = seg.SegmentSequence[number - 1]
        assert (group.tracking_uid, group.tracking_identifier) == (segment.TrackingUID, segment.TrackingID)
        assert group.finding_type == hd.sr.CodedConcept.from_dataset(segment.SegmentedPropertyTypeCodeSequence[0])
        sources = {str(item.ReferencedSOPInstanceUID) for item in seg.SourceImageSequence}
        named = referenced.source_images_for_segmentation
        assert {str(image.referenced_sop_instance_uid) for image in named} == sources
        (point,) = group.get_qualitative_evaluations(name=codes.SCT.CardiovascularCyclePoint)
        found.append((segs.index(seg), number, point.value.meaning))
    assert found == [
        (0, 3, "End diastole"),
        (1, 3, "End Systole"),
        (0, 2, "End diastole"),
        (0, 1, "End diastole"),
        (1, 1, "End Systole"),
    ]


def test_stroke_volume_and_ejection_fraction_reference_the_cavity_of_both_phases() -> None:
    *_, function = groups(read(written(bench())))
    assert isinstance(function, hd.sr.MeasurementsAndQualitativeEvaluations)
    assert [figure.name.value for figure in function.get_measurements()] == ["90096001", "8811-2"]
    named = [(str(one.referenced_sop_instance_uid), one.referenced_segment_numbers) for one in function.source_images]
    assert named == [(result_uids(PROVENANCE, phase).sop_uid, [3]) for phase in (0, 1)]


def test_the_evidence_is_both_segmentations_and_all_their_sources_by_series() -> None:
    one = bench(series_of=lambda phase, index: f"1.2.826.0.1.5.0{index // 2}", phases=3)
    report = read(written(one))
    figures = measure(beating(one), one.grid.voxel_mm3)
    expected = {result_uids(PROVENANCE, 0).series_uid: {result_uids(PROVENANCE, p).sop_uid for p in (0, figures.es)}}
    for phase in (0, figures.es):
        for plane in one.grid.planes[phase]:
            expected.setdefault(plane.series_uid, set()).add(plane.sop_uid)
    assert evidence(report) == expected
    assert len(expected) == 3


def test_frames_of_an_enhanced_source_are_named() -> None:
    one = bench(enhanced=True)
    for group, phase in zip(groups(read(written(one))), (0, 1, 0, 0, 1), strict=False):
        assert isinstance(group, hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations)
        assert group.referenced_segment is not None
        (image,) = group.referenced_segment.source_images_for_segmentation
        assert image.referenced_frame_numbers == [plane.frame for plane in one.grid.planes[phase]]


def test_images_without_a_valid_uid_stand_in_the_evidence_only() -> None:
    """DCMTK reads no document with such a UID in its content; where there is no other image, it has to stand."""
    one = bench()
    for odd in (2, 4):  # of the four slices of each phase
        renamed = [
            tuple(replace(plane, sop_uid=f"1.2.0{plane.sop_uid}") if k < odd else plane for k, plane in enumerate(row))
            for row in one.grid.planes
        ]
        headers = {}
        for row in renamed:
            for plane in row:
                header = one.headers[plane.sop_uid.removeprefix("1.2.0")]
                headers[plane.sop_uid] = header
        report = read(written(Bench(replace(one.grid, planes=tuple(renamed)), headers)))
        assert set().union(*evidence(report).values()) >= set(headers)
        assert INVALID_UIDS in comments(report)[-1]
        group = groups(report)[0]
        assert isinstance(group, hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations)
        assert group.referenced_segment is not None
        named = [
            str(image.referenced_sop_instance_uid) for image in group.referenced_segment.source_images_for_segmentation
        ]
        assert named == [plane.sop_uid for plane in renamed[0] if odd == 4 or not plane.sop_uid.startswith("1.2.0")]


def test_implausible_values_are_marked_and_no_others() -> None:
    one = bench(**LARGE)  # type: ignore[arg-type]
    labels = beating(one)
    plausible = measure(labels, one.grid.voxel_mm3)
    assert plausible.implausible == ()
    labels[1] = labels[0]
    still = measure(labels, one.grid.voxel_mm3)
    for figures, expected in ((plausible, []), (still, ["Stroke Volume", "Left ventricular ejection fraction by MR"])):
        report = read(written(one, figures))
        found = [figure for group in groups(report) for figure in group.get_measurements() if figure.qualifier]
        assert [figure.name.meaning for figure in found] == expected
        assert {figure.qualifier.value for figure in found} <= {"114009"}  # value out of range
        assert len(comments(report)) == 1 + bool(expected)
    assert "ejection fraction 0.0 % (5 to 90)" in comments(report)[0]


def test_the_report_says_what_made_it_and_that_nobody_verified_it() -> None:
    report = read(written(bench()))
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert (report.Modality, report.Manufacturer) == ("SR", "segloop")
    assert "research use only" in report.SeriesDescription
    assert comments(report)[-1].startswith(PURPOSE)
    texts = {(item.ConceptNameCodeSequence[0].CodeMeaning, item.get("TextValue")) for item in items(report)}
    assert ("Algorithm Name", PROVENANCE.algorithm_name) in texts
    assert ("Algorithm Version", PROVENANCE.algorithm_version) in texts
    assert ("Device Observer Name", PROVENANCE.algorithm_name) in texts
    assert any(name == "Algorithm Parameters" and PROVENANCE.model_digest in text for name, text in texts)
    (template,) = report.ContentTemplateSequence
    assert template.TemplateIdentifier == "1500"


def test_patient_and_study_are_those_of_the_segmentation() -> None:
    one = bench()
    before = {uid: header.to_json() for uid, header in one.headers.items()}
    payload = written(one)
    report = read(payload)
    header = one.headers[one.grid.planes[0][0].sop_uid]
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                    "StudyTime", "StudyInstanceUID", "AccessionNumber", "StudyID", "SpecificCharacterSet"):  # fmt: skip
        assert report[keyword].value == header[keyword].value, keyword
    assert "Müller^Zoë".encode("latin-1") in payload
    assert b"00000000" in payload
    assert {uid: header.to_json() for uid, header in one.headers.items()} == before


def test_all_times_are_that_of_completeness() -> None:
    report = read(written(bench()))
    for what in ("Content", "Series", "InstanceCreation"):
        assert (report[f"{what}Date"].value, report[f"{what}Time"].value) == ("20231114", "221320.250000")


def test_superseded_reports_are_named() -> None:
    provenance = replace(PROVENANCE, predecessors=("2.25.11",), predecessor_series="2.25.13")
    report = read(written(bench(), provenance=provenance))
    (study,) = report.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (item,) = series.ReferencedSOPSequence
    assert (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID) == ("2.25.13", "2.25.11")
    assert item.ReferencedSOPClassUID == report.SOPClassUID
    assert report.SOPInstanceUID == report_uids(PROVENANCE).sop_uid


def test_a_report_stands_in_a_series_of_its_own_and_its_uids_change_with_the_work() -> None:
    report, uids = read(written(bench())), report_uids(PROVENANCE)
    assert (report.SOPInstanceUID, report.SeriesInstanceUID) == (uids.sop_uid, uids.series_uid)
    seg, other = result_uids(PROVENANCE, 0), report_uids(replace(PROVENANCE, stack_digest="ef"))
    assert not {uids.sop_uid, uids.series_uid, uids.function_uid} & {
        *(seg.sop_uid, seg.series_uid, seg.dimension_organization_uid, *seg.tracking_uids.values()),
        *(other.sop_uid, other.series_uid, other.function_uid),
    }


def test_two_processes_one_after_the_other_write_the_same_bytes() -> None:
    code = (
        "import sys; from tests.contracts.benches import *; from tests.contracts.test_measurement_reports import *;"
        "sys.stdout.buffer.write(written(bench()))"
    )
    files = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout for _ in range(2)
    ]
    assert len({hashlib.sha256(payload).hexdigest() for payload in [*files, written(bench())]}) == 1


def test_end_diastole_and_end_systole_may_be_one_phase() -> None:
    one = bench(phases=1)
    report = read(written(one))
    *_, function = groups(report)
    assert isinstance(function, hd.sr.MeasurementsAndQualitativeEvaluations)
    assert len(function.source_images) == 1
    assert len(groups(report)) == 6


@pytest.mark.parametrize("phase", [0, 1])
def test_without_a_segmentation_of_both_phases_there_is_no_report(phase: int) -> None:
    one = bench()
    labels = np.zeros((2, 4, 12, 10), np.uint8)
    labels[phase] = beating(one)[0]
    if phase == 1:
        labels[1][labels[1] == 3] = 2  # no cavity anywhere: the first, empty phase stands for both
    figures = measure(labels, one.grid.voxel_mm3)
    assert not reportable(figures)
    with pytest.raises(Broken) as caught:
        written(one, figures)
    assert caught.value.code == "nothing_to_report"
