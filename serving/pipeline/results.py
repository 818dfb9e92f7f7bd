"""What the step ``write`` keeps: a SEG for each phase, and the report of the measurements, which points at them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contracts import identifiers
from contracts.errors import Refused
from contracts.measurement_reports import report_uids, reportable, write_report
from contracts.measurements import Measurements, measure
from contracts.provenance import Provenance
from contracts.segmentations import result_uids, write_segmentation
from contracts.sizes import Sizes, lesion_area, prostate_volume
from contracts.tasks import Task
from contracts.volumes import Grid
from serving.index.models import Instance, Result, StackVersion
from serving.pipeline.settle import record_text

SEG, SR = "seg", "sr"
"""Kinds of results, in the order in which they are made and sent."""


@dataclass(frozen=True)
class Made:
    """One DICOM file to keep. ``phase`` counts from 1; 0 where the object is of several phases."""

    kind: str
    phase: int
    sop_uid: str
    payload: bytes


def measured(labels: NDArray[np.uint8], grid: Grid, task: Task) -> Measurements | Sizes | None:
    """Return the figures of labels [phase, slice, row, column]; None for a task that has none."""
    if task is Task.CARDIAC:
        return measure(labels, grid.voxel_mm3)
    if task is Task.PROSTATE:
        return prostate_volume(labels, grid.voxel_mm3)
    return lesion_area(labels, grid.pixel_mm) if task is Task.SKIN else None


def segmentations(
    labels: NDArray[np.uint8], grid: Grid, headers: Mapping[str, Dataset], provenance: Provenance
) -> Iterator[Made]:
    """Make one SEG a phase, one after the other. Phases without any structure have none."""
    for phase in range(grid.phases):
        if (labels[phase] > 0).any():
            payload = write_segmentation(labels[phase], grid, phase, headers, provenance)
            yield Made(SEG, phase + 1, result_uids(provenance, phase).sop_uid, payload)


def reports(
    labels: NDArray[np.uint8], grid: Grid, headers: Mapping[str, Dataset], provenance: Provenance
) -> Iterator[Made]:
    """Make the report of a heart's measurements, where both phases that they need have a SEG."""
    figures = measured(labels, grid, provenance.task)
    if isinstance(figures, Measurements) and reportable(figures):
        payload = write_report(figures, grid, headers, provenance)
        yield Made(SR, 0, report_uids(provenance).sop_uid, payload)


def provenance_of(session: Session, version: StackVersion, kind: str) -> Provenance:
    """Return where results of one kind come from. Raises ``Refused`` ``no_record`` where it is not known since when
    their study is complete."""
    model, at = version.model, version.completeness["at"]
    if not isinstance(at, int | float):
        raise Refused("no_record", "The record of completeness has no time.")
    predecessors = _predecessors(session, version, kind)
    return Provenance(
        task=Task(version.task),
        algorithm_name=f"{identifiers.MANUFACTURER} {model['name']}",
        algorithm_version=str(model["version"]),
        model_digest=str(model["digest"]),
        variant=str(model["variant"]),
        stack_digest=version.digest,
        completed_at=float(at),
        completeness=record_text(version),
        revision=1,
        predecessors=tuple(sop_uid for sop_uid, _ in predecessors),
        predecessor_series=predecessors[0][1] if predecessors else "",
    )


def _predecessors(session: Session, version: StackVersion, kind: str) -> list[tuple[str, str]]:
    """(SOP Instance UID, series UID) of the results that those of one kind replace, in order of phase.

    They are those of the latest earlier version that has any: the one just before may have been overtaken unanswered.
    """
    of_stack = (StackVersion.study_uid == version.study_uid, StackVersion.key == version.key, Result.kind == kind)
    answered = (
        select(func.max(StackVersion.version))
        .join(Result, Result.stack_version_id == StackVersion.id)
        .where(*of_stack, StackVersion.version < version.version)
    )
    rows = session.execute(
        select(Result.sop_uid, Instance.series_uid)
        .join(StackVersion, StackVersion.id == Result.stack_version_id)
        .join(Instance, Instance.key == Result.key)
        .where(*of_stack, StackVersion.version == answered.scalar_subquery())
        .order_by(Result.phase)
    )
    return [(sop_uid, series_uid) for sop_uid, series_uid in rows]
