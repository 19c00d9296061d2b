"""The queue of keys: nothing that was added is forgotten, and one worker per key."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from xaas_core.queue import KeyedQueue, Work

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(work: Work, workers: int = 8) -> AsyncIterator[tuple[KeyedQueue, list[str]]]:
    """A queue at work, and the errors that it reports."""
    errors: list[str] = []
    queue = KeyedQueue(
        work,
        lambda key, error: errors.append(f"{key}: {error}"),
        workers,
        first_delay=0.001,
        longest_delay=0.004,
    )
    task = asyncio.create_task(queue.run())
    try:
        yield queue, errors
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until `condition()` holds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what it waits for knows no events
            await asyncio.sleep(0)


async def test_a_key_is_worked_on_once_however_often_it_was_added() -> None:
    done: list[str] = []

    async def work(key: str) -> None:
        done.append(key)

    async with running(work) as (queue, _):
        for key in "aabba":
            queue.add(key)
        assert len(queue) == 2
        await until(lambda: len(done) == 2)
        await asyncio.sleep(0.01)
    assert done == ["a", "b"]


async def test_added_while_it_is_worked_on_it_is_worked_on_once_more_afterwards() -> None:
    go = asyncio.Event()
    active, most, done = 0, 0, 0

    async def work(_: str) -> None:
        nonlocal active, most, done
        active += 1
        most = max(most, active)
        await go.wait()
        active -= 1
        done += 1

    async with running(work) as (queue, _):
        queue.add("a")
        await until(lambda: active == 1)
        for _ in range(5):
            queue.add("a")
            await asyncio.sleep(0)
        go.set()
        await until(lambda: done == 2)
        await asyncio.sleep(0.01)
    assert (done, most) == (2, 1)


async def test_a_busy_key_doesnt_hold_back_others() -> None:
    stuck = asyncio.Event()
    done: list[str] = []

    async def work(key: str) -> None:
        if key == "stuck":
            await stuck.wait()
        done.append(key)

    async with running(work) as (queue, _):
        queue.add("stuck")
        await asyncio.sleep(0)
        queue.add("stuck")
        queue.add("a")
        await until(lambda: "a" in done)
        assert done == ["a"]
        stuck.set()
        await until(lambda: done.count("stuck") == 2)


async def test_no_more_workers_than_allowed() -> None:
    active, most = 0, 0

    async def work(_: str) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.001)
        active -= 1

    async with running(work, workers=3) as (queue, _):
        for key in "abcdefghij":
            queue.add(key)
        await until(lambda: not len(queue) and not active)
    assert most == 3


async def test_a_failure_is_reported_and_the_key_tried_again_and_others_go_on() -> None:
    tries: list[str] = []

    async def work(key: str) -> None:
        tries.append(key)
        if key == "bad" and tries.count("bad") < 4:
            raise ValueError("not now")

    async with running(work) as (queue, errors):
        queue.add("bad")
        queue.add("good")
        await until(lambda: tries.count("bad") == 4)
        await asyncio.sleep(0.02)
    assert errors == ["bad: not now"] * 3
    assert tries.count("bad") == 4
    assert tries.count("good") == 1


async def test_the_works_answer_says_when_to_look_again() -> None:
    times: list[float] = []

    async def work(_: str) -> float | None:
        times.append(asyncio.get_running_loop().time())
        return 0.02 if len(times) < 3 else None

    async with running(work) as (queue, _):
        queue.add("a")
        await until(lambda: len(times) == 3)
        await asyncio.sleep(0.05)
    assert len(times) == 3
    assert all(later - earlier >= 0.019 for earlier, later in pairwise(times))


async def test_the_earlier_of_two_times_holds_and_an_add_is_earlier_than_any() -> None:
    done = 0

    async def work(_: str) -> None:
        nonlocal done
        done += 1

    async with running(work) as (queue, _):
        queue.add_after("a", 60)
        queue.add_after("a", 0.01)
        queue.add_after("a", 30)
        await until(lambda: done == 1)
        queue.add_after("a", 60)
        queue.add("a")
        await until(lambda: done == 2)


async def test_what_is_added_idly_comes_after_all_else() -> None:
    order: list[str] = []

    async def work(key: str) -> None:
        order.append(key)
        if key == "idle 1":
            queue.add("b")
            queue.add("idle 3")
            queue.add_idly("b")
        await asyncio.sleep(0)

    async with running(work, workers=1) as (queue, _):
        for number in range(1, 4):
            queue.add_idly(f"idle {number}")
        queue.add("a")
        assert len(queue) == 4
        await until(lambda: len(order) == 5)
    assert order == ["a", "idle 1", "b", "idle 3", "idle 2"]


async def test_stopping_it_stops_its_workers() -> None:
    stopped = asyncio.Event()
    started = asyncio.Event()

    async def work(_: str) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with running(work) as (queue, _):
        queue.add("a")
        await started.wait()
    assert stopped.is_set()
