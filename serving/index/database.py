"""The index: one SQLAlchemy engine, short transactions, migrations at start.

SQLite is set up so that a commit is on the disk when it returns (WAL, ``synchronous=FULL``). A transaction that may
write begins with ``BEGIN IMMEDIATE``: one that read first and wrote later would be refused at once when another writer
came between. Writers of this process also queue on a lock, since SQLite's own waiting is by sleeping and unfair.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.orm import Session

from contracts.errors import Broken, Unreachable, Usage

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000")
WRITER_WAIT_S = 60.0


class Database:
    """The index behind ``url`` (an SQLAlchemy address; SQLite or PostgreSQL). Safe to share between threads."""

    def __init__(self, url: str) -> None:
        try:
            self.engine = create_engine(url, pool_size=20, max_overflow=40, pool_timeout=60)
        except (ArgumentError, ImportError) as error:
            why = f"DATABASE_URL is no address of a database that can be used here ({type(error).__name__})."
            raise Usage("database_url", why) from error
        self._sqlite = self.engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        if self._sqlite:
            event.listen(self.engine, "connect", _on_connect)
            event.listen(self.engine, "begin", _on_begin)
        self._writing = self.engine.execution_options(segloop_writing=True)

    def migrate(self) -> None:
        """Bring the tables to the state of ``models.py``; does nothing where they already are.

        Raises ``Unreachable`` ``no_index`` where the database cannot be opened.
        """
        try:
            with self._writing.begin() as connection:
                command.upgrade(migration_config(connection), "head")
        except OperationalError as error:
            raise Unreachable("no_index", "The index cannot be opened: see HOME and DATABASE_URL.") from error

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session whose changes are durable once the block ends; an exception undoes all of them.

        Keep the block short (no file or network access): there is one writer at a time. Never nest two of them.
        Raises ``Broken("index_busy")`` where no turn came within a minute.
        """
        with self._turn(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write_rows(self) -> Iterator[Connection]:
        """Give a connection for statements on tables; all else is as for :meth:`write`, whose sessions cost more."""
        with self._turn(), self._writing.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._sqlite and not self._writer.acquire(timeout=WRITER_WAIT_S):
            raise Broken("index_busy", "The index was busy for a minute.")
        try:
            yield
        finally:
            if self._sqlite:
                self._writer.release()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one state of the index throughout; it never waits for writers."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def migration_config(connection: Connection) -> Config:
    """Return the configuration with which alembic works on this connection and our folder of migrations."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _on_connect(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver begins nothing by itself: _on_begin does
    cursor = dbapi_connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    writing = connection.get_execution_options().get("segloop_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
