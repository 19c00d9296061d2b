"""What the SQLite store promises beyond the port's contract: durability, errors, old and new."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from xaas_core.engine.history import Change
from xaas_core.engine.states import RunState
from xaas_core.models.objects import Run, RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import (
    Idempotency,
    KeyReused,
    Kind,
    NotFound,
    Query,
    Store,
    Unavailable,
    Writes,
)
from xaas_core.testing.builders import run_spec, task_spec
from xaas_core.testing.clock import VirtualClock
from xaas_local import idempotency_keys
from xaas_local.store import SqliteStore

pytestmark = pytest.mark.anyio

DAY = 24 * 3_600_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "xaas.db"


@pytest.fixture
async def store(path: Path, clock: VirtualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(path, clock)
    yield store
    await store.close()


async def make(store: Store, parameters: dict[str, Any] | None = None, key: str = "") -> Run:
    idempotency = Idempotency(key, "digest") if key else None
    spec = run_spec("p", parameters)
    return await store.create_run("default", spec, Target.PIPELINE, None, idempotency)


async def test_all_is_there_after_a_restart(
    store: SqliteStore, path: Path, clock: VirtualClock
) -> None:
    definition = await store.create_definition(Kind.TASK, "default", task_spec("t"), None)
    run = await make(store, {"a": 1.0})
    status = RunStatus(Summary(RunState.PROCESSING))
    await store.commit(Writes(run, status=status, changes=[Change(RunState.PROCESSING, 1)]))
    run = await store.get_run(run.meta.uid)
    changes, cursor = await store.changes(None, 10), await store.last_cursor()
    await store.close()
    again = SqliteStore.open(path, clock)
    assert await again.get_run(run.meta.uid) == run
    assert await again.get_definition(Kind.TASK, "default", "t") == definition
    assert (await again.changes(None, 10), await again.last_cursor()) == (changes, cursor)
    await again.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from xaas_core.models.pipeline_run import Target
from xaas_core.testing.builders import run_spec
from xaas_core.clock import SystemClock
from xaas_local.store import SqliteStore

async def write(store):
    while True:
        run = await store.create_run("default", run_spec("p"), Target.PIPELINE, None, None)
        print(run.meta.uid, flush=True)

async def main():
    store = SqliteStore.open(Path(sys.argv[1]), SystemClock())
    await asyncio.gather(*(write(store) for _ in range(10)))

asyncio.run(main())
"""


