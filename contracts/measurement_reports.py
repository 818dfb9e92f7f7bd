"""Measurements as a DICOM structured report: Comprehensive 3D SR (PS3.3 section A.35.13), template TID 1500 (PS3.16).

What is measured in one phase stands in a group of its own for each structure (TID 1411), which references the segment
it was counted in and the images that was made from. What compares end-diastole and end-systole stands in one further
group (TID 1501), whose sources are the segments of both phases: TID 1411 takes one segment only. Concepts are those
of PS3.16: CID 3833 and 3835 for ventricles, CID 12233 for points of the cardiac cycle, CID 7474 for the method.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage

from contracts import identifiers
from contracts.dicom import quiet
from contracts.errors import Broken
from contracts.identifiers import derive_uid
from contracts.measurements import LV, MYOCARDIUM, MYOCARDIUM_G_PER_ML, RV, Measurements
from contracts.provenance import Provenance, file_of, stamp
from contracts.segmentations import SPACING_INVENTED, concept, result_uids
from contracts.source_headers import EMPTY, frames_of, restore_study
from contracts.tasks import LABELS
from contracts.volumes import Grid

SERIES_NUMBER = 901
PURPOSE = "Research use only. Made by a program, verified by nobody."
NO_VOLUMES = "Sizes are counts of voxels: the distances of the source images are not known."
INVALID_UIDS = "Source images whose UID is not valid are named among the evidence, but not in each group."

_Concept = sr.CodedConcept
_CARDIAC_MR = _Concept("241620005", "SCT", "Magnetic resonance imaging of heart")
_CYCLE_POINT = _Concept("272518008", "SCT", "Cardiac Cycle Point")
_ED = _Concept("416190007", "SCT", "End diastole")
_ES = _Concept("416430001", "SCT", "End Systole")
_LV_ED = _Concept("8821-1", "LN", "Left Ventricular ED Volume")
_LV_ES = _Concept("8823-7", "LN", "Left Ventricular ES Volume")
_RV_ED = _Concept("8822-9", "LN", "Right Ventricular ED Volume")
_RV_ES = _Concept("8824-5", "LN", "Right Ventricular ES Volume")
_WALL_VOLUME = _Concept("122446", "DCM", "Wall Volume")
_WALL_MASS = _Concept("122447", "DCM", "Wall Mass")
_STROKE = _Concept("90096001", "SCT", "Stroke Volume")
_EJECTION = _Concept("8811-2", "LN", "Left ventricular ejection fraction by MR")
_VOXEL_SUM = _Concept("126030", "DCM", "Sum of segmented voxel method for volume")

_MILLILITRES = _Concept("mL", "UCUM", "milliliter")
_GRAMS = _Concept("g", "UCUM", "gram")
_PERCENT = _Concept("%", "UCUM", "percent")
_VOXELS = _Concept("{voxels}", "UCUM", "voxels")

_FIGURES = {
    "edv_ml": (_LV_ED, _MILLILITRES),
    "edv_voxels": (_LV_ED, _VOXELS),
    "esv_ml": (_LV_ES, _MILLILITRES),
    "esv_voxels": (_LV_ES, _VOXELS),
    "rv_edv_ml": (_RV_ED, _MILLILITRES),
    "rv_edv_voxels": (_RV_ED, _VOXELS),
    "rv_esv_ml": (_RV_ES, _MILLILITRES),
    "rv_esv_voxels": (_RV_ES, _VOXELS),
    "lv_myocardium_ml": (_WALL_VOLUME, _MILLILITRES),
    "lv_mass_voxels": (_WALL_VOLUME, _VOXELS),
    "lv_mass_g": (_WALL_MASS, _GRAMS),
    "sv_ml": (_STROKE, _MILLILITRES),
    "sv_voxels": (_STROKE, _VOXELS),
    "ef_percent": (_EJECTION, _PERCENT),
}
"""Concept and unit of each figure."""

_GROUPS = (
    (LV, _ED, ("edv_ml", "edv_voxels")),
    (LV, _ES, ("esv_ml", "esv_voxels")),
    (MYOCARDIUM, _ED, ("lv_myocardium_ml", "lv_mass_g", "lv_mass_voxels")),
    (RV, _ED, ("rv_edv_ml", "rv_edv_voxels")),
    (RV, _ES, ("rv_esv_ml", "rv_esv_voxels")),
)
"""Structure, point of the cycle and figures of each group; those that the measurements have not are left out."""

_FUNCTION = ("sv_ml", "sv_voxels", "ef_percent", "lv_curve_jump_percent")
"""What takes both phases."""


@dataclass(frozen=True)
class ReportUids:
    """UIDs of a report: its own, its series', and the one under which the ventricle's function is tracked."""

    sop_uid: str
    series_uid: str
    function_uid: str


def report_uids(provenance: Provenance) -> ReportUids:
    """Return the UIDs of the report on a result: equal work gives equal UIDs, in every process."""
    return ReportUids(*(derive_uid(what, *provenance.work) for what in ("report", "report series", "function")))


def reportable(figures: Measurements) -> bool:
    """Whether something is segmented at end-diastole and at end-systole, so that there are segments to reference."""
    return bool(figures.volumes[[figures.ed, figures.es]].any(axis=1).all())


def write_report(figures: Measurements, grid: Grid, headers: Mapping[str, Dataset], provenance: Provenance) -> bytes:
    """Return a complete DICOM file with the measurements of a cardiac stack; equal arguments give equal bytes.

    Its values are those of ``figures.figures``; those that no heart has are marked. It references what
    ``write_segmentation`` writes for both phases; ``provenance`` differs from that of the segmentations only by its
    predecessors, which are earlier reports. ``headers`` holds at least those of both phases' planes, by SOP Instance
    UID; they are not changed, and patient and study are copied as they stand there.

    Raises ``Broken`` ``nothing_to_report`` where ``figures`` are not :func:`reportable`.
    """
    if not reportable(figures):
        raise Broken("nothing_to_report", "Measurements without a segmentation were to be written as a report.")
    with quiet():
        report = _Report(figures, grid, headers, provenance)
        result = report.document()
        restore_study(result, report.patient)
        stamp(result, provenance)
        return file_of(result)


@dataclass(frozen=True, eq=False)
class _Report:
    """The parts of one report, from the whole to its details."""

    figures: Measurements
    grid: Grid
    headers: Mapping[str, Dataset]
    provenance: Provenance

    @property
    def patient(self) -> Dataset:
        """The header that patient and study are taken from."""
        return self.headers[self.grid.planes[self.figures.ed][0].sop_uid]

    @property
    def phases(self) -> tuple[int, ...]:
        """Indices of end-diastole and end-systole; once where they are one phase."""
        return tuple(dict.fromkeys((self.figures.ed, self.figures.es)))

    def document(self) -> sr.Comprehensive3DSR:
        uids, name = report_uids(self.provenance), f"segloop {self.provenance.task}"
        return sr.Comprehensive3DSR(
            evidence=[*self.segmentations(), *self.images()],
            content=self.content()[0],
            series_instance_uid=uids.series_uid,
            series_number=SERIES_NUMBER,
            sop_instance_uid=uids.sop_uid,
            instance_number=1,
            manufacturer=identifiers.MANUFACTURER,
            manufacturer_model_name=name,
            software_versions=identifiers.SOFTWARE_VERSION,
            device_serial_number=identifiers.DEVICE_SERIAL_NUMBER,
            series_description=f"{name} measurements, research use only",
            is_complete=True,
            is_final=False,
            is_verified=False,
            previous_versions=self.predecessors() or None,
            transfer_syntax_uid=ExplicitVRLittleEndian,
        )

    def segmentations(self) -> list[Dataset]:
        made = [result_uids(self.provenance, phase) for phase in self.phases]
        return [self.evidence(SegmentationStorage, uids.series_uid, uids.sop_uid) for uids in made]

    def images(self) -> list[Dataset]:
        planes = [plane for phase in self.phases for plane in self.grid.planes[phase]]
        return [
            self.evidence(self.headers[plane.sop_uid].SOPClassUID, plane.series_uid, plane.sop_uid) for plane in planes
        ]

    def predecessors(self) -> list[Dataset]:
        series = self.provenance.predecessor_series
        return [self.evidence(Comprehensive3DSRStorage, series, uid) for uid in self.provenance.predecessors]

    def evidence(self, sop_class_uid: str, series_uid: str, sop_uid: str) -> Dataset:
        """Return what highdicom wants to see of an object that a report references."""
        item = Dataset()
        for keyword in EMPTY:
            setattr(item, keyword, "")
        item.StudyInstanceUID = self.patient.StudyInstanceUID
        item.SOPClassUID, item.SeriesInstanceUID, item.SOPInstanceUID = sop_class_uid, series_uid, sop_uid
        return item

    def content(self) -> sr.MeasurementReport:
        device = sr.DeviceObserverIdentifyingAttributes(
            uid=identifiers.DEVICE_UID,
            name=self.provenance.algorithm_name,
            manufacturer_name=identifiers.MANUFACTURER,
            serial_number=identifiers.DEVICE_SERIAL_NUMBER,
        )
        observer = sr.ObserverContext(codes.DCM.Device, device)
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=_CARDIAC_MR,
            imaging_measurements=[*(self.structure(*group) for group in _GROUPS), self.function()],
        )
        report[0].ContentSequence.append(self.remark())
        return report

    def remark(self) -> sr.TextContentItem:
        said = (
            (True, PURPOSE),
            (self.figures.unit == "voxels", NO_VOLUMES),
            (self.grid.spacing_invented, SPACING_INVENTED),
            (not all(UID(image.SOPInstanceUID).is_valid for image in self.images()), INVALID_UIDS),
        )
        return _comment(" ".join(sentence for true, sentence in said if true))

    def structure(
        self, label_value: int, point: _Concept, names: Sequence[str]
    ) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
        phase = self.figures.ed if point is _ED else self.figures.es
        uids, label = result_uids(self.provenance, phase), LABELS[self.provenance.task][label_value - 1]
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                uids.tracking_uids[label.name], f"segloop {self.provenance.task} {label.name}"
            ),
            referenced_segment=sr.ReferencedSegment(
                SegmentationStorage, uids.sop_uid, label_value, source_images=self.sources(phase)
            ),
            finding_category=concept(label.category),
            finding_type=concept(label.type),
            method=_VOXEL_SUM,
            algorithm_id=self.algorithm(),
            measurements=self.measurements(names),
            qualitative_evaluations=[sr.QualitativeEvaluation(_CYCLE_POINT, point)],
        )
        group[0].ContentSequence.extend(self.doubts(names))
        return group

    def sources(self, phase: int) -> list[sr.SourceImageForSegmentation]:
        """Return references to the source images of a phase.

        Those without a valid UID stand in the evidence only, as long as others are left: DCMTK, and what is built on
        it, refuses to read a document whose content has one.
        """
        frames = frames_of(self.grid.planes[phase], self.headers)
        named = [uid for uid in frames if UID(uid).is_valid] or list(frames)
        return [sr.SourceImageForSegmentation(self.headers[uid].SOPClassUID, uid, frames[uid]) for uid in named]

    def function(self) -> sr.MeasurementsAndQualitativeEvaluations:
        group = sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                report_uids(self.provenance).function_uid, f"segloop {self.provenance.task} lv function"
            ),
            finding_type=concept(LABELS[self.provenance.task][LV - 1].type),
            algorithm_id=self.algorithm(),
            measurements=self.measurements(_FUNCTION),
            source_images=[self.cavity(phase) for phase in self.phases],
        )
        group[0].ContentSequence.extend(self.doubts(_FUNCTION))
        return group

    def cavity(self, phase: int) -> sr.SourceImageForMeasurementGroup:
        """Return a reference to the segment of the left ventricle's cavity, not only to its object."""
        item = sr.SourceImageForMeasurementGroup(SegmentationStorage, result_uids(self.provenance, phase).sop_uid)
        item.ReferencedSOPSequence[0].ReferencedSegmentNumber = LV
        return item

    def measurements(self, names: Sequence[str]) -> list[sr.Measurement]:
        values, implausible = self.figures.figures, {one.name for one in self.figures.implausible}
        return [
            sr.Measurement(
                name=_FIGURES[name][0],
                value=value,
                unit=_FIGURES[name][1],
                qualifier=codes.DCM.ValueOutOfRange if name in implausible else None,
            )
            for name in names
            if (value := values.get(name)) is not None
        ]

    def doubts(self, names: Sequence[str]) -> list[sr.TextContentItem]:
        """Say which of these figures no heart has; nothing where there is none."""
        said = [one.words for one in self.figures.implausible if one.name in names]
        return [_comment(f"Implausible, the segmentation may be wrong: {'; '.join(said)}.")] if said else []

    def algorithm(self) -> sr.AlgorithmIdentification:
        details = [f"model digest {self.provenance.model_digest}", f"variant {self.provenance.variant}"]
        if self.figures.unit == "ml":
            details.append(f"density of myocardium {MYOCARDIUM_G_PER_ML} g/mL")
        return sr.AlgorithmIdentification(
            name=self.provenance.algorithm_name,
            version=self.provenance.algorithm_version,
            parameters=["; ".join(details)],  # one text: dcmqi's reader takes no more
            family=codes.DCM.ArtificialIntelligence,
        )


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)
