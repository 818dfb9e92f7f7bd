"""The steps by hand: what each error becomes, and that a step done twice leaves the same."""

import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from sqlalchemy import select

from contracts.errors import Broken
from contracts.model_contract import draft_contract
from contracts.prepare import Prepare
from contracts.scores import dice
from contracts.tasks import Task
from serving.actions import release, retry
from serving.index.models import History, Instance, Result, StackVersion
from serving.pipeline.progress import Board
from serving.pipeline.states import move
from serving.pipeline.steps import Steps
from serving.pipeline.work import WorkFolder
from serving.removal import remove_study
from tests.builders import Exam
from tests.serving.parts import Parts


class Painter:
    """An engine whose answer is known: a heart with the same cavity in every slice, or nothing, or an error.

    It stands in for a network, whose answer to made-up images nobody knows beforehand. The heart beats: it is asked
    for the two phases of the cine in turns, and the second one has a cavity of half the size. A "still" one does not.
    """

    provider, why = "none", "a test"

    def __init__(self, answer="heart"):
        self.contract = draft_contract(Task.CARDIAC, Prepare(), version=1).model_copy(update={"model_sha256": "0" * 64})
        self.answer = answer
        self.asked = 0

    def run(self, batch):
        if isinstance(self.answer, Exception):
            raise self.answer
        labels = np.zeros((len(batch), 256, 256), np.uint8)
        systole, self.asked = self.asked % 2 == 1 and self.answer != "still", self.asked + 1
        if self.answer in ("heart", "still"):
            labels[:, 90:170, 60:100] = 1
            labels[:, 80:180, 100:200] = 2
        if self.answer in ("heart", "still", "small"):
            labels[:, 100 : 135 if systole else 170, 115:185] = 3
        return labels


class Pool:
    """The engines of a test: one, or none."""

    def __init__(self, engine):
        self.engine = engine

    def has_model(self, task):
        return self.engine is not None

    def serving(self, task):
        return self.engine


@pytest.fixture
def parts(tmp_path):
    made = Parts(tmp_path)
    made.receive(Exam("steps").short_axis(slices=6, phases=2, rows=64, columns=64))
    made.settle()
    yield made
    made.close()


def steps_of(parts, engine):
    return Steps(parts.db, parts.archive, parts.intake, Pool(engine), parts.rules, parts.settings, Board())


def run(parts, engine, *names):
    (stack,) = parts.stacks()
    steps = steps_of(parts, engine)
    for name in names or ("read", "predict", "write", "offer"):
        outcome = steps.run(name, stack.id)
        if outcome:
            return outcome
    return ""


def state(parts):
    (stack,) = parts.stacks()
    return stack.state, stack.code


def results(parts, kind="seg"):
    with parts.db.read() as session:
        rows = session.scalars(select(Result).where(Result.kind == kind).order_by(Result.phase))
        return [(row.phase, row.sop_uid, row.key) for row in rows]


def test_a_stack_runs_through_to_its_results(parts):
    assert run(parts, Painter()) == ""
    assert state(parts) == ("done", "")
    assert [phase for phase, _, _ in results(parts)] == [1, 2]
    assert [phase for phase, _, _ in results(parts, "sr")] == [0]
    (stack,) = parts.stacks()
    assert stack.findings["measurements"]["ed_phase"] == 1
    assert stack.findings["measurements"]["implausible"] == []
    assert not (parts.settings.home / "work" / str(stack.id)).exists()


@pytest.mark.parametrize("step", ["read", "predict", "write"])
def test_a_step_that_ran_and_was_not_recorded_may_run_again(parts, step):
    order = ["read", "predict", "write"]
    for name in order[: order.index(step) + 1]:
        assert run(parts, Painter(), name) == ""
    before = results(parts)
    if step == "write":
        # The write step lets go of the volume; a kill may fall before or after that.
        assert run(parts, Painter(), "write") == ""
        assert results(parts) == before
    else:
        assert run(parts, Painter(), *order[order.index(step) :], "offer") == ""
        assert len(results(parts)) == 2
    assert len(results(parts, "sr")) == 1


