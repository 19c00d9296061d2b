"""`Store`: what users write of runs, and how runs are read."""

from typing import Any

import pytest

from xaas_core.engine.facts import Reply, Request
from xaas_core.engine.history import Change
from xaas_core.engine.states import Operation, Reason, RunState, Side, TaskState
from xaas_core.models.objects import Run, RunStatus, RunWarning, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import (
    Conflict,
    Idempotency,
    KeyReused,
    Kind,
    NotFound,
    NotOver,
    OperationPending,
    Page,
    Query,
    Store,
    Writes,
)
from xaas_core.testing.builders import entry, pipeline_spec, run_spec
from xaas_core.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

HERE = "default"
NOWHERE = "00000000-0000-4000-8000-000000000000"


async def make(store: Store, name: str = "p", **more: Any) -> Run:
    """A run of Pipeline `name`."""
    return await store.create_run(HERE, run_spec(name, **more), Target.PIPELINE, None, None)


async def move(store: Store, run: Run, state: RunState, reply: Reply | None = None) -> Run:
    """Write a state, as the reconciler does it."""
    status = RunStatus(Summary(state=state), reply=reply, planned=True)
    await store.commit(Writes(run, status=status))
    return await store.get_run(run.meta.uid)


def uids(page: Page[Run]) -> list[str]:
    return [run.meta.uid for run in page.items]


async def test_a_new_run_is_pending(store: Store, clock: VirtualClock) -> None:
    spec = run_spec("p", {"a": 1}, auto_rollback=False, timeout="10s")
    run = await store.create_run(HERE, spec, Target.PIPELINE, None, None)
    assert (run.meta.namespace, run.meta.created_at) == (HERE, clock.now())
    assert (run.spec, run.target, run.request) == (spec, Target.PIPELINE, None)
    assert (run.status, run.history, run.meta.deleting) == (RunStatus(), (), False)
    assert await store.get_run(run.meta.uid) == run
    assert await store.plan(run.meta.uid) is None
    assert await store.records(run.meta.uid) == {}


async def test_parameters_are_kept_exactly(store: Store) -> None:
    parameters = {
        "z": [1, 1.0, -0.0, 1e300, 2**63 - 1, True, None],
        "a": {"é": "\u2028", "": {}, "nested": {"b": 1, "a": [[]]}},
    }
    run = await make(store, parameters=parameters)
    found = await store.get_run(run.meta.uid)
    (listed,) = (await store.list_runs(HERE, Query())).items
    for each in (found, listed):
        assert repr(each.spec.parameters) == repr(parameters)
        assert each.spec.as_written() == run.spec.as_written()


async def test_what_isnt_there_isnt_found(store: Store) -> None:
    for call in (
        store.get_run(NOWHERE),
        store.plan(NOWHERE),
        store.request(NOWHERE, Request("1", Operation.RUN)),
        store.suspend(NOWHERE, True),
        store.mark_deleting(NOWHERE),
    ):
        with pytest.raises(NotFound):
            await call
    await store.remove_run(NOWHERE)


async def test_every_write_changes_the_version(store: Store) -> None:
    run = await make(store)
    uid = run.meta.uid
    asked = await store.request(uid, Request("1", Operation.RUN))
    suspended = await store.suspend(uid, True)
    marked = await store.mark_deleting(uid)
    moved = await move(store, marked, RunState.PROCESSING)
    versions = [each.meta.resource_version for each in (run, asked, suspended, marked, moved)]
    assert len(set(versions)) == 5
    assert await store.get_run(uid) == moved
    assert (moved.request, moved.spec.suspend) == (Request("1", Operation.RUN), True)
    assert moved.meta.deleting


async def test_a_stale_write_is_refused(store: Store) -> None:
    run = await make(store)
    await store.suspend(run.meta.uid, True)
    with pytest.raises(Conflict):
        await move(store, run, RunState.PROCESSING)
    assert (await store.get_run(run.meta.uid)).status == RunStatus()


async def test_one_operation_at_a_time(store: Store) -> None:
    run = await make(store)
    uid, first, second = run.meta.uid, Request("1", Operation.RUN), Request("2", Operation.CANCEL)
    asked = await store.request(uid, first)
    assert asked.pending_request == first
    with pytest.raises(OperationPending):
        await store.request(uid, second)
    assert await store.request(uid, first) == asked
    answer = Reply("1", Operation.RUN, True, RunState.PROCESSING)
    answered = await move(store, asked, RunState.PROCESSING, answer)
    assert (answered.pending_request, answered.status.reply) == (None, answer)
    assert (await store.request(uid, second)).pending_request == second


