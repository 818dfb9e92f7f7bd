"""Laws of the index: commits are durable, writers wait for each other, the migrations make what the models say."""

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from contracts.errors import Broken
from serving.index import database as module
from serving.index.database import Database
from serving.index.models import Base, Delivery, StackVersion, Tombstone


@pytest.fixture
def db(tmp_path: Path) -> Database:
    made = Database(f"sqlite:///{tmp_path / 'index.sqlite'}")
    made.migrate()
    return made


def stone(uid: str, instances: int = 0) -> Tombstone:
    return Tombstone(study_uid=uid, at=0.0, who="x", why="y", instances=instances)


def test_migrations_make_exactly_what_the_models_say(db: Database) -> None:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_twice_changes_nothing(db: Database) -> None:
    with db.write() as session:
        session.add(stone("1"))
    db.migrate()
    with db.read() as session:
        assert session.get_one(Tombstone, "1").who == "x"


def test_a_commit_is_on_the_disk_when_it_returns(db: Database) -> None:
    with db.read() as session:
        pragmas = {name: session.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")}
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert session.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_an_exception_undoes_the_whole_block(db: Database) -> None:
    def fail() -> None:
        with db.write() as session:
            session.add(stone("1"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with db.read() as session:
        assert session.scalars(select(Tombstone)).all() == []


def test_a_reader_sees_one_state_while_others_write(db: Database) -> None:
    with db.read() as reader:
        assert reader.scalar(select(func.count()).select_from(Tombstone)) == 0
        with db.write() as session:
            session.add(stone("1"))
        assert reader.scalar(select(func.count()).select_from(Tombstone)) == 0
    with db.read() as reader:
        assert reader.scalar(select(func.count()).select_from(Tombstone)) == 1


def test_reading_then_writing_loses_no_update_among_threads(db: Database) -> None:
    with db.write() as session:
        session.add(stone("1"))

    def count_up() -> None:
        for _ in range(10):
            with db.write() as session:
                row = session.get_one(Tombstone, "1")
                row.instances += 1

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as session:
        assert session.get_one(Tombstone, "1").instances == 40


def test_two_processes_take_turns(db: Database) -> None:
    """A second engine on the same file stands for another process: it has no part in the lock of the first."""
    other = Database(str(db.engine.url))
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with other.write() as session:
            session.add(stone("other"))
            session.flush()
            inside.set()
            go_on.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    threading.Timer(0.2, go_on.set).start()
    with db.write() as session:
        assert session.get(Tombstone, "other") is not None
    thread.join()
    other.close()


def test_a_writer_that_never_ends_is_reported(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITER_WAIT_S", 0.01)
    caught: list[Exception] = []

    def second() -> None:
        try:
            with db.write():
                pass
        except Broken as error:
            caught.append(error)

    with db.write():
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert [str(error) for error in caught] == ["The index was busy for a minute."]


def test_rows_without_their_study_are_impossible(db: Database) -> None:
    with pytest.raises(IntegrityError), db.write() as session:
        session.execute(text("INSERT INTO series VALUES ('1', '2', 'source', '{}')"))


@pytest.mark.parametrize("table", [StackVersion, Delivery])
def test_numbers_that_name_workflows_are_never_given_twice(db: Database, table: type[Base]) -> None:
    assert table.__table__.dialect_options["sqlite"]["autoincrement"] is True
    with db.read() as session:
        sql = session.execute(
            text("SELECT sql FROM sqlite_master WHERE name = :n"), {"n": table.__tablename__}
        ).scalar()
    assert "AUTOINCREMENT" in str(sql)