def test_pixels_that_are_not_square_give_the_same_heart_in_millimetres(tmp_path):
    masks = []
    for columns, spacing in ((64, (1.5, 1.5)), (128, (1.5, 0.75))):
        (tmp_path / str(columns)).mkdir()
        made = Parts(tmp_path / str(columns))
        made.receive(Exam("steps").short_axis(slices=6, phases=2, rows=64, columns=columns, spacing=spacing))
        made.settle()
        assert run(made, Painter(), "read", "predict") == ""
        (stack,) = made.stacks()
        masks.append(WorkFolder(made.settings.home, stack.id).labels())
        made.close()
    plain, fine = masks
    assert dice(plain.repeat(2, axis=3) == 3, fine == 3) > 0.95


def test_without_a_model_the_stack_waits_for_one(parts):
    assert run(parts, None) == "not_processed"
    assert state(parts) == ("not_processed", "no_model")


def test_nothing_found_is_held_with_its_pictures(parts):
    assert run(parts, Painter("nothing")) == "held"
    assert state(parts) == ("held", "nothing_found")
    (stack,) = parts.stacks()
    assert (parts.settings.home / "results" / str(stack.id) / "overlay.png").exists()
    assert not (parts.settings.home / "work" / str(stack.id)).exists()  # it may wait for ever
    assert results(parts) + results(parts, "sr") == []


def test_a_heart_that_does_not_beat_is_held_with_its_figures_and_marked_when_it_is_released(parts):
    assert run(parts, Painter("still")) == "held"
    (stack,) = parts.stacks()
    assert stack.code == "implausible_measurements"
    assert "ejection fraction 0.0 % (5 to 90)" in stack.reason
    named = [one["name"] for one in stack.findings["measurements"]["implausible"]]
    assert named == ["ef_percent", "sv_ml"]
    assert results(parts) + results(parts, "sr") == []
    release(parts.db, stack.id, "looked at it", who="ann")
    assert run(parts, None, "write", "offer") == ""
    ((_, _, key),) = results(parts, "sr")
    report = srread(parts.archive.path(key)).content
    marked = [
        (figure.name.meaning, figure.qualifier.meaning)
        for group in (*report.get_volumetric_roi_measurement_groups(), *report.get_image_measurement_groups())
        for figure in group.get_measurements()
        if figure.qualifier
    ]
    beyond = "Value out of range"
    assert marked == [("Stroke Volume", beyond), ("Left ventricular ejection fraction by MR", beyond)]


def test_what_was_held_and_released_is_written_from_what_stays(parts):
    assert run(parts, Painter("small"), "read", "predict") == "held"
    (stack,) = parts.stacks()
    release(parts.db, stack.id, "looked at it", who="ann")
    assert run(parts, None, "write", "offer") == ""
    assert state(parts) == ("done", "")
    assert len(results(parts)) == 2


@pytest.mark.parametrize("error", [Broken("engine", "The engine broke."), ZeroDivisionError("patient Smith")])
def test_an_error_of_ours_fails_the_stack_and_tells_no_patient(parts, error):
    assert run(parts, Painter(error)) == "failed"
    assert state(parts)[0] == "failed"
    (stack,) = parts.stacks()
    assert "Smith" not in stack.reason


def test_images_that_cannot_be_decoded_refuse_the_stack(parts):
    with parts.db.read() as session:
        stack = session.scalars(select(StackVersion)).one()
        paths = [parts.archive.path(key) for _, _, key in _sources(session)]
    paths[3].write_bytes(paths[3].read_bytes()[:-500])
    assert run(parts, Painter()) == "refused"
    assert state(parts)[0] == "refused"
    assert stack.id == 1


def _sources(session):
    return session.execute(select(Instance.id, Instance.sop_uid, Instance.key)).all()


def test_a_version_that_was_overtaken_stops(parts):
    assert run(parts, Painter(), "read") == ""
    with parts.db.write() as session:
        session.scalars(select(StackVersion)).one().current = False
    with parts.db.read() as session:
        stack_id = session.scalars(select(StackVersion.id)).one()
    assert steps_of(parts, Painter()).run("predict", stack_id) == "not_processed"


def test_a_version_that_is_overtaken_while_it_is_offered_sends_nothing(parts, monkeypatch):
    run(parts, Painter(), "read", "predict", "write")
    steps = steps_of(parts, Painter())
    monkeypatch.setattr(steps, "_over", lambda stack_id: "")  # it was current when the step began
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        stack.current, stack_id = False, stack.id
    assert steps.run("offer", stack_id) == "not_processed"
    (stack,) = parts.stacks(current=False)
    assert (stack.state, stack.code) == ("not_processed", "superseded")


