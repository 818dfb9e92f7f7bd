"""The steps of one stack version: read, predict, write, offer. Each may run twice and leaves the same behind.

A step returns "" to go on, or a word that ends the workflow: the state the stack came to.
"""

import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from contracts.dicom import read_header
from contracts.errors import Broken, NotYet, SegloopError, answer_to
from contracts.measurements import LV, Measurements
from contracts.pictures import overlay_sheet, thumbnail
from contracts.segment import segment
from contracts.source_headers import check_one_patient
from contracts.tasks import Task
from contracts.volumes import arrange, load
from serving import faults
from serving.archive import Archive
from serving.deliver import offer
from serving.engines.pool import EnginePool
from serving.index.database import Database
from serving.index.models import Instance, StackVersion
from serving.index.receipts import drop_other_results
from serving.observe import SECONDS, log
from serving.pipeline import quality
from serving.pipeline.progress import Board
from serving.pipeline.results import SEG, SR, measured, provenance_of, reports, segmentations
from serving.pipeline.settle import stack_of
from serving.pipeline.states import move, note_step
from serving.pipeline.work import WorkFolder
from serving.receive.ingest import Intake
from serving.routing import Rule
from serving.settings import Settings

GO_ON = ""
IN_WORK = frozenset({"complete", "processing"})
"""States in which a step has something to do."""


