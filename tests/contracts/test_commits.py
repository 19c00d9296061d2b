"""`Store`: what the reconciler and the gateway write, and how others hear of it."""

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from xaas_core.engine.facts import Request
from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Attempt, Failure, StepRecord, TaskRecord, Verdict
from xaas_core.engine.states import Operation, Reason, RunState, Side, TaskState
from xaas_core.models.objects import Run, RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Conflict, Logged, NotFound, Part, Store, Touch, Writes
from xaas_core.testing.builders import chain, run_spec

pytestmark = pytest.mark.anyio

NOWHERE = "00000000-0000-4000-8000-000000000000"
PLAN = chain("a", "b")
PROCESSING = RunStatus(Summary(RunState.PROCESSING, counts={"total": 2}), planned=True)
DO, UNDO = ("a", Side.DO), ("a", Side.UNDO)


async def make(store: Store) -> Run:
    return await store.create_run("default", run_spec("p"), Target.PIPELINE, None, None)


def record(ref: str = "a", side: Side = Side.DO, number: int = 1) -> TaskRecord:
    return TaskRecord(ref, side, attempts=(Attempt(number, 0, 5, (0,)),))


async def test_one_commit_writes_all(store: Store) -> None:
    run = await make(store)
    changes = [
        Change(RunState.PROCESSING, 5, reason=Reason.REQUESTED, message="é"),
        Change(TaskState.RUNNING, 6, "a", Side.DO, 1, 2),
        Change(TaskState.FAILED, 7, "a", Side.DO, 1, 2, Reason.TIMEOUT),
    ]
    records = [(record(), None), (record(side=Side.UNDO), None)]
    await store.commit(Writes(run, PLAN, records, PROCESSING, changes))
    uid = run.meta.uid
    found = await store.get_run(uid)
    assert (found.status, found.history) == (PROCESSING, tuple(changes))
    assert all(type(a.state) is type(b.state) for a, b in zip(found.history, changes, strict=True))
    assert await store.plan(uid) == PLAN
    stored = await store.records(uid)
    assert {key: each.value for key, each in stored.items()} == {
        DO: record(),
        UNDO: record(side=Side.UNDO),
    }


async def test_an_empty_commit_changes_nothing(store: Store) -> None:
    run = await make(store)
    await store.commit(Writes(run))
    assert await store.get_run(run.meta.uid) == run


async def test_records_are_kept_exactly(store: Store) -> None:
    value = {"z": [1, 1.0, -0.0, 10**40, True, None], "a": {"é": "\u2028\x00", "": {}}}
    step = StepRecord(
        index=1,
        begun_at=5,
        nonce="n",
        runner="r",
        finished_at=6,
        succeeded=False,
        delta=(
            {"op": "set", "path": ["k", ""], "value": value},
            {"op": "order", "path": [], "keys": ["z", "a"]},
        ),
        failure=Failure("Error", "text", 1, 3, ("line 1", "line 2")),
        reason=Reason.SCRIPT_ERROR,
    )
    whole = TaskRecord(
        "a",
        Side.UNDO,
        Verdict(2, False, Reason.CONDITION_ERROR, Failure("E", "t")),
        (replace(record().attempts[0], steps=(step,), undoes=3), Attempt(2, 1, 9, (1, 0))),
    )
    run = await make(store)
    await store.commit(Writes(run, PLAN, [(whole, None)]))
    found = (await store.records(run.meta.uid))["a", Side.UNDO].value
    assert found == whole
    assert repr(found) == repr(whole)


async def test_chosen_records(store: Store) -> None:
    run = await make(store)
    refs = ["a", "b", "c", 'odd "ref", [x]', "タスク"]
    records = [(record(ref, side), None) for ref in refs for side in Side]
    await store.commit(Writes(run, PLAN, records))
    every = {(ref, side) for ref in refs for side in Side}
    nowhere = {("nowhere", Side.DO), ("A", Side.DO)}
    for wanted in ({DO}, every - {DO}, {*nowhere, ("b", Side.UNDO)}, set(), nowhere, every):
        assert set(await store.records(run.meta.uid, wanted)) == wanted - nowhere
    assert len(await store.records(run.meta.uid)) == 10


