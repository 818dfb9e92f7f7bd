"""When a study counts as complete, and which of its stacks get a version."""

import time
from itertools import pairwise

import pytest
from sqlalchemy import select

from contracts.errors import NotFound, NotYet, Refused
from contracts.stacks import stacks_of
from serving import actions
from serving.index.models import History, StackVersion
from serving.pipeline import settle
from serving.pipeline.settle import due, stack_of
from serving.pipeline.states import move
from tests.builders import Exam
from tests.serving.parts import Parts


@pytest.fixture
def exam():
    return Exam("settled")


def test_a_short_axis_cine_becomes_one_stack_to_work_on(parts, exam):
    parts.receive(exam.short_axis())
    assert parts.settle() == 1
    (stack,) = parts.stacks()
    assert (stack.state, stack.task, stack.version) == ("complete", "cardiac", 1)
    assert stack.completeness["instances"] == len(stack.instance_uids) == 18


def test_settling_again_changes_nothing(parts, exam):
    parts.receive(exam.short_axis())
    parts.settle()
    before = [(stack.id, stack.digest) for stack in parts.stacks(current=False)]
    assert parts.settle() == 0
    parts.receive(exam.short_axis()[:0])
    assert [(stack.id, stack.digest) for stack in parts.stacks(current=False)] == before


def test_a_repeated_send_runs_nothing_again(parts, exam):
    images = exam.short_axis()
    parts.receive(images)
    parts.settle()
    assert {accepted.outcome for accepted in parts.receive(images)} == {"repeated"}
    parts.settle()
    assert [stack.version for stack in parts.stacks(current=False)] == [1]


def test_unrelated_late_instances_leave_other_stacks_alone(parts, exam):
    parts.receive(exam.short_axis())
    parts.settle()
    (cine,) = parts.stacks()
    parts.receive(exam.long_axis())
    parts.settle()
    assert parts.stacks()[0].id == cine.id
    assert {stack.version for stack in parts.stacks(current=False)} == {1}


def test_a_late_slice_makes_a_new_version_and_keeps_the_key(parts, exam):
    images = exam.short_axis()
    parts.receive(images[:-3])
    parts.settle()
    parts.receive(images[-3:])
    parts.settle()
    old, new = parts.stacks(current=False)
    assert (old.current, new.current, new.version) == (False, True, 2)
    assert old.key == new.key
    assert old.digest != new.digest


def test_a_whole_study_sent_again_with_another_name_keeps_its_stack(parts, exam):
    """A corrected patient name makes every instance a new revision, in whatever order it comes."""
    images = exam.short_axis(series_per_position=True)
    parts.receive(images)
    parts.settle()
    for image in images:
        image.PatientName = "Corrected^Name"
    assert {accepted.outcome for accepted in parts.receive(images[::-1])} == {"revised"}
    parts.settle()
    old, new = parts.stacks(current=False)
    assert (old.key, old.current, new.version, new.current) == (new.key, False, 2, True)


def test_a_version_that_gave_way_for_nothing_gets_a_successor(parts, exam):
    """It stopped for instances that seemed to join it, and with those that came after them they belong elsewhere."""
    parts.receive(exam.short_axis())
    parts.settle()
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        move(session, stack, "not_processed", who="segloop", code="superseded")
    parts.receive(exam.long_axis())
    parts.settle()
    old, new = (found for found in parts.stacks(current=False) if found.key == stack.key)
    assert (old.current, new.current, new.version, new.state) == (False, True, 2, "complete")


def test_a_stack_that_late_instances_join_to_another_is_no_longer_current(parts, exam):
    """One image alone of a frame of reference of its own; with its fellows it belongs to the cine."""
    images = exam.short_axis(series_per_position=True, frame_of_reference_per_instance=True)
    late = images[-2:]
    parts.receive(images[:-2])
    parts.settle()
    assert len(parts.stacks()) == 2
    parts.receive(late)
    parts.settle()
    (stack,) = parts.stacks()
    assert (stack.version, len(stack.instance_uids)) == (2, len(images))