async def test_a_request_that_came_before_changes_nothing(store: Store) -> None:
    run = await store.create_run(
        HERE, run_spec("p"), Target.PIPELINE, Request("1", Operation.RUN), None
    )
    assert run.pending_request == Request("1", Operation.RUN)
    for number, operation, state in (
        ("1", Operation.RUN, RunState.PROCESSING),
        ("2", Operation.CANCEL, RunState.CANCELLING),
    ):
        reply = Reply(number, operation, True, state)
        run = await move(store, run, state, reply)
        assert run.pending_request is None
        for known in range(1, int(number) + 1):
            run = await store.request(run.meta.uid, Request(str(known), Operation.RUN))
            assert run.pending_request is None
        run = await store.request(run.meta.uid, Request(f"{int(number) + 1}", Operation.CANCEL))
        assert run.pending_request is not None


async def test_a_refused_request_may_come_again(store: Store) -> None:
    run = await make(store)
    uid = run.meta.uid
    waiting = await store.request(uid, Request("1", Operation.RUN))
    with pytest.raises(OperationPending):
        await store.request(uid, Request("2", Operation.CANCEL))
    await move(
        store, waiting, RunState.PROCESSING, Reply("1", Operation.RUN, True, RunState.ABORTED)
    )
    asked = await store.request(uid, Request("2", Operation.CANCEL))
    assert asked.pending_request == Request("2", Operation.CANCEL)


async def test_suspend_is_written_into_the_spec(store: Store) -> None:
    run = await make(store, parameters={"a": 1.0})
    for suspend in (True, True, False, True):
        changed = await store.suspend(run.meta.uid, suspend)
        assert changed.spec.suspend is suspend
        assert changed.spec.as_written()["suspend"] is suspend
        assert repr(changed.spec.parameters) == "{'a': 1.0}"
        assert (await store.get_run(run.meta.uid)).spec == changed.spec


async def test_a_key_makes_one_run(store: Store) -> None:
    key = Idempotency("key", "digest")
    request = Request("1", Operation.RUN)
    run = await store.create_run(HERE, run_spec("p"), Target.PIPELINE, request, key)
    moved = await move(store, run, RunState.PROCESSING)
    again = await store.create_run(HERE, run_spec("p"), Target.PIPELINE, request, key)
    assert again == moved
    with pytest.raises(KeyReused, match="key"):
        await store.create_run(
            HERE, run_spec("p"), Target.PIPELINE, None, Idempotency("key", "other")
        )
    other = await store.create_run("elsewhere", run_spec("p"), Target.PIPELINE, None, key)
    assert other.meta.uid != run.meta.uid
    assert uids(await store.list_runs(HERE, Query())) == [run.meta.uid]


async def test_a_key_is_recalled(store: Store) -> None:
    key = Idempotency("key", "digest")
    assert await store.recall_run(HERE, key) is None
    assert await store.recall_run(HERE, key) is None
    run = await store.create_run(HERE, run_spec("p"), Target.PIPELINE, None, key)
    assert await store.recall_run(HERE, key) == run
    assert await store.recall_run("elsewhere", key) is None
    with pytest.raises(KeyReused, match="key"):
        await store.recall_run(HERE, Idempotency("key", "other"))


async def test_lists_have_no_history_and_no_hidden_runs(store: Store) -> None:
    run = await make(store)
    hidden = await store.create_run(HERE, run_spec("t"), Target.TASK, None, None)
    changes = [Change(RunState.PROCESSING, 5), Change(TaskState.RUNNING, 6, "a", Side.DO, 1, 1)]
    summary = Summary(
        RunState.PROCESSING, Reason.REQUESTED, "a text", 5, None, {"total": 2, "running": 1}
    )
    warning = RunWarning("ParamsConflict", "text", ("a", "b"), ("x", "y"))
    await store.commit(
        Writes(run, status=RunStatus(summary, (warning,), None, True), changes=changes)
    )
    found = await store.get_run(run.meta.uid)
    assert found.status == RunStatus(summary, (warning,), None, True)
    assert found.history == tuple(changes)
    (listed,) = (await store.list_runs(HERE, Query())).items
    assert listed.history == ()
    assert (listed.meta, listed.status, listed.spec) == (found.meta, found.status, found.spec)
    assert (await store.get_run(hidden.meta.uid)).target is Target.TASK


