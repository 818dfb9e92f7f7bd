"""DICOM Segmentation objects (PS3.3 section A.51) of one phase: written by highdicom here, read back from anyone.

A photograph has no frame of reference. The standard lets a segmentation do without one, too, where every pixel is that
of an image it names (section A.51.5.1); but dcmqi refuses such an object, highdicom gives no volume of it and dciodvfy
counts errors. So the result of a photograph has a frame of reference of its own, which no other object shares, with the
picture's axes; it names the photograph and says that locations are preserved; and its comment says what is made up.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from contracts import identifiers
from contracts.dicom import quiet
from contracts.errors import Broken
from contracts.identifiers import derive_uid
from contracts.provenance import Provenance, file_of, stamp
from contracts.segmentation_reader import read_segmentation
from contracts.source_headers import normalise_for_seg, reference, restore_study
from contracts.stacks import Plane
from contracts.tasks import LABELS, Code, Label, Task
from contracts.volumes import Grid

__all__ = ["Provenance", "ResultUids", "concept", "read_segmentation", "result_uids", "write_segmentation"]

SERIES_NUMBER = 900
DERIVED_FRAME_OF_REFERENCE = (
    "Each source image names a frame of reference of its own; the one of this object was derived from study, "
    "orientation and matrix."
)
PICTURE_COORDINATES = (
    "The source is a photograph and has no place in the patient: frame of reference, position and orientation of this "
    "object are those of the picture, from its first pixel along a row and down a column. Only pixels correspond."
)
PIXELS_AS_UNIT = "The photograph states no pixel spacing: one unit of length of this object is one pixel."
SPACING_INVENTED = "The pixel spacing of the source images is invented: distances and volumes in it mean nothing."

_IN_STAND_IN = "1.2.3."
_FEWEST_PIXELS = 8  # highdicom packs frames that are smaller than a byte each into one of its own


@dataclass(frozen=True)
class ResultUids:
    """UIDs of one result: its own, its series', that of its dimensions, and one for tracking each label's structure."""

    sop_uid: str
    series_uid: str
    dimension_organization_uid: str
    tracking_uids: Mapping[str, str]


def result_uids(provenance: Provenance, phase: int) -> ResultUids:
    """Return the UIDs of the result for ``phase`` (0-based): equal work gives equal UIDs, in every process."""
    work = provenance.work
    return ResultUids(
        derive_uid("instance", *work, str(phase)),
        derive_uid("series", *work),
        derive_uid("dimensions", *work),
        {label.name: derive_uid("tracking", *work, label.name) for label in LABELS[provenance.task]},
    )


def write_segmentation(
    labels: NDArray[np.uint8], grid: Grid, phase: int, headers: Mapping[str, Dataset], provenance: Provenance
) -> bytes:
    """Return a complete DICOM file, BINARY, with the labels of one phase; equal arguments give equal bytes.

    ``labels`` uint8 [slice, row, column] on ``grid`` (patient coordinates LPS, mm), values of ``provenance.task``;
    ``phase`` counts from 0. ``headers`` holds at least those of this phase's planes, by SOP Instance UID; they are
    not changed. Labels that do not occur are described without frames; slices without a label have none.

    Raises ``Broken``: ``empty_mask`` where nothing is labelled, ``bad_mask`` for another shape, dtype or label and for
    images of fewer than 8 pixels.
    """
    _check(labels, grid, provenance.task)
    planes = grid.planes[phase]
    uids = result_uids(provenance, phase)
    with quiet():
        stand_ins = [
            normalise_for_seg(plane, grid, headers[plane.sop_uid], f"{_IN_STAND_IN}{number}")
            for number, plane in enumerate(planes)
        ]
        result = _build(labels, stand_ins, uids, phase, provenance)
        _point_at_sources(result, planes, headers)
        restore_study(result, headers[planes[0].sop_uid])
        _supersede(result, provenance)
        _describe(result, grid, phase, provenance, uids)
        return file_of(result)


def _check(labels: NDArray[np.uint8], grid: Grid, task: Task) -> None:
    expected = (grid.slices, grid.rows, grid.columns)
    if labels.shape != expected or labels.dtype != np.uint8:
        raise Broken("bad_mask", f"A mask of {labels.dtype} {labels.shape} was to be written, not uint8 {expected}.")
    if grid.rows * grid.columns < _FEWEST_PIXELS:
        raise Broken("bad_mask", "Images of fewer than 8 pixels are not segmented.")
    highest = int(labels.max(initial=0))
    if highest == 0:
        raise Broken("empty_mask", "A mask without any label was to be written as a result.")
    if highest > len(LABELS[task]):
        raise Broken("bad_mask", f"A mask holds label {highest}, which the task {task} does not name.")


def _build(
    labels: NDArray[np.uint8], stand_ins: list[Dataset], uids: ResultUids, phase: int, provenance: Provenance
) -> hd.seg.Segmentation:
    name = f"segloop {provenance.task}"
    return hd.seg.Segmentation(
        source_images=stand_ins,
        pixel_array=labels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(label, uids, provenance) for label in LABELS[provenance.task]],
        series_instance_uid=uids.series_uid,
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sop_uid,
        instance_number=phase + 1,
        manufacturer=identifiers.MANUFACTURER,
        manufacturer_model_name=name,
        software_versions=identifiers.SOFTWARE_VERSION,
        device_serial_number=identifiers.DEVICE_SERIAL_NUMBER,
        series_description=f"{name}, research use only",
        content_label="SEGLOOP_RESEARCH",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )


def _segment(label: Label, uids: ResultUids, provenance: Provenance) -> hd.seg.SegmentDescription:
    algorithm = hd.AlgorithmIdentificationSequence(
        name=provenance.algorithm_name,
        family=codes.DCM.ArtificialIntelligence,
        version=provenance.algorithm_version,
        source=identifiers.MANUFACTURER,
        parameters={"model digest": provenance.model_digest, "variant": provenance.variant},
    )
    return hd.seg.SegmentDescription(
        segment_number=label.value,
        segment_label=label.title,
        segmented_property_category=concept(label.category),
        segmented_property_type=concept(label.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=uids.tracking_uids[label.name],
        tracking_id=f"segloop {provenance.task} {label.name}",
        display_color=hd.color.CIELabColor.from_rgb(*label.rgb),
    )


def concept(code: Code) -> hd.sr.CodedConcept:
    """Return a code in highdicom's form."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _point_at_sources(result: Dataset, planes: tuple[Plane, ...], headers: Mapping[str, Dataset]) -> None:
    """Replace every reference to a stand-in by one to the plane it stood for, and group them by their real series."""
    sources = [
        source
        for frame in result.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for source in derivation.SourceImageSequence
    ]
    for source in {id(source): source for source in sources}.values():  # highdicom gives segments the same item
        number = int(source.ReferencedSOPInstanceUID.removeprefix(_IN_STAND_IN))
        source.update(reference(planes[number], headers))
    by_series: dict[str, dict[str, Dataset]] = {}
    for plane in planes:
        item = reference(plane, headers)
        item.pop("ReferencedFrameNumber", None)
        by_series.setdefault(plane.series_uid, {})[plane.sop_uid] = item
    result.SourceImageSequence = [item for series in by_series.values() for item in series.values()]
    result.ReferencedSeriesSequence = [_series(uid, list(items.values())) for uid, items in by_series.items()]