async def test_a_plan_is_written_once(store: Store) -> None:
    run = await make(store)
    await store.commit(Writes(run, PLAN))
    with pytest.raises(Conflict):
        await store.commit(Writes(run, Plan("other", ())))
    assert await store.plan(run.meta.uid) == PLAN


async def test_a_record_is_made_once(store: Store) -> None:
    run = await make(store)
    await store.commit(Writes(run, PLAN, [(record(), None)]))
    with pytest.raises(Conflict):
        await store.commit(Writes(run, records=[(record(number=2), None)], status=PROCESSING))
    assert (await store.records(run.meta.uid))[DO].value == record()
    assert (await store.get_run(run.meta.uid)).status == RunStatus()


async def test_a_records_version_guards(store: Store) -> None:
    run = await make(store)
    uid = run.meta.uid
    await store.commit(Writes(run, PLAN, [(record(), None)]))
    first = (await store.records(uid))[DO]
    await store.save_record(uid, record(number=2), first.version)
    second = (await store.records(uid))[DO]
    assert (second.value, second.version != first.version) == (record(number=2), True)
    for wrong in (first.version, "", "no version"):
        with pytest.raises(Conflict):
            await store.save_record(uid, record(number=3), wrong)
        with pytest.raises(Conflict):
            await store.commit(Writes(run, records=[(record(number=3), wrong)]))
    assert (await store.records(uid))[DO] == second
    await store.commit(Writes(run, records=[(record(number=3), second.version)]))
    assert (await store.records(uid))[DO].value == record(number=3)


async def test_what_follows_a_conflict_isnt_written(store: Store) -> None:
    run = await make(store)
    uid = run.meta.uid
    await store.commit(Writes(run, PLAN, [(record(), None)]))
    changes = [Change(RunState.PROCESSING, 5)]
    records = [(record(number=2), "no version"), (record("b"), None)]
    with pytest.raises(Conflict):
        await store.commit(Writes(run, None, records, PROCESSING, changes))
    assert (await store.records(uid)).keys() == {DO}
    found = await store.get_run(uid)
    assert (found.status, found.history) == (RunStatus(), ())
    assert await store.changes(None, 10) == []


async def test_a_run_that_was_written_meanwhile(store: Store) -> None:
    run = await make(store)
    await store.request(run.meta.uid, Request("1", Operation.RUN))
    with pytest.raises(Conflict):
        await store.commit(Writes(run, status=PROCESSING, changes=[Change(RunState.PROCESSING, 5)]))
    found = await store.get_run(run.meta.uid)
    assert (found.status, found.history) == (RunStatus(), ())
    await store.commit(Writes(found, status=PROCESSING))
    with pytest.raises(Conflict):
        await store.commit(Writes(found, status=RunStatus()))


async def test_nothing_is_written_from_a_stale_run(store: Store) -> None:
    run = await make(store)
    await store.suspend(run.meta.uid, True)
    for writes in (Writes(run, PLAN), Writes(run, records=[(record(), None)])):
        with pytest.raises(Conflict):
            await store.commit(writes)
    assert await store.plan(run.meta.uid) is None
    assert await store.records(run.meta.uid) == {}


async def test_a_record_write_leaves_the_run_as_it_is(store: Store) -> None:
    run = await make(store)
    await store.commit(Writes(run, PLAN, [(record(), None)]))
    version = (await store.records(run.meta.uid))[DO].version
    await store.save_record(run.meta.uid, record(number=2), version)
    await store.commit(Writes(run, status=PROCESSING))
    assert (await store.get_run(run.meta.uid)).status == PROCESSING


