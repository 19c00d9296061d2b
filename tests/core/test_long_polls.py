"""Waits that end with their server."""

import asyncio
import time

import pytest
from tests.core.kit.bench import Bench

from xaas_core.engine.states import Side
from xaas_core.gateway import Gateway
from xaas_core.long_polls import LongPolls
from xaas_core.ports import RunnerKey
from xaas_core.testing.builders import task_spec

pytestmark = pytest.mark.anyio

LONG = 30.0


async def waited(polls: LongPolls, seconds: float) -> float:
    """For how long something that never comes is waited for."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with polls.within(seconds):
            await asyncio.Event().wait()
    return time.monotonic() - began


async def test_they_have_their_time() -> None:
    assert 0.05 <= await waited(LongPolls(), 0.05) < LONG
    assert await waited(LongPolls(), -1) < LONG
    polls = LongPolls()
    async with polls.within(0.05):
        pass
    polls.end()


async def test_they_end_with_the_server_also_those_that_come_late() -> None:
    polls = LongPolls()
    waits = [asyncio.create_task(waited(polls, LONG)) for _ in range(3)]
    await asyncio.sleep(0.01)
    polls.end()
    polls.end()
    assert max(await asyncio.gather(*waits)) < LONG / 2
    assert await waited(polls, LONG) < LONG / 2


async def test_a_runner_that_waits_for_its_turn_is_told_to_ask_again() -> None:
    bench, polls = Bench(), LongPolls()
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    gateway = Gateway(bench.store, bench.clock, polls)
    waiting = asyncio.create_task(
        gateway.wait(RunnerKey(bench.uid, "b", Side.DO, 1, 1), 0, patience=LONG)
    )
    await asyncio.sleep(0.01)
    assert not waiting.done()
    polls.end()
    async with asyncio.timeout(LONG / 2):
        assert (await waiting)["answer"] == "wait"