def _series(uid: str, instances: list[Dataset]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = uid
    item.ReferencedInstanceSequence = instances
    return item


def _supersede(result: Dataset, provenance: Provenance) -> None:
    """Reference the results that this one replaces (General Reference Module, PS3.3 section C.12.4)."""
    if not provenance.predecessors:
        return
    items = [_instance(uid) for uid in provenance.predecessors]
    for item in items:
        item.PurposeOfReferenceCodeSequence = [concept(Code("121360", "DCM", "Replaced report"))]
    result.ReferencedImageSequence = items
    if provenance.predecessor_series:
        instances = [_instance(uid) for uid in provenance.predecessors]
        result.ReferencedSeriesSequence.append(_series(provenance.predecessor_series, instances))


def _instance(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = SegmentationStorage
    item.ReferencedSOPInstanceUID = uid
    return item


def _describe(result: Dataset, grid: Grid, phase: int, provenance: Provenance, uids: ResultUids) -> None:
    """Set what highdicom leaves out, and what it takes from the clock or draws at random."""
    what = "Frame" if grid.photograph else "Phase"
    result.ContentDescription = f"{what} {phase + 1} of {grid.phases}, research use only"
    result.ContentQualification = "RESEARCH"
    result.ContentCreatorName = ""  # type 2; no person made it
    comments = _comments(grid)
    if comments:
        result.ImageComments = " ".join(comments)
    for item in result.DimensionOrganizationSequence:
        item.DimensionOrganizationUID = uids.dimension_organization_uid
    for item in result.DimensionIndexSequence:
        item.DimensionOrganizationUID = uids.dimension_organization_uid
    if grid.slice_distance is None:  # highdicom makes one up for a single slice
        result.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].pop("SpacingBetweenSlices", None)
    stamp(result, provenance)


def _comments(grid: Grid) -> list[str]:
    """Say what of an object's geometry was not taken from its sources."""
    derived, unit = DERIVED_FRAME_OF_REFERENCE, SPACING_INVENTED
    if grid.photograph:
        derived, unit = PICTURE_COORDINATES, PIXELS_AS_UNIT
    said = ((grid.frame_of_reference_derived, derived), (grid.spacing_invented, unit))
    return [sentence for true, sentence in said if true]