def until_killed(path: Path) -> list[str]:
    """What a process of its own was told to be written, before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().strip() for _ in range(200)]
        process.kill()
        return told + [line.strip() for line in process.stdout if line.endswith("\n")]


async def test_what_was_confirmed_survives_sigkill(path: Path, clock: VirtualClock) -> None:
    told = until_killed(path)
    store = SqliteStore.open(path, clock)
    for uid in told:
        assert (await store.get_run(uid)).meta.uid == uid
    assert len(await store.live_runs()) >= len(told)
    await store.close()


async def test_waiting_writers_share_a_commit(store: SqliteStore) -> None:
    driver = store._writer._driver
    commits = []
    driver.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    await asyncio.gather(*(make(store) for _ in range(100)))
    assert 1 <= len(commits) < 20
    assert len(await store.live_runs()) == 100


async def test_a_write_whose_caller_is_gone_stands_and_is_told(store: SqliteStore) -> None:
    touches = store.touches()
    task = asyncio.create_task(make(store))
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        touch = await anext(touches)
    assert (await store.get_run(touch.run)).meta.uid == touch.run


async def test_a_full_disk(store: SqliteStore) -> None:
    """Refused in clear words, nothing half written; what fits beside it is written; goes on."""
    driver = store._writer._driver
    run = await make(store)
    (pages,) = driver.execute("PRAGMA page_count").fetchone()
    driver.execute(f"PRAGMA max_page_count = {pages + 4}")
    large = {"a": "x" * 100_000}
    writes = [make(store, large), store.suspend(run.meta.uid, True), make(store, large)]
    first, second, third = await asyncio.gather(*writes, return_exceptions=True)
    for refused in (first, third):
        assert isinstance(refused, Unavailable)
        assert "disk is full" in str(refused)
        assert "nothing was written" in str(refused)
    assert isinstance(second, Run)
    assert await store.live_runs() == [run.meta.uid]
    assert (await store.get_run(run.meta.uid)).spec.suspend
    driver.execute("PRAGMA max_page_count = 1073741823")
    kept = await make(store, large)
    assert await store.live_runs() == [run.meta.uid, kept.meta.uid]


async def test_another_program_holds_the_file(store: SqliteStore, path: Path) -> None:
    store._writer._driver.execute("PRAGMA busy_timeout = 10")
    run = await make(store)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="another program"):
            await make(store)
        assert await store.get_run(run.meta.uid) == run
        other.execute("ROLLBACK")
    other.close()
    await make(store)


async def test_a_defect_in_a_write_hits_its_caller_only(store: SqliteStore) -> None:
    class Defect(Exception):
        pass

    def broken(connection: Any) -> None:
        connection.exec_driver_sql("DELETE FROM runs")
        raise Defect

    run = await make(store)
    done = await asyncio.gather(
        store._writer.run(broken), store.suspend(run.meta.uid, True), return_exceptions=True
    )
    assert isinstance(done[0], Defect)
    assert isinstance(done[1], Run)
    assert (await store.get_run(run.meta.uid)).spec.suspend


async def test_a_closed_store_says_so(path: Path, clock: VirtualClock) -> None:
    store = SqliteStore.open(path, clock)
    touches = store.touches()
    waiting = asyncio.create_task(make(store))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    # What waited was written; whether its caller could still read it isn't said.
    await asyncio.gather(waiting, return_exceptions=True)
    assert len([touch async for touch in touches]) == 1
    for call in (store.get_run("x"), make(store), store.live_runs()):
        with pytest.raises(Unavailable, match="closed"):
            await call
    again = SqliteStore.open(path, clock)
    assert len(await again.live_runs()) == 1
    await again.close()


async def test_a_key_is_known_for_a_day(store: SqliteStore, clock: VirtualClock) -> None:
    first = await make(store, key="key")
    clock.advance(DAY - 1)
    assert await make(store, key="key") == first
    clock.advance(1)
    second = await make(store, key="key")
    assert second.meta.uid != first.meta.uid
    assert idempotency_keys.KEPT == DAY


async def test_a_key_outlives_what_was_made_with_it(store: SqliteStore) -> None:
    run = await make(store, key="key")
    await store.remove_run(run.meta.uid)
    with pytest.raises(KeyReused, match="has been removed"):
        await make(store, key="key")
    key = Idempotency("key", "digest")
    await store.create_definition(Kind.TASK, "default", task_spec("t"), key)
    await store.delete_definition(Kind.TASK, "default", "t", None)
    with pytest.raises(KeyReused, match="has been removed"):
        await store.create_definition(Kind.TASK, "default", task_spec("t"), key)


async def test_tokens_are_of_one_list(store: SqliteStore) -> None:
    for _ in range(2):
        await make(store)
    page = await store.list_runs("default", Query(limit=1))
    with pytest.raises(ValueError, match="continue"):
        await store.list_definitions(Kind.TASK, "default", Query(after=page.after))


async def test_a_cursor_from_elsewhere(store: SqliteStore) -> None:
    for cursor in ("1", "999999999999999999", "9" * 40, "٣"):
        with pytest.raises(ValueError, match="cursor"):
            await store.changes(cursor, 10)


async def test_finished_runs_cost_the_live_ones_nothing(store: SqliteStore) -> None:
    plan = store._writer._driver.execute(
        "EXPLAIN QUERY PLAN SELECT runs.uid FROM runs WHERE runs.live ORDER BY runs.id"
    ).fetchall()
    assert "runs_live" in plan[0][3]
    for name, value in (("state", "x"), ("pipeline", "x")):
        (row, *more) = store._writer._driver.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM runs WHERE namespace = 'n' AND target = 't' "
            f"AND {name} = '{value}' ORDER BY created_at DESC, id DESC LIMIT 9"
        ).fetchall()
        assert (f"runs_by_{name}" in row[3], more) == (True, [])


async def test_a_large_history_is_read_on_from_what_is_known(store: SqliteStore) -> None:
    run = await make(store)
    for number in range(5):
        changes = [Change(RunState.PROCESSING, number)] * 3
        await store.commit(Writes(run, status=RunStatus(), changes=changes))
        if number % 2:
            store._kept.drop(run.meta.uid)
        run = await store.get_run(run.meta.uid)
        assert [change.at for change in run.history] == [
            n for n in range(number + 1) for _ in "abc"
        ]


async def test_nobody_else_may_read_the_file(store: SqliteStore, path: Path) -> None:
    await make(store)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("xaas.db", "xaas.db-wal", "xaas.db-shm"), 0o600)


async def test_a_newer_schema_is_refused(
    store: SqliteStore, path: Path, clock: VirtualClock
) -> None:
    store._writer._driver.execute("UPDATE meta SET value = 99 WHERE name = 'schema_version'")
    await store.close()
    with pytest.raises(Unavailable, match=r"newer version.*schema 99"):
        SqliteStore.open(path, clock)


async def test_another_programs_database_is_refused(path: Path, clock: VirtualClock) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(Unavailable, match="another program"):
        SqliteStore.open(path, clock)


async def test_what_is_no_database_is_refused(tmp_path: Path, clock: VirtualClock) -> None:
    (tmp_path / "file").write_bytes(b"no database" * 100)
    for path in (tmp_path, tmp_path / "file", tmp_path / "nowhere" / "xaas.db"):
        with pytest.raises(Unavailable, match="can't be opened"):
            SqliteStore.open(path, clock)


async def test_a_run_that_isnt_there(store: SqliteStore) -> None:
    with pytest.raises(NotFound, match="no run x"):
        await store.get_run("x")
