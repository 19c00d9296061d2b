"""Records on a real API server: in memory are those of the runs that aren't put aside, and all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from xaas_core.engine.facts import Request
from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import Operation, RunState, Side, TaskState
from xaas_core.models.objects import Run, RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Writes
from xaas_core.testing.builders import chain, run_spec
from xaas_core.testing.clock import VirtualClock
from xaas_kube import records
from xaas_kube.client import Json, KubeClient
from xaas_kube.store import KubernetesStore
from xaas_kube.words import Label, Resource, path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

PLACE = "records"
REFS = ("a", "b", "c")


@asynccontextmanager
async def watching(client: KubeClient) -> AsyncIterator[KubernetesStore]:
    """A store as a replica of the operator has it."""
    store = KubernetesStore(client, VirtualClock(), live_only=True)
    await store.start_up()
    try:
        yield store
    finally:
        await store.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


async def started(store: KubernetesStore) -> Run:
    """A run with a record for each of its task runs."""
    made = await store.create_run(PLACE, run_spec("p"), Target.PIPELINE, None, None)
    intents = [(TaskRecord(ref, Side.DO, attempts=(Attempt(1, 1, 1, (0,)),)), None) for ref in REFS]
    changes = [Change(RunState.PROCESSING, 1)]
    changes += [Change(TaskState.RUNNING, 1, ref, Side.DO, 1, 1) for ref in REFS]
    status = RunStatus(Summary(RunState.PROCESSING), planned=True)
    await store.commit(Writes(made, chain(*REFS), intents, status, changes))
    return await store.seen_run(made.meta.uid)


async def put_aside(store: KubernetesStore, run: Run) -> None:
    status = RunStatus(Summary(RunState.COMPLETE), planned=True)
    await store.commit(Writes(run, status=status, changes=[Change(RunState.COMPLETE, 2)]))
    await store.retire_run(await store.seen_run(run.meta.uid))


async def items_of(client: KubeClient, run: Run) -> dict[str, Json]:
    only = {"labelSelector": f"{Label.RUN}={run.meta.uid}"}
    found = await client.get(path(Resource.TASK_RUNS, PLACE), only)
    return {item["metadata"]["name"]: item["metadata"] for item in found["items"]}


async def refs(store: KubernetesStore, run: Run) -> list[str]:
    return sorted(ref for ref, _ in await store.records(run.meta.uid))


async def test_a_run_is_put_aside_and_taken_back_without_a_write_to_its_records(
    client: KubeClient,
) -> None:
    async with watching(client) as store:
        run = await started(store)
        before = await items_of(client, run)
        await put_aside(store, run)
        assert run.meta.uid not in store._records.cache.runs()
        store.lead()
        await store.request(run.meta.uid, Request("1", Operation.ROLLBACK))
        await until(lambda: store.where(run.meta.uid))
        assert await refs(store, run) == list(REFS)
        assert await items_of(client, run) == before
        await store.remove_run(run.meta.uid)


@pytest.mark.parametrize("bound", ["RUNS_OF_A_LIST", "CHANGES_OF_A_LIST"])
async def test_a_replica_that_starts_knows_the_records_of_all_runs_but_those_put_aside(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(records, bound, 2)
    async with watching(client) as store:
        runs = [await started(store) for _ in range(6)]
        over, live = runs[0], runs[1:]
        await put_aside(store, over)
        async with watching(client) as other:
            uids = {run.meta.uid for run in live}
            assert other._records.cache.runs() & {run.meta.uid for run in runs} == uids
            for run in live:
                assert len(other._records.cache.of(run.meta.uid) or ()) == len(REFS)
        for run in runs:
            await store.remove_run(run.meta.uid)


async def test_a_replica_that_doesnt_lead_has_all_records_of_a_run_that_was_taken_back(
    client: KubeClient,
) -> None:
    async with watching(client) as leader, watching(client) as other:
        run = await started(leader)
        uid = run.meta.uid
        await until(lambda: len(other._records.cache.uids(uid)) == len(REFS))
        await put_aside(leader, run)
        await until(lambda: other.where(uid) is None)
        assert uid not in other._records.cache.runs()
        leader.lead()
        await leader.request(uid, Request("1", Operation.ROLLBACK))
        await until(lambda: other.where(uid))
        # One of them is written before the others were asked for.
        version = (await leader.records(uid))["a", Side.DO].version
        record = TaskRecord("a", Side.DO, attempts=(Attempt(1, 1, 1, (0,), ended_at=3),))
        await leader.save_record(uid, record, version)
        await until(lambda: other._records.cache.uids(uid))
        assert await refs(other, run) == list(REFS)
        await leader.refresh()
        assert await refs(leader, run) == list(REFS)
        await leader.remove_run(uid)


async def test_a_record_that_is_removed_by_hand_is_no_longer_known(client: KubeClient) -> None:
    async with watching(client) as store:
        run = await started(store)
        name = next(iter(await items_of(client, run)))
        await client.delete(path(Resource.TASK_RUNS, PLACE, name))
        await until(lambda: len(store._records.cache.uids(run.meta.uid)) == len(REFS) - 1)
        assert len(await store.records(run.meta.uid)) == len(REFS) - 1
        await store.remove_run(run.meta.uid)


async def test_what_somebody_writes_of_a_run_that_is_put_aside_isnt_kept(
    client: KubeClient,
) -> None:
    async with watching(client) as store:
        run = await started(store)
        await put_aside(store, run)
        for name in await items_of(client, run):
            where = path(Resource.TASK_RUNS, PLACE, name)
            written = await client.patch(where, {"metadata": {"annotations": {"seen": "yes"}}})
        version = int(written["metadata"]["resourceVersion"])
        await until(lambda: store._records.informer.version >= version)
        assert run.meta.uid not in store._records.cache.runs()
        await store.remove_run(run.meta.uid)