async def test_lists_by_page_and_filter(store: Store, clock: VirtualClock) -> None:
    for name, category in (("p", "red"), ("q", "blue")):
        spec = pipeline_spec(name, entry("a")).model_copy(update={"category": category})
        await store.create_definition(Kind.PIPELINE, HERE, spec, None)
    start = clock.now()
    runs = []
    for number in range(6):
        run = await make(store, "pq"[number % 2])
        state = RunState.COMPLETE if number % 3 == 0 else RunState.PROCESSING
        await move(store, run, state)
        runs.append(run.meta.uid)
        clock.advance(10)
    await store.create_run("elsewhere", run_spec("p"), Target.PIPELINE, None, None)

    async def numbers(**query: Any) -> list[int]:
        return [runs.index(uid) for uid in uids(await store.list_runs(HERE, Query(**query)))]

    assert await numbers() == [5, 4, 3, 2, 1, 0]
    assert await numbers(status="complete") == [3, 0]
    assert await numbers(status="no such state") == []
    assert await numbers(pipeline="q") == [5, 3, 1]
    assert await numbers(category="red") == [4, 2, 0]
    assert await numbers(category="red", status="processing") == [4, 2]
    assert await numbers(created_after=start + 20, created_before=start + 50) == [4, 3]
    first = await store.list_runs(HERE, Query(limit=2, pipeline="q"))
    await store.remove_run(first.items[-1].meta.uid)
    second = await store.list_runs(HERE, Query(limit=2, pipeline="q", after=first.after))
    assert uids(first) + uids(second) == [runs[5], runs[3], runs[1]]
    assert second.after is None


@pytest.mark.parametrize("token", ["", "x", "-1", "1; DROP TABLE"])
async def test_a_token_that_is_none_is_refused(store: Store, token: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the implementation's
        await store.list_runs(HERE, Query(after=token))


async def test_live_runs_are_those_that_need_something(store: Store) -> None:
    states = {state: (await make(store)).meta.uid for state in RunState}
    for state, uid in states.items():
        if state is not RunState.PENDING:
            await move(store, await store.get_run(uid), state)
    expiring = await make(store, ttl_after_finished="1h")
    await move(store, expiring, RunState.COMPLETE)
    deleted, asked = await make(store), await make(store)
    for run in (deleted, asked):
        await move(store, run, RunState.COMPLETE)
    await store.mark_deleting(deleted.meta.uid)
    await store.request(asked.meta.uid, Request("1", Operation.ROLLBACK))
    over = {states[RunState.COMPLETE], states[RunState.CANCELLED]}
    for uid in over:
        await store.retire_run(await store.get_run(uid))
        await store.retire_run(await store.get_run(uid))
    others = {run.meta.uid for run in (expiring, deleted, asked)}
    assert set(await store.live_runs()) == set(states.values()) - over | others
    answered = await store.get_run(asked.meta.uid)
    reply = Reply("1", Operation.ROLLBACK, False, RunState.COMPLETE, "no")
    await move(store, answered, RunState.COMPLETE, reply)
    await store.retire_run(await store.get_run(asked.meta.uid))
    await store.remove_run(deleted.meta.uid)
    rest = {expiring.meta.uid}
    assert set(await store.live_runs()) == set(states.values()) - over | rest


async def test_a_run_is_deleted_only_if_it_is_over_and_nothing_is_asked_of_it(store: Store) -> None:
    run = await make(store)
    uid = run.meta.uid
    with pytest.raises(NotOver, match="pending"):
        await store.mark_deleting(uid, only_over=True)
    await move(store, run, RunState.COMPLETE)
    await store.request(uid, Request("1", Operation.ROLLBACK))
    with pytest.raises(NotOver, match="rollback isn't decided yet"):
        await store.mark_deleting(uid, only_over=True)
    assert not (await store.get_run(uid)).meta.deleting
    reply = Reply("1", Operation.ROLLBACK, False, RunState.COMPLETE, "no")
    await move(store, await store.get_run(uid), RunState.COMPLETE, reply)
    assert (await store.mark_deleting(uid, only_over=True)).meta.deleting


async def test_a_run_is_removed_only_if_nothing_was_asked_since_that_was_decided(
    store: Store,
) -> None:
    run = await make(store)
    uid, decided = run.meta.uid, (await move(store, run, RunState.COMPLETE)).meta.resource_version
    await store.request(uid, Request("1", Operation.ROLLBACK))
    with pytest.raises(Conflict):
        await store.remove_run(uid, decided)
    assert (await store.get_run(uid)).pending_request == Request("1", Operation.ROLLBACK)
    await store.mark_deleting(uid)
    await store.remove_run(uid, decided)  # whoever deletes it doesn't care
    with pytest.raises(NotFound):
        await store.get_run(uid)
    await store.remove_run(uid, decided)


async def test_a_removed_run_is_gone_with_all_it_owns(store: Store) -> None:
    run, other = await make(store), await make(store)
    for each in (run, other):
        changes = [Change(RunState.PROCESSING, 5)]
        await store.commit(Writes(each, status=RunStatus(), changes=changes))
    await store.remove_run(run.meta.uid)
    await store.remove_run(run.meta.uid)
    with pytest.raises(NotFound):
        await store.get_run(run.meta.uid)
    with pytest.raises(NotFound):
        await store.plan(run.meta.uid)
    assert uids(await store.list_runs(HERE, Query())) == [other.meta.uid]
    assert [logged.run for logged in await store.changes(None, 100)] == [other.meta.uid]