def test_a_step_that_ended_its_stack_and_was_not_recorded_leaves_it_ended(parts):
    """Killed in between, it runs again; a model that came meanwhile must not lead to results of an ended stack."""
    assert run(parts, None, "read") == "not_processed"
    assert run(parts, Painter()) == "not_processed"
    assert state(parts) == ("not_processed", "no_model")
    assert results(parts) == []


def test_a_study_that_was_deleted_before_its_turn_ends_its_work(parts):
    (stack,) = parts.stacks()
    remove_study(parts.db, parts.archive, stack.study_uid, who="t", why="")
    steps = steps_of(parts, Painter())
    assert steps.run("read", stack.id) == "deleted"
    steps.give_up(stack.id, "died on it")
    assert not list(parts.settings.home.glob("work/*"))


def test_a_revision_between_reading_and_writing_stops_the_old_version(parts):
    """Else a result would carry the text of one revision under the identity of the other."""
    images = Exam("steps").short_axis(slices=6, phases=2, rows=64, columns=64)
    assert run(parts, Painter(), "read", "predict") == ""
    images[0].PatientName = "Corrected^Name"
    assert parts.receive(images[:1])[0].outcome == "revised"
    assert run(parts, Painter(), "write") == "not_processed"
    assert results(parts) == []
    parts.settle()
    assert [(stack.version, stack.state) for stack in parts.stacks()] == [(2, "complete")]


def test_images_of_two_patients_in_one_stack_are_refused(parts):
    images = Exam("steps").short_axis(slices=6, phases=2, rows=64, columns=64)
    images[4].PatientID = "SOMEBODY-ELSE"
    parts.receive(images)
    parts.settle()
    assert run(parts, Painter()) == "refused"
    (stack,) = parts.stacks()
    assert stack.code == "several_patients"
    assert "SOMEBODY" not in stack.reason
    assert results(parts) == []


def test_a_retry_with_another_model_leaves_no_results_of_the_first(parts):
    run(parts, Painter(), "read", "predict", "write")
    first = results(parts)
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        move(session, stack, "failed", who="test")
    assert retry(parts.db, stack.study_uid, parts.rules, who="test") == 1
    other = Painter()
    other.contract = other.contract.model_copy(update={"model_sha256": "1" * 64})
    assert run(parts, other) == ""
    second = results(parts)
    assert [phase for phase, _, _ in second] == [1, 2]
    assert {uid for _, uid, _ in first}.isdisjoint(uid for _, uid, _ in second)
    with parts.db.read() as session:
        kinds = [row.kind for row in session.scalars(select(Instance).where(Instance.kind != "source"))]
    assert sorted(kinds) == ["replaced"] * 3 + ["result"] * 3


def test_results_name_the_last_ones_that_they_replace(parts):
    """A version in between that was overtaken before it was answered does not break the chain."""
    assert run(parts, Painter()) == ""
    first, report = [uid for _, uid, _ in results(parts)], results(parts, "sr")[0]
    images = Exam("steps").short_axis(slices=6, phases=2, rows=64, columns=64)
    for comment in ("one", "two"):
        images[0].PatientComments = comment
        parts.receive(images[:1])
        parts.settle()
    (third,) = parts.stacks()
    assert (third.version, run(parts, Painter())) == (3, "")
    with parts.db.read() as session:
        keys = session.execute(select(Result.kind, Result.key).where(Result.stack_version_id == third.id)).all()
    assert sorted(kind for kind, _ in keys) == ["seg", "seg", "sr"]
    for kind, key in keys:
        made = dcmread(parts.archive.path(key))
        if kind == "seg":
            assert [item.ReferencedSOPInstanceUID for item in made.ReferencedImageSequence] == first
        else:
            (series,) = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
            assert [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence] == [report[1]]
            assert series.SeriesInstanceUID == dcmread(parts.archive.path(report[2])).SeriesInstanceUID


def test_every_step_is_noted_with_its_time(parts):
    run(parts, Painter())
    with parts.db.read() as session:
        rows = session.scalars(select(History).where(History.event != "state").order_by(History.id)).all()
    assert [row.event for row in rows] == ["read", "predict", "write", "offer"]
    assert all(row.seconds >= 0 for row in rows)


def test_what_killed_the_process_too_often_is_given_up(parts):
    (stack,) = parts.stacks()
    steps_of(parts, Painter()).give_up(stack.id, "died on it")
    assert state(parts) == ("failed", "crashed")