class Steps:
    """The work itself; :mod:`serving.durable` decides when each step runs."""

    def __init__(
        self,
        db: Database,
        archive: Archive,
        intake: Intake,
        engines: EnginePool,
        rules: tuple[Rule, ...],
        settings: Settings,
        board: Board,
    ) -> None:
        """All collaborators come from the composition root."""
        self._db, self._archive, self._intake, self._engines = db, archive, intake, engines
        self._rules, self._settings, self._board = {rule.name: rule for rule in rules}, settings, board

    def run(self, step: str, stack_id: int) -> str:
        """Run one step by its name; every error becomes a state of the stack."""
        started = time.monotonic()
        try:
            work: Callable[[int], str] = getattr(self, step)
            outcome = self._over(stack_id) or work(stack_id)
        except SegloopError as error:
            outcome = self._ended_by(stack_id, step, error)
        except Exception as error:
            log.exception("step_failed", step=step, stack_id=stack_id)
            unexpected = Broken(
                "unexpected", f"{type(error).__name__} in step {step}; the gateway's log has the details."
            )
            outcome = self._ended_by(stack_id, step, unexpected)
        seconds = time.monotonic() - started
        SECONDS.labels(step=step).observe(seconds)
        with self._db.write() as session:
            version = session.get(StackVersion, stack_id)
            if version is not None:
                note_step(session, version, step, seconds, reason=outcome)
        return outcome

    def read(self, stack_id: int) -> str:
        """Arrange the stack, decode its pixels and keep both for the next step."""
        with self._db.write() as session:
            version = session.get_one(StackVersion, stack_id)
            if version.state == "complete":
                move(session, version, "processing", who="segloop", reason="a worker took it")
            task, rule = Task(version.task), self._rules.get(version.rule)
            stack = stack_of(session, version)
            paths = _paths(session, self._archive, version)
        if not self._engines.has_model(task):
            reason = f"No model serves the task '{task.value}' yet. Publish and promote one, then retry."
            return self._end(stack_id, "not_processed", "no_model", reason)
        accept = rule is not None and rule.accept_per_instance_frame_of_reference
        grid = arrange(stack, accept_per_instance_frame_of_reference=accept)
        images = load(grid, paths.__getitem__)
        faults.point("read:inside")
        WorkFolder(self._settings.home, stack_id).save_volume(images, grid)
        return GO_ON

    def predict(self, stack_id: int) -> str:
        """Segment the stack, measure, draw, and decide whether a person must look first."""
        folder = WorkFolder(self._settings.home, stack_id)
        images, grid = folder.volume(), folder.grid()
        with self._db.read() as session:
            task = Task(session.get_one(StackVersion, stack_id).task)
        engine = self._engines.serving(task)
        with self._board.watching(stack_id) as note:
            segmented = segment(images, engine.contract, engine.run, note, grid.pixel_mm, grid.orientation)
        figures = measured(segmented.labels, grid, task)
        measurements = figures.to_json() if figures else {}
        faults.point("predict:inside")
        folder.save_labels(segmented.labels)
        folder.save_json("measurements.json", measurements)
        marked = {"ED": measurements.get("ed_phase"), "ES": measurements.get("es_phase")}
        folder.save_picture("overlay.png", overlay_sheet(images, segmented.labels, task, marked=marked))
        folder.save_picture("thumbnail.png", thumbnail(images, segmented.labels, task))
        doubt = quality.doubt(segmented, task, figures)
        with self._db.write() as session:
            version = session.get_one(StackVersion, stack_id)
            version.model = {
                "name": engine.contract.name,
                "version": engine.contract.version,
                "variant": engine.contract.variant,
                "digest": engine.contract.digest,
            }
            version.findings = {
                "measurements": measurements,
                "warnings": list(grid.warnings),
                "lv_by_phase": _curve(figures),
                "phases": grid.phases,
                "slices": grid.slices,
                "frame_of_reference_derived": grid.frame_of_reference_derived,
            }
        if doubt is not None:
            return self._end(stack_id, "held", doubt.code, doubt.sentence)
        return GO_ON

    def write(self, stack_id: int) -> str:
        """Write one SEG a phase into the archive, then the report of the measurements, which points at them.

        Phases without any structure have none; without end-diastole and end-systole there is no report.
        """
        folder = WorkFolder(self._settings.home, stack_id)
        labels, grid = folder.labels(), folder.grid()
        with self._db.read() as session:
            version = session.get_one(StackVersion, stack_id)
            stack_of(session, version)  # revised since it was read: the mask is not that of the headers any more
            paths = _paths(session, self._archive, version)
            for_seg, for_sr = (provenance_of(session, version, kind) for kind in (SEG, SR))
        headers = {uid: read_header(path) for uid, path in paths.items()}
        check_one_patient(headers.values())
        kept = []
        for made in chain(segmentations(labels, grid, headers, for_seg), reports(labels, grid, headers, for_sr)):
            self._intake.keep_result(made.payload, stack_id, made.sop_uid, made.phase, made.kind)
            kept.append(made.sop_uid)
            faults.point("write:inside")
        with self._db.write() as session:
            drop_other_results(session, stack_id, kept)
        folder.drop_work()
        return GO_ON

    def offer(self, stack_id: int) -> str:
        """Queue the results for the destinations of the stack's senders."""
        with self._db.write() as session:
            version = session.get_one(StackVersion, stack_id)
            if not version.current:  # since this step began; its deliveries were withdrawn before there were any
                raise _superseded()
            waiting = offer(session, version, self._settings)
            reason = f"{waiting} to deliver" if waiting else "no destination is mapped to its sender"
            faults.point("offer:inside")
            move(session, version, "delivering" if waiting else "done", who="segloop", reason=reason)
        return GO_ON

    def give_up(self, stack_id: int, reason: str) -> None:
        """Mark a stack as failed from outside its workflow, after that died or broke and nothing else would end it."""
        with self._db.write() as session:
            version = session.get(StackVersion, stack_id)
            if version is not None and version.state in IN_WORK:
                move(session, version, "failed", who="segloop", reason=reason, code="crashed")

    def _over(self, stack_id: int) -> str:
        """Return a word where there is nothing to do any more: deleted, ended before (and killed before that was
        recorded), or superseded."""
        with self._db.read() as session:
            version = session.get(StackVersion, stack_id)
            if version is None:
                return "deleted"
            if version.state not in IN_WORK:
                return version.state
            if version.current:
                return GO_ON
        raise _superseded()

    def _ended_by(self, stack_id: int, step: str, error: SegloopError) -> str:
        log.warning("stack_ended", step=step, stack_id=stack_id, code=error.code)
        if isinstance(error, NotYet) and error.code == "superseded":
            return self._end(stack_id, "not_processed", error.code, error.sentence)
        return self._end(stack_id, answer_to(error).state or "failed", error.code, error.sentence)

    def _end(self, stack_id: int, state: str, code: str, reason: str) -> str:
        with self._db.write() as session:
            version = session.get(StackVersion, stack_id)
            if version is not None and version.state in IN_WORK:
                move(session, version, state, who="segloop", reason=reason, code=code)
        WorkFolder(self._settings.home, stack_id).drop_work()
        return state


def _curve(figures: object) -> list[float]:
    """Volumes of the left ventricle's cavity, phase by phase; none of what is no heart."""
    if not isinstance(figures, Measurements):
        return []
    return [round(float(value), 1) for value in figures.volumes[:, LV - 1]]


def _superseded() -> NotYet:
    return NotYet("superseded", "A later version of this stack took its place.")


def _paths(session: Session, archive: Archive, version: StackVersion) -> dict[str, Path]:
    rows = session.execute(
        select(Instance.sop_uid, Instance.key).where(
            Instance.study_uid == version.study_uid,
            Instance.kind == "source",
            Instance.sop_uid.in_(version.instance_uids),
        )
    )
    return {sop_uid: archive.path(key) for sop_uid, key in rows}
