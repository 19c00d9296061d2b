"""The one writer of the embedded store: a thread that groups commits.

Theory of operation. Coroutines hand over functions that write. The thread takes all that wait, runs
each in a savepoint of its own inside one transaction, commits once, and only then tells them. So a
hundred writers share one `fsync`, a refused write takes back nothing but itself, and whoever hears
of success can rely on the disk. If the transaction as a whole fails (the disk is full), each is
tried once more on its own: a small one may fit where a large one doesn't.

Everything here that isn't the thread runs in the event loop.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xaas_core.ports import Unavailable

T = TypeVar("T")
Work = Callable[[Connection], T]

_LARGEST_GROUP: Final = 500

_WHY: Final = {
    sqlite3.SQLITE_FULL: "the disk is full (or the database has reached its size limit)",
    sqlite3.SQLITE_IOERR: "reading or writing the disk failed",
    sqlite3.SQLITE_BUSY: "another program holds the database",
    sqlite3.SQLITE_LOCKED: "another program holds the database",
    sqlite3.SQLITE_READONLY: "the database can't be written",
    sqlite3.SQLITE_CANTOPEN: "the database can't be opened",
    sqlite3.SQLITE_CORRUPT: "the database is damaged",
    sqlite3.SQLITE_NOTADB: "the file is no database",
}


def explain(error: DBAPIError | sqlite3.Error, effect: str = "nothing was written") -> Unavailable:
    """What is told instead of a database's own error."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    why = _WHY.get(code, "the database failed")
    return Unavailable(f"{why}: {effect}; try again when that is mended ({cause})")


@dataclass
class _Job:
    work: Work[Any]
    committed: Callable[[Any], None] | None
    future: asyncio.Future[Any]
    value: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.error is None and self.committed is not None:
            self.committed(self.value)
        if self.future.done():
            return  # nobody waits any more: what was written stands
        if self.error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(self.error)


@dataclass
class Writer:
    """Owns the writing connection from `start` to `close`."""

    connection: Connection
    _jobs: queue.SimpleQueue[_Job | None] = field(default_factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._serve, name="xaas-store-writer", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what waits, then end."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)
            self.connection.close()

    async def run(self, work: Work[T], committed: Callable[[T], None] | None = None) -> T:
        """Run `work` in a transaction; return its value once that is durable.

        `work` may run twice, so it has no effect but in the database. What it raises is raised here
        and its writes are taken back. `committed(value)` is called in the loop after the commit,
        also if the caller was cancelled meanwhile. Raises Unavailable.
        """
        if self._thread is None:
            raise Unavailable("the store is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, committed, future))
        return await future

    def _serve(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first]
            last = False
            while len(group) < _LARGEST_GROUP and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                group.append(job)
            self._write(group)
            if last:
                return

    def _write(self, group: Sequence[_Job]) -> None:
        try:
            self._transact(group)
        except (DBAPIError, sqlite3.Error) as error:
            self._abandon()
            if len(group) > 1:
                for job in group:
                    self._write([job])
                return
            group[0].error = explain(error)
        _settle(group)

    def _transact(self, group: Sequence[_Job]) -> None:
        execute = self._driver.execute
        execute("BEGIN IMMEDIATE")
        for job in group:
            job.value = job.error = None
            execute("SAVEPOINT job")
            try:
                job.value = job.work(self.connection)
            except DBAPIError as error:
                if not self._driver.in_transaction:
                    raise
                job.error = explain(error)
            except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
                job.error = error
            if job.error is not None:
                execute("ROLLBACK TO job")
            execute("RELEASE job")
        execute("COMMIT")

    def _abandon(self) -> None:
        with suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            if self._driver.in_transaction:
                self._driver.execute("ROLLBACK")

    @property
    def _driver(self) -> Any:
        return self.connection.connection.driver_connection


def _settle(group: Sequence[_Job]) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        loops.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in loops.items():
        with suppress(RuntimeError):  # that loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle_all, jobs)


def _settle_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.settle()
