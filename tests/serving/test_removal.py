"""Deleting a study: nothing of it stays but a tombstone, whatever happens in between."""

import pytest
from sqlalchemy import select

from contracts.errors import NotFound, NotYet
from serving import removal
from serving.index.models import Delivery, History, Instance, Series, StackVersion, Study, Tombstone
from serving.pipeline.states import move
from serving.removal import remove_study
from tests.builders import Exam


@pytest.fixture
def exam():
    return Exam("deleted")


def test_a_deleted_study_leaves_only_its_tombstone(parts, exam):
    parts.receive(exam.short_axis())
    parts.settle()
    assert remove_study(parts.db, parts.archive, exam.study_uid, who="ann", why="asked for") == 18
    with parts.db.read() as session:
        for table in (Study, Series, Instance, StackVersion, History, Delivery):
            assert session.scalars(select(table)).all() == []
        stone = session.scalars(select(Tombstone)).one()
    assert (stone.who, stone.instances) == ("ann", 18)
    assert not list((parts.settings.home / "archive").rglob("*.dcm"))
    with pytest.raises(NotFound):
        remove_study(parts.db, parts.archive, exam.study_uid, who="ann", why="again")


def test_a_study_being_worked_on_is_not_deleted(parts, exam):
    parts.receive(exam.short_axis())
    parts.settle()
    with parts.db.write() as session:
        move(session, session.scalars(select(StackVersion)).one(), "processing", who="test")
    with pytest.raises(NotYet):
        remove_study(parts.db, parts.archive, exam.study_uid, who="ann", why="")


def test_a_deleted_study_that_comes_again_is_new(parts, exam):
    images = exam.short_axis()
    parts.receive(images)
    parts.settle()
    remove_study(parts.db, parts.archive, exam.study_uid, who="ann", why="")
    assert {accepted.outcome for accepted in parts.receive(images)} == {"stored"}
    assert parts.settle() == 1
    assert [stack.state for stack in parts.stacks()] == ["complete"]


def test_a_deletion_that_a_crash_interrupted_is_finished_at_the_next_start(parts, exam, monkeypatch):
    parts.receive(exam.short_axis())
    parts.settle()
    pictures = parts.settings.home / "results" / str(parts.stacks()[0].id)
    pictures.mkdir(parents=True)
    (pictures / "overlay.png").write_bytes(b"a patient")
    monkeypatch.setattr(removal, "_remove_files", _dies)
    with pytest.raises(KeyboardInterrupt):
        remove_study(parts.db, parts.archive, exam.study_uid, who="ann", why="asked for")
    monkeypatch.undo()
    removal.finish(parts.db, parts.archive)
    parts.intake.sweep()
    assert not pictures.exists()
    for folder in ("archive", "quarantine"):
        assert [path for path in (parts.settings.home / folder).rglob("*") if path.is_file()] == []
    with parts.db.read() as session:
        assert session.scalars(select(Tombstone)).one().left == {}


def _dies(*_):
    raise KeyboardInterrupt