def test_a_study_that_breaks_the_settling_holds_up_no_other(parts, exam, monkeypatch):
    other = Exam("other")
    for one in (exam, other):
        parts.receive(one.short_axis())

    def forming(instances):
        if instances[0].study_uid == exam.study_uid:
            raise RecursionError
        return stacks_of(instances)

    monkeypatch.setattr(settle, "stacks_of", forming)
    assert parts.settle() == 1
    assert [stack.study_uid for stack in parts.stacks()] == [other.study_uid]
    monkeypatch.undo()
    assert parts.settle() == 0  # put off, or it would fill the log
    parts.settler._put_off[exam.study_uid] = time.time()
    assert parts.settle() == 1


def test_an_open_association_defers_and_its_end_does_not(parts, exam):
    images = exam.short_axis()
    with parts.activity.carrying() as carrier:
        parts.receive(images)
        carrier.touch(exam.study_uid)
        actions.declare_complete(parts.db, exam.study_uid)
        assert parts.settle() == 0
    assert parts.settle() == 1


@pytest.mark.parametrize(("ago", "declared", "expected"), [(5, False, 0), (5, True, 1), (61, False, 1)])
def test_the_quiet_period_ends_by_time_or_by_declaration(parts, exam, ago, declared, expected):
    parts.receive(exam.short_axis())
    parts.wait_for_quiet(exam.study_uid, ago)
    if declared:
        actions.declare_complete(parts.db, exam.study_uid)
    with parts.db.read() as session:
        assert len(due(session, time.time(), 60)) == expected


def test_what_arrives_after_the_declaration_waits_again(parts, exam):
    images = exam.short_axis()
    parts.receive(images[:-3])
    actions.declare_complete(parts.db, exam.study_uid)
    parts.receive(images[-3:])
    with parts.db.read() as session:
        assert due(session, time.time(), 60) == []


def test_every_stack_of_an_exam_has_its_own_verdict_and_reason(parts, exam):
    for series in exam.forty_series().values():
        parts.receive(series)
    parts.settle()
    stacks = parts.stacks()
    assert [stack.state for stack in stacks].count("complete") >= 1
    assert all(stack.reason and stack.code for stack in stacks if stack.state == "not_processed")


def test_a_stack_with_a_problem_is_refused_and_blocks_no_other(parts, exam):
    good = exam.short_axis()
    bad = exam.short_axis(EchoTime=1.7)
    for number, image in enumerate(bad):
        image.FrameOfReferenceUID = f"2.25.{100 + number % 2}"
    parts.receive([*good, *bad])
    parts.settle()
    assert sorted(stack.state for stack in parts.stacks()) == ["complete", "refused"]


def test_a_version_whose_instances_were_revised_meanwhile_gives_way(parts, exam):
    images = exam.short_axis()
    parts.receive(images)
    parts.settle()
    images[0].PatientComments = "changed"
    assert [accepted.outcome for accepted in parts.receive(images[:1])] == ["revised"]
    with parts.db.read() as session:
        stack = session.scalars(select(StackVersion)).one()
        with pytest.raises(NotYet):
            stack_of(session, stack)
    parts.settle()
    with parts.db.read() as session:
        newest = session.scalars(select(StackVersion).where(StackVersion.current)).one()
        assert stack_of(session, newest).digest == newest.digest


