"""The embedded store's tables, and the opening of its file.

Rows of a run hang on its integer id and go with it. `version` columns guard writes and change with
each; definitions draw theirs from one counter, so that a version never comes back when a name is
deleted and made again. `id` columns never reuse a number: they are cursors and page tokens.
"""

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from xaas_core.ports import Unavailable

AnyRow = Row[*tuple[Any, ...]]
"""A row with its columns by name."""

SCHEMA_VERSION: Final = 1

_metadata: Final = MetaData()

META: Final = Table(
    "meta",
    _metadata,
    Column("name", Text, primary_key=True),  # schema_version, definition_version
    Column("value", Integer, nullable=False),
)

DEFINITIONS: Final = Table(
    "definitions",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("created_at", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec", Text, nullable=False),
    UniqueConstraint("namespace", "kind", "name"),
    Index("definitions_listed", "namespace", "kind", "created_at", "id"),
    sqlite_autoincrement=True,
)

RUNS: Final = Table(
    "runs",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("category", Text),  # of its pipeline, when the run was made
    Column("created_at", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("suspend", Boolean, nullable=False),
    Column("deleting", Boolean, nullable=False),
    Column("live", Boolean, nullable=False),  # see Store.live_runs
    Column("request", Text),
    Column("status", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Index("runs_listed", "namespace", "target", "created_at", "id"),
    Index("runs_by_state", "namespace", "target", "state", "created_at", "id"),
    Index("runs_by_pipeline", "namespace", "target", "pipeline", "created_at", "id"),
    sqlite_autoincrement=True,
)
# The past costs nothing: only the runs that may still need something are in this one.
Index("runs_live", RUNS.c.id, sqlite_where=RUNS.c.live)


def _owner() -> Column[int]:
    return Column("run_id", Integer, ForeignKey(RUNS.c.id, ondelete="CASCADE"), nullable=False)


PLANS: Final = Table(
    "plans",
    _metadata,
    Column("run_id", ForeignKey(RUNS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("plan", Text, nullable=False),
)

RECORDS: Final = Table(
    "records",
    _metadata,
    _owner(),
    Column("ref", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("record", Text, nullable=False),
    UniqueConstraint("run_id", "ref", "side"),
)

CHANGES: Final = Table(
    "changes",
    _metadata,
    Column("id", Integer, primary_key=True),
    _owner(),
    Column("sequence", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("at", Integer, nullable=False),
    Column("ref", Text),
    Column("side", Text),
    Column("attempt", Integer, nullable=False),
    Column("launch", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    UniqueConstraint("run_id", "sequence"),
    sqlite_autoincrement=True,
)

REQUESTS: Final = Table(
    "requests",
    _metadata,
    _owner(),
    Column("request", Text, nullable=False),  # the id of an operation that was ever asked for
    UniqueConstraint("run_id", "request"),
)

KEYS: Final = Table(
    "idempotency_keys",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("uid", Text, nullable=False),  # of what was made; it may be gone
    Column("created_at", Integer, nullable=False, index=True),
    UniqueConstraint("namespace", "kind", "key"),
)

DEFINITION_VERSION: Final = "definition_version"
_SCHEMA_VERSION: Final = "schema_version"

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",  # a step that has begun must survive a power loss
    "foreign_keys = ON",
    "busy_timeout = 5000",  # ms; somebody may look into the file with another program
    "journal_size_limit = 67108864",  # bytes that the WAL keeps after a checkpoint
)


def connect(path: Path) -> tuple[Connection, Connection]:
    """Open or make the file; return a connection to read with and one to write with.

    Both leave transactions to the caller. Raises Unavailable if the file can't be used: another
    program's, a newer version's, not to be written.
    """
    engine = create_engine(
        f"sqlite:///{path}",
        isolation_level="AUTOCOMMIT",
        poolclass=NullPool,
        connect_args={"check_same_thread": False},
    )
    event.listen(engine, "connect", _set_up)
    try:
        # Before SQLite makes it: nobody else may read parameters and results.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        writing = engine.connect()
        try:
            _prepare(writing, path)
            return engine.connect(), writing
        except BaseException:
            writing.close()
            raise
    except (OSError, DBAPIError) as error:
        why = error.orig if isinstance(error, DBAPIError) else error
        raise Unavailable(f"the database {path} can't be opened: {why}") from error


def _set_up(connection: Any, _record: Any) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _prepare(connection: Connection, path: Path) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    tables = inspect(connection).get_table_names()
    if not tables:
        _metadata.create_all(connection)
        start = [
            {"name": _SCHEMA_VERSION, "value": SCHEMA_VERSION},
            {"name": DEFINITION_VERSION, "value": 0},
        ]
        connection.execute(insert(META), start)
    elif META.name not in tables:
        raise Unavailable(f"{path} is another program's database: give a path of its own")
    version = connection.scalar(select(META.c.value).where(META.c.name == _SCHEMA_VERSION))
    if version is None or version > SCHEMA_VERSION:
        raise Unavailable(
            f"{path} was written by a newer version of this product (schema {version}, this one "
            f"knows up to {SCHEMA_VERSION}): start that version, or use another data directory"
        )
    connection.exec_driver_sql("COMMIT")
