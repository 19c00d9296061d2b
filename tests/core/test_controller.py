"""The controller: how often it looks at a run, for each look costs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from operator import itemgetter

import pytest
from tests.core.kit.bench import Bench

from xaas_core import controller as under_test
from xaas_core.controller import Controller
from xaas_core.engine.states import RunState
from xaas_core.ports import Ports
from xaas_core.testing.builders import task_spec

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def controlled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Controller, Callable[[str], None]]]:
    """The controller, and what a launcher tells it with."""
    told: list[Callable[[str], None]] = []
    monkeypatch.setattr(bench.launcher, "subscribe", told.append)
    ports = Ports(bench.store, bench.launcher, bench.evaluator, bench.logs, bench.clock)
    controller = Controller(ports, bench.tokens)
    task = asyncio.create_task(controller.run())
    try:
        for _ in range(1000):  # each live run is looked at once, to begin with
            if not controller.looks:
                await asyncio.sleep(0.001)
        assert controller.looks == {"done": 1}
        controller.looks.clear()
        yield controller, told[0]
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def running() -> Bench:
    """A run whose one task has begun, as it has told."""
    bench = Bench()
    await bench.start(task_spec("a"))
    await bench.begin("a")
    await bench.reconcile()
    return bench


async def settled() -> None:
    """Wait until what waits for a moment was looked at as well."""
    await asyncio.sleep(2 * max(under_test.BEGUN_WAITS, under_test.SIGHTED_WAITS))


async def test_a_short_step_is_looked_at_once_for_its_begin_and_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    await bench.start(task_spec("a"))
    async with controlled(bench, monkeypatch) as (controller, _):
        await bench.begin("a")
        await asyncio.sleep(0)
        await bench.finish("a")
        await settled()
        assert controller.looks == {"done": 1}
        assert await bench.state() is RunState.COMPLETE


async def test_a_begin_is_told_though_no_end_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    await bench.start(task_spec("a"))
    async with controlled(bench, monkeypatch) as (controller, _):
        await bench.begin("a")
        await settled()
        assert controller.looks == {"done": 1}
        assert (await bench.history()).do("a").state.value == "running"


async def test_a_runners_end_is_looked_at_with_what_it_told_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = await running()
    async with controlled(bench, monkeypatch) as (controller, changed):
        bench.gone(await bench.runner("a"))
        changed(bench.uid)
        await asyncio.sleep(0)
        await bench.finish("a")
        await settled()
        assert controller.looks == {"done": 1}
        assert await bench.state() is RunState.COMPLETE


async def test_a_runners_end_is_looked_at_though_it_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = await running()
    async with controlled(bench, monkeypatch) as (_, changed):
        bench.gone(await bench.runner("a"))
        changed(bench.uid)
        await settled()
        assert await bench.state() is RunState.CANCELLING


async def test_of_many_runs_a_few_are_looked_at_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    many = [f"run-{number}" for number in range(7)]

    async def live_runs() -> list[str]:
        return many

    monkeypatch.setattr(bench.store, "live_runs", live_runs)
    monkeypatch.setattr(under_test, "RESYNC", 0.2)
    monkeypatch.setattr(under_test, "RESYNCED_AT_ONCE", 3)
    monkeypatch.setattr(under_test, "RESYNC_PAUSE", 0.05)
    turn = 0
    added: list[tuple[str, int]] = []
    ports = Ports(bench.store, bench.launcher, bench.evaluator, bench.logs, bench.clock)
    controller = Controller(ports, bench.tokens)
    monkeypatch.setattr(controller.queue, "add_idly", lambda uid: added.append((uid, turn)))
    task = asyncio.create_task(controller.run())
    try:
        async with asyncio.timeout(10):
            while len(added) < 2 * len(many):
                turn += 1
                await asyncio.sleep(0)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    first, second = added[: len(many)], added[len(many) : 2 * len(many)]
    assert [uid for uid, _ in first] == [uid for uid, _ in second] == many
    # At once when it begins, for nobody knows what was left undone; from then on with pauses.
    assert first[-1][1] - first[0][1] <= len(many)
    together = [[uid for uid, _ in few] for _, few in groupby(second, key=itemgetter(1))]
    assert together == [many[:3], many[3:6], many[6:]]
    assert second[-1][1] - second[0][1] > 10 * len(many)