def test_a_stack_is_found_again_where_the_rest_of_its_study_decided_what_joins_it(parts, exam):
    """Series of 10, 12 and 14 images are one stack around the 12, which is what is usual in this study."""
    cine = exam.short_axis(slices=3, phases=14, series_per_position=True)
    by_series: dict[str, list[object]] = {}
    for image in cine:
        by_series.setdefault(image.SeriesInstanceUID, []).append(image)
    odd = [image for images, count in zip(by_series.values(), (10, 12, 14), strict=True) for image in images[:count]]
    parts.receive([*odd, *exam.short_axis(slices=6, phases=12, series_per_position=True, EchoTime=60.0)])
    parts.settle()
    with parts.db.read() as session:
        versions = session.scalars(select(StackVersion)).all()
        assert sorted(len(version.instance_uids) for version in versions) == [36, 72]
        assert [stack_of(session, version).digest for version in versions] == [version.digest for version in versions]


def test_a_retry_runs_under_the_rules_of_today(parts, exam):
    parts.receive(exam.short_axis())
    parts.settle()
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        move(session, stack, "failed", who="test")
    assert actions.retry(parts.db, exam.study_uid, parts.rules, who="test") == 1
    (stack,) = parts.stacks()
    assert (stack.state, stack.attempt) == ("complete", 2)
    assert actions.retry(parts.db, exam.study_uid, (), who="test") == 0


def held(parts: Parts, exam: Exam, code: str) -> int:
    """Bring the one stack of an exam to ``held`` and return its id."""
    parts.receive(exam.short_axis())
    parts.settle()
    with parts.db.write() as session:
        stack = session.scalars(select(StackVersion)).one()
        for state in ("processing", "held"):
            move(session, stack, state, who="test", reason="why", code=code)
        return stack.id


def test_a_held_stack_is_released_or_dismissed_once(parts, exam):
    stack_id = held(parts, exam, "in_pieces")
    actions.release(parts.db, stack_id, "looked at it", who="ann")
    (stack,) = parts.stacks()
    assert (stack.state, stack.code, stack.attempt) == ("processing", "released", 2)
    with pytest.raises(Refused):
        actions.dismiss(parts.db, stack_id, "", who="ann")


def test_only_the_current_version_of_a_stack_is_decided_about(parts, exam):
    """A page that was opened before may still offer it."""
    stack_id = held(parts, exam, "in_pieces")
    with parts.db.write() as session:
        session.get_one(StackVersion, stack_id).current = False
    for decide in (actions.release, actions.dismiss):
        with pytest.raises(Refused, match="later version"):
            decide(parts.db, stack_id, "", who="ann")


def test_a_retry_leaves_out_the_stack_that_has_changed_and_runs_the_others(parts, exam):
    changed = exam.short_axis()
    parts.receive([*changed, *exam.short_axis(EchoTime=1.7)])
    parts.settle()
    with parts.db.write() as session:
        for stack in session.scalars(select(StackVersion)):
            move(session, stack, "failed", who="test")
    changed[0].PatientComments = "changed"
    parts.receive(changed[:1])
    assert actions.retry(parts.db, exam.study_uid, parts.rules, who="test") == 1
    assert sorted((stack.state, stack.attempt) for stack in parts.stacks()) == [("complete", 2), ("failed", 1)]


def test_nothing_found_can_only_be_dismissed(parts, exam):
    stack_id = held(parts, exam, "nothing_found")
    with pytest.raises(Refused):
        actions.release(parts.db, stack_id, "", who="ann")
    actions.dismiss(parts.db, stack_id, "a phantom", who="ann")
    (stack,) = parts.stacks()
    assert (stack.state, stack.reason) == ("dismissed", "a phantom")


def test_the_history_tells_each_change_in_order(parts, exam):
    held(parts, exam, "in_pieces")
    with parts.db.read() as session:
        rows = session.scalars(select(History).order_by(History.id)).all()
    assert [row.after for row in rows] == ["complete", "processing", "held"]
    assert all(one.after == other.before for one, other in pairwise(rows))


def test_unknown_studies_are_not_found(parts):
    for act in (actions.declare_complete, lambda db, uid: actions.retry(db, uid, parts.rules, who="x")):
        with pytest.raises(NotFound):
            act(parts.db, "1.2.3")
