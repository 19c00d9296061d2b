"""The embedded store: one SQLite file.

Theory of operation. Reads run in the event loop, on a connection of their own: they are of the
live state (SQLite's WAL lets them pass the writer by), take tens of microseconds, and a hop to a
thread and back would cost more; what runs under way need is kept decoded (`kept_runs.py`). Writes
go to the one writer thread (`writer.py`), which groups commits; a write returns when it is on the
disk, so its writer reads it. Touches are told after the commit.

The tables are in `schema.py`; rows are written and read in `definition_rows.py`, `run_rows.py` and
`reconcile_rows.py`. One process only: the data directory's lock keeps a second one out (`data.py`).
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import uuid4

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xaas_core import plan_text
from xaas_core.engine.facts import Key, Request
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.models.objects import Definition, DefinitionSpec, Meta, Run
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.ports import (
    Clock,
    Idempotency,
    Kind,
    Logged,
    NotFound,
    Page,
    Part,
    Query,
    Stored,
    Touch,
    Unavailable,
    Writes,
    reported,
)
from xaas_core.touches import Broadcast
from xaas_local import definition_rows, reconcile_rows, run_rows
from xaas_local.kept_runs import KeptRuns
from xaas_local.paging import page
from xaas_local.schema import RUNS, connect
from xaas_local.writer import Writer, explain

T = TypeVar("T")


def _random_uid() -> str:
    return str(uuid4())


class SqliteStore:
    """Implements `xaas_core.ports.Store`. Made by `open`."""

    def __init__(
        self, reading: Connection, writer: Writer, clock: Clock, new_uid: Callable[[], str]
    ) -> None:
        self._reading: Connection | None = reading
        self._writer = writer
        self._clock = clock
        self._new_uid = new_uid
        self._kept = KeptRuns()
        self._broadcast = Broadcast()

    @classmethod
    def open(cls, path: Path, clock: Clock, new_uid: Callable[[], str] = _random_uid) -> Self:
        """Open the file, or make it. Raises Unavailable if it can't be used."""
        reading, writing = connect(path)
        writer = Writer(writing)
        writer.start()
        return cls(reading, writer, clock, new_uid)

    async def close(self) -> None:
        """Write what waits, end the touches, close the file."""
        await self._writer.close()
        self._broadcast.close()
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    # -------------------------------------------------------------------------------- definitions

    async def create_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        row = definition_rows.new_row(kind, namespace, spec, self._new_uid(), self._clock.now())
        return await self._writer.run(lambda tx: definition_rows.create(tx, row, idempotency))

    async def get_definition(
        self, kind: Kind, namespace: str, name: str
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        with self._read() as tx:
            return definition_rows.get(tx, kind, namespace, name)

    async def list_definitions(
        self, kind: Kind, namespace: str, query: Query
    ) -> Page[Definition[DefinitionSpec]]:
        """See the port."""
        with self._read() as tx:
            return definition_rows.listed(tx, kind, namespace, query)

    async def replace_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, if_match: str | None
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        row = definition_rows.new_row(kind, namespace, spec, "", 0)
        return await self._writer.run(lambda tx: definition_rows.replace(tx, row, if_match))

    async def delete_definition(
        self, kind: Kind, namespace: str, name: str, if_match: str | None
    ) -> None:
        """See the port."""
        await self._writer.run(
            lambda tx: definition_rows.remove(tx, kind, namespace, name, if_match)
        )

    # --------------------------------------------------------------------------------------- runs

    async def create_run(
        self,
        namespace: str,
        spec: PipelineRunSpec,
        target: Target,
        request: Request | None,
        idempotency: Idempotency | None,
    ) -> Run:
        """See the port."""
        meta = Meta(self._new_uid(), namespace, "1", self._clock.now())
        row = run_rows.new_row(spec, target, request, meta)
        uid = await self._write(
            lambda tx: run_rows.create(tx, row, idempotency), lambda uid: Touch(uid, Part.SPEC)
        )
        return await self.get_run(uid)

    async def recall_run(self, namespace: str, idempotency: Idempotency) -> Run | None:
        """See the port."""
        with self._read() as tx:
            uid = run_rows.recall(tx, namespace, idempotency)
        return None if uid is None else await self.get_run(uid)

    async def seen_run(self, uid: str) -> Run:
        """See the port. Nobody else writes the file."""
        return await self.get_run(uid)

    async def get_run(self, uid: str) -> Run:
        """See the port."""
        self._check_open()
        kept = self._kept.get(uid)
        if kept.run is None:
            try:
                with self._read() as tx:
                    row = run_rows.find(tx, uid)
                    text = run_rows.read_spec(tx, uid)
                    history = run_rows.read_history(tx, row.id)
            except NotFound:
                self._kept.drop(uid)
                raise
            kept.run = run_rows.read_run(row, run_rows.decode_spec(text), tuple(history))
            self._kept.grow(uid, len(text))
        return kept.run

    async def list_runs(self, namespace: str, query: Query) -> Page[Run]:
        """See the port."""
        with self._read() as tx:
            chosen = run_rows.select_runs(namespace, query)
            rows, after = page(tx, chosen, RUNS, query)
        runs = [run_rows.read_run(row, run_rows.decode_spec(row.spec), ()) for row in rows]
        return Page(runs, after)

    async def live_runs(self) -> Sequence[str]:
        """See the port."""
        with self._read() as tx:
            return run_rows.live(tx)

    async def request(self, uid: str, request: Request) -> Run:
        """See the port."""
        return await self._change(uid, lambda tx: run_rows.request(tx, uid, request))

    async def suspend(self, uid: str, suspend: bool) -> Run:
        """See the port."""
        return await self._change(uid, lambda tx: run_rows.suspend(tx, uid, suspend))

    async def mark_deleting(self, uid: str, *, only_over: bool = False) -> Run:
        """See the port."""
        mark = partial(run_rows.mark_deleting, uid=uid, only_over=only_over)
        return await self._change(uid, mark)

    async def retire_run(self, run: Run) -> None:
        """See the port. A row that isn't live costs nothing by itself."""

    async def remove_run(self, uid: str, version: str | None = None) -> None:
        """See the port."""

        def committed(was: bool) -> Touch | None:
            self._kept.drop(uid)
            return Touch(uid, Part.REMOVED) if was else None

        await self._write(lambda tx: run_rows.remove(tx, uid, version), committed)

    # ------------------------------------------------------------------------ plans, records, log

    async def plan(self, uid: str) -> Plan | None:
        """See the port."""
        self._check_open()
        kept = self._kept.get(uid)
        if kept.plan is None:
            try:
                with self._read() as tx:
                    text = run_rows.read_plan(tx, uid)
            except NotFound:
                self._kept.drop(uid)
                raise
            if text is not None:
                kept.plan = plan_text.decode(text)
                self._kept.grow(uid, len(text))
        return kept.plan

    async def records(
        self, uid: str, keys: Collection[Key] | None = None
    ) -> dict[Key, Stored[TaskRecord]]:
        """See the port."""
        self._check_open()
        kept = self._kept.get(uid)
        if kept.records is None:
            with self._read() as tx:
                rows = run_rows.read_records(tx, uid)
            kept.records = {
                key: Stored(run_rows.RECORD.decode(text), str(version))
                for key, version, text in rows
            }
            self._kept.grow(uid, sum(len(text) for _, _, text in rows))
        if keys is None:
            return dict(kept.records)
        return {key: kept.records[key] for key in keys if key in kept.records}

    async def commit(self, writes: Writes) -> None:
        """See the port. All of it or nothing."""
        uid = writes.run.meta.uid
        encoded = reconcile_rows.encode_writes(writes)

        def committed(_: None) -> Touch:
            self._kept.committed(writes, encoded.size())
            return Touch(uid, Part.STATUS)

        await self._write(lambda tx: reconcile_rows.commit(tx, encoded), committed)

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """See the port."""
        key, text = (record.ref, record.side), run_rows.RECORD.encode(record)

        def committed(_: None) -> Touch:
            self._kept.saved(uid, record, version, len(text))
            return Touch(uid, reported(record))

        work = partial(reconcile_rows.save_record, uid=uid, key=key, text=text, version=version)
        await self._write(work, committed)

    async def changes(self, cursor: str | None, limit: int) -> Sequence[Logged]:
        """See the port."""
        with self._read() as tx:
            after = 0
            if cursor is not None:
                known = cursor.isascii() and cursor.isdigit() and len(cursor) < 19
                after = int(cursor) if known else -1
                if not 0 <= after <= run_rows.last_change(tx):
                    raise ValueError(f"{cursor!r} is no cursor of this store's changes")
            return run_rows.read_changes(tx, after, limit)

    async def last_cursor(self) -> str:
        """See the port."""
        with self._read() as tx:
            return str(run_rows.last_change(tx))

    async def resume(self, cursor: str) -> str:
        """See the port. Changes are numbered as they are committed: going on there loses none."""
        await self.changes(cursor, 1)
        return cursor

    def touches(self) -> AsyncIterator[Touch]:
        """See the port. Ends when the store is closed."""
        return self._broadcast.subscribe()

    # ---------------------------------------------------------------------------------- machinery

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A transaction to read in: all that is read in it is of one moment."""
        self._check_open()
        assert self._reading is not None
        driver: Any = self._reading.connection.driver_connection
        try:
            driver.execute("BEGIN")
            try:
                yield self._reading
            finally:
                driver.execute("ROLLBACK")
        except (DBAPIError, sqlite3.Error) as error:
            raise explain(error, "nothing was read") from error

    async def _write(
        self, work: Callable[[Connection], T], touch: Callable[[T], Touch | None]
    ) -> T:
        def committed(value: T) -> None:
            touched = touch(value)
            if touched is not None:
                self._broadcast.send(touched)

        return await self._writer.run(work, committed)

    def _check_open(self) -> None:
        if self._reading is None:
            raise Unavailable("the store is closed")

    async def _change(self, uid: str, work: Callable[[Connection], None]) -> Run:
        def committed(_: None) -> Touch:
            self._kept.drop(uid)
            return Touch(uid, Part.SPEC)

        await self._write(work, committed)
        return await self.get_run(uid)