async def test_a_run_that_is_gone(store: Store) -> None:
    run = await make(store)
    await store.commit(Writes(run, PLAN, [(record(), None)]))
    version = (await store.records(run.meta.uid))[DO].version
    await store.remove_run(run.meta.uid)
    for call in (
        store.commit(Writes(run, status=PROCESSING)),
        store.commit(Writes(run, records=[(record("b"), None)])),
        store.save_record(run.meta.uid, record(), version),
        store.save_record(NOWHERE, record(), version),
    ):
        with pytest.raises(NotFound):
            await call


# ---------------------------------------------------------------------------------------- changes


async def log(store: Store, run: Run, *changes: Change) -> Run:
    await store.commit(Writes(run, status=PROCESSING, changes=changes))
    return await store.get_run(run.meta.uid)


async def read(store: Store, cursor: str | None, limit: int) -> list[Logged]:
    """All that comes after `cursor`, in parts."""
    found: list[Logged] = []
    while part := await store.changes(cursor, limit):
        assert len(part) <= limit
        found += part
        cursor = part[-1].cursor
    return found


async def test_changes_are_read_in_order_and_numbered(store: Store) -> None:
    a, b = await make(store), await make(store)
    for number in range(4):
        a = await log(store, a, *(Change(RunState.PROCESSING, 10 * number + i) for i in range(2)))
        b = await log(store, b, Change(RunState.ABORTED, number))
    for limit in (1, 2, 5, 100):
        found = await read(store, None, limit)
        assert len({logged.cursor for logged in found}) == 12
        for run in (a, b):
            mine = [logged for logged in found if logged.run == run.meta.uid]
            assert [logged.sequence for logged in mine] == list(range(1, len(mine) + 1))
            assert tuple(logged.change for logged in mine) == run.history


async def test_a_cursor_goes_on_from_there(store: Store) -> None:
    run = await log(store, await make(store), *(Change(RunState.PROCESSING, i) for i in range(5)))
    every = await read(store, None, 100)
    for position, logged in enumerate(every):
        assert await read(store, logged.cursor, 2) == every[position + 1 :]
    last = await store.last_cursor()
    assert await store.changes(last, 10) == []
    await log(store, run, Change(RunState.ABORTED, 9))
    (news,) = await store.changes(last, 10)
    assert (news.sequence, news.change.at) == (6, 9)


async def test_a_client_goes_on_without_a_loss(store: Store) -> None:
    run = await log(store, await make(store), *(Change(RunState.PROCESSING, i) for i in range(3)))
    every = await read(store, None, 100)
    for position, logged in enumerate(every):
        found = await read(store, await store.resume(logged.cursor), 2)
        missed = every[position + 1 :]
        assert [each for each in found if each in missed] == missed
    told = await store.resume(await store.last_cursor())
    await log(store, run, Change(RunState.ABORTED, 9))
    assert (await read(store, told, 100))[-1].sequence == 4


async def test_the_last_cursor_of_nothing(store: Store) -> None:
    start = await store.last_cursor()
    assert await store.changes(start, 10) == []
    await log(store, await make(store), Change(RunState.PROCESSING, 1))
    assert len(await store.changes(start, 10)) == 1


async def test_a_cursor_outlives_its_run(store: Store) -> None:
    gone = await log(store, await make(store), Change(RunState.PROCESSING, 1))
    cursor = await store.last_cursor()
    await store.remove_run(gone.meta.uid)
    assert await store.changes(cursor, 10) == []
    kept = await log(store, await make(store), Change(RunState.PROCESSING, 2))
    assert [logged.run for logged in await store.changes(cursor, 10)] == [kept.meta.uid]
    assert [logged.run for logged in await store.changes(None, 10)] == [kept.meta.uid]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5"])
async def test_a_cursor_that_is_none_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the implementation's
        await store.changes(cursor, 10)
    with pytest.raises(ValueError):  # noqa: PT011
        await store.resume(cursor)


# ---------------------------------------------------------------------------------------- touches


