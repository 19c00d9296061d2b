"""What the store keeps decoded is what the file holds, whatever was written in which order."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from xaas_core.engine.facts import Request
from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import Operation, RunState, Side
from xaas_core.models.objects import RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Conflict, NotFound, OperationPending, Store, Writes
from xaas_core.testing.builders import chain, run_spec
from xaas_core.testing.clock import VirtualClock
from xaas_local.kept_runs import KeptRuns
from xaas_local.store import SqliteStore

pytestmark = pytest.mark.anyio

PLAN = chain("a", "b")


class Chaos:
    """Reads and writes a run in a random order, from versions that may be out of date."""

    def __init__(self, store: Store, uid: str, seed: int) -> None:
        self.store = store
        self.uid = uid
        self.random = Random(seed)
        self.written = 0

    async def act(self) -> None:
        acts = [self.read, self.read, self.reconcile, self.reconcile, self.report, self.ask]
        for _ in range(40):
            try:
                await self.random.choice(acts)()
            except (Conflict, OperationPending, NotFound):
                continue

    async def read(self) -> None:
        await self.store.get_run(self.uid)
        await self.store.plan(self.uid)
        await self.store.records(self.uid, {("a", Side.DO)})

    async def reconcile(self) -> None:
        run = await self.store.get_run(self.uid)
        stored = await self.store.records(self.uid)
        made = await self.store.plan(self.uid) is not None
        await asyncio.sleep(0.001 * self.random.random())
        key = ("b", self.random.choice(list(Side)))
        known = stored.get(key)
        record = TaskRecord(*key, attempts=(Attempt(self.random.randrange(99), 0, 5, (0,)),))
        await self.store.commit(
            Writes(
                run,
                None if made else PLAN,
                [(record, known.version if known is not None else None)],
                RunStatus(Summary(message=str(self.random.random())), planned=True),
                [Change(RunState.PROCESSING, n) for n in range(self.random.randrange(3))],
            )
        )
        self.written += 1

    async def report(self) -> None:
        stored = (await self.store.records(self.uid)).get(("b", Side.DO))
        if stored is None:
            raise NotFound
        record = TaskRecord(
            "b", Side.DO, attempts=(Attempt(self.random.randrange(99), 0, 5, (0,)),)
        )
        await asyncio.sleep(0.001 * self.random.random())
        await self.store.save_record(self.uid, record, stored.version)
        self.written += 1

    async def ask(self) -> None:
        if self.random.random() < 0.5:
            await self.store.suspend(self.uid, self.random.random() < 0.5)
        else:
            await self.store.request(self.uid, Request(str(self.random.random()), Operation.RUN))


@pytest.mark.parametrize("seed", range(4))
async def test_kept_and_written_agree(tmp_path: Path, seed: int) -> None:
    store = SqliteStore.open(tmp_path / "xaas.db", VirtualClock())
    if seed % 2:
        store._kept = KeptRuns(room=5_000)  # hardly one run
    spec = run_spec("p", {"a": 1.0})
    runs = [await store.create_run("default", spec, Target.PIPELINE, None, None) for _ in range(3)]
    chaos = [Chaos(store, run.meta.uid, 10 * seed + n) for n, run in enumerate(runs * 3)]
    await asyncio.gather(*(each.act() for each in chaos))
    assert sum(each.written for each in chaos) > 50
    fresh = SqliteStore.open(tmp_path / "xaas.db", VirtualClock())
    for run in runs:
        uid = run.meta.uid
        assert await store.get_run(uid) == await fresh.get_run(uid)
        assert await store.plan(uid) == await fresh.plan(uid) == PLAN
        assert await store.records(uid) == await fresh.records(uid)
    await fresh.close()
    await store.close()


def test_room_is_bounded() -> None:
    kept = KeptRuns(room=10_000)
    for number in range(100):
        kept.get(str(number))
        kept.grow(str(number), 100)
    assert kept._used == sum(each.size for each in kept._kept.values()) <= 10_000
    assert list(kept._kept) == ["96", "97", "98", "99"]