async def heard(touches: Any, enough: set[Touch]) -> set[Touch]:
    """Touches until all of `enough` were told."""
    found: set[Touch] = set()
    async with asyncio.timeout(5):
        while not enough <= found:
            found.add(await anext(touches))
    return found


async def test_each_write_touches(store: Store) -> None:
    unheard = await make(store)
    touches = store.touches()
    run = await make(store)
    uid = run.meta.uid
    await heard(touches, {Touch(uid, Part.SPEC)})
    for write in (
        store.request(uid, Request("1", Operation.RUN)),
        store.suspend(uid, True),
        store.mark_deleting(uid),
    ):
        await write
        await heard(touches, {Touch(uid, Part.SPEC)})
    run = await store.get_run(uid)
    await store.commit(Writes(run, PLAN, [(record(), None)], PROCESSING))
    await heard(touches, {Touch(uid, Part.STATUS)})
    version = (await store.records(uid))[DO].version
    await store.save_record(uid, record(number=2), version)
    await heard(touches, {Touch(uid, Part.RECORD)})
    version = (await store.records(uid))[DO].version
    begun = replace(record().attempts[0], steps=(StepRecord(0, 5, "n"),))
    await store.save_record(uid, TaskRecord(*DO, attempts=(begun,)), version)
    await heard(touches, {Touch(uid, Part.BEGUN)})
    await store.remove_run(uid)
    found = await heard(touches, {Touch(uid, Part.REMOVED)})
    assert unheard.meta.uid not in {touch.run for touch in found}


async def test_touches_are_kept_for_each_until_they_are_read(store: Store) -> None:
    early, late = store.touches(), store.touches()
    runs = [await make(store) for _ in range(300)]
    every = {Touch(run.meta.uid, Part.SPEC) for run in runs}
    assert await heard(early, every) == every
    assert await heard(late, every) == every


async def test_a_touch_comes_after_its_write(store: Store) -> None:
    run = await make(store)
    touches = store.touches()

    async def reader() -> None:
        async for touch in touches:
            found = await store.get_run(touch.run)
            if touch.part is Part.STATUS:
                assert found.status == PROCESSING
                return

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(reader())
        await store.commit(Writes(run, status=PROCESSING))


# ------------------------------------------------------------------------------------ concurrently


@pytest.mark.parametrize("seed", range(3))
async def test_guarded_writes_lose_nothing(store: Store, seed: int) -> None:
    """Many writers count in few records, some failing on purpose: no count is lost or doubled."""
    random = Random(seed)
    runs = [await make(store) for _ in range(3)]
    for run in runs:
        await store.commit(Writes(run, PLAN, [(record(number=0), None)]))
    counted = dict.fromkeys((run.meta.uid for run in runs), 0)

    async def count(uid: str) -> None:
        left = 6
        for _ in range(1000):
            stored = (await store.records(uid))[DO]
            number = stored.value.attempts[0].number + 1
            await asyncio.sleep(0.001 * random.random())
            try:
                await store.save_record(uid, record(number=number), stored.version)
            except Conflict:
                continue
            counted[uid] += 1
            left -= 1
            if not left:
                return

    await asyncio.gather(*(count(run.meta.uid) for run in runs for _ in range(5)))
    for uid, number in counted.items():
        assert number == 30, "each writer gets on"
        assert (await store.records(uid))[DO].value.attempts[0].number == number


async def test_a_conflict_takes_back_nothing_but_itself(store: Store) -> None:
    runs = [await make(store) for _ in range(40)]
    for run in runs[::2]:
        await store.suspend(run.meta.uid, True)
    changes = [Change(RunState.PROCESSING, 1)]
    done = await asyncio.gather(
        *(store.commit(Writes(run, PLAN, (), PROCESSING, changes)) for run in runs),
        return_exceptions=True,
    )
    assert [isinstance(each, Conflict) for each in done] == [True, False] * 20
    for number, run in enumerate(runs):
        found = await store.get_run(run.meta.uid)
        assert len(found.history) == number % 2
