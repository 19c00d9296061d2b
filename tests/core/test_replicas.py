"""A runner may call any replica, and what that has seen of the run may be old."""

from typing import Any

import pytest
from tests.core.kit.bench import Bench, finished

from xaas_core.engine.states import Operation, Side
from xaas_core.gateway import Gateway
from xaas_core.models.objects import Run
from xaas_core.ports import Store
from xaas_core.testing.builders import task_spec
from xaas_runner.contract import BeginAnswer, DeltaOp, ErrorInfo

pytestmark = pytest.mark.anyio


class Lagging:
    """`ports.Store`: the bench's, but `seen` is the newest that was seen of its run."""

    def __init__(self, store: Store) -> None:
        self.reads = 0
        self.seen: Run | None = None
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get_run(self, uid: str) -> Run:
        """See `ports.Store`."""
        self.reads += 1
        return await self._store.get_run(uid)

    async def seen_run(self, uid: str) -> Run:
        """See `ports.Store`."""
        return self.seen or await self._store.get_run(uid)


class Replica:
    """Another gateway, whose watch has told of `store.seen` and then stopped."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.store = Lagging(bench.store)
        store: Any = self.store
        self.gateway = Gateway(store, bench.clock)

    async def begin(self, ref: str, step: int, side: Side = Side.DO) -> BeginAnswer:
        """Ask it to begin a step."""
        runner = await self._bench.runner(ref, side)
        return await self.gateway.begin(runner, {"step": step, "nonce": "n", "runner": "pid"})

    async def finish(self, ref: str, step: int, *delta: DeltaOp, side: Side = Side.DO) -> None:
        """Report a step's end to it."""
        call = finished(step=step, delta=list(delta))
        await self.gateway.finish(await self._bench.runner(ref, side), call)


@pytest.fixture
def bench() -> Bench:
    """A server."""
    return Bench()


@pytest.fixture
def replica(bench: Bench) -> Replica:
    """Another one."""
    return Replica(bench)


def put(key: str, value: int) -> DeltaOp:
    """An edit."""
    return {"op": "set", "path": [key], "value": value}


async def test_a_further_step_is_begun_by_what_was_seen(bench: Bench, replica: Replica) -> None:
    await bench.start(task_spec("a"), task_spec("b", (True, True)), edges={"b": "a"})
    await bench.work("a", put("x", 1))
    assert (await bench.begin("b"))["answer"] == "go"
    await bench.finish("b", delta=[put("y", 2)])
    replica.store.seen = await bench.run()
    replica.store.reads = 0
    answer = await replica.begin("b", 1)
    assert answer["params"] == {"x": 1, "y": 2}
    await replica.finish("b", 1, put("y", 3))
    assert replica.store.reads == 0
    assert list((await bench.record("b")).attempts[0].delta()) == [put("y", 3)]


async def test_but_not_if_that_is_older_than_what_its_input_follows_from(
    bench: Bench, replica: Replica
) -> None:
    await bench.start(task_spec("a"), task_spec("b", (True, True)), edges={"b": "a"})
    replica.store.seen = await bench.run()
    await bench.work("a", put("x", 1))
    await bench.begin("b")
    await bench.finish("b", delta=[put("x", 2)])
    answer = await replica.begin("b", 1)
    assert answer["params"] == {"x": 2}
    await replica.finish("b", 1, put("x", 1))
    assert list((await bench.record("b")).attempts[0].delta()) == [], "taken back: nothing changed"


async def test_nor_if_it_is_of_before_a_recovery(bench: Bench, replica: Replica) -> None:
    tasks = [task_spec("a"), task_spec("b"), task_spec("c", (True, True))]
    edges, conditions = {"b": "a", "c": "b"}, {"b": "has wanted"}
    await bench.start(*tasks, edges=edges, conditions=conditions)
    await bench.work("a", put("wanted", 1))
    await bench.work("b", put("y", 1))
    replica.store.seen = await bench.run()
    await bench.work("c", raises="no")
    await bench.work("c", side=Side.UNDO)
    await bench.work("b", side=Side.UNDO)
    await bench.work("a", side=Side.UNDO, raises="no")
    await bench.ask(Operation.RECOVERY)
    await bench.work("a")
    await bench.begin("c")
    await bench.finish("c", delta=[put("z", 3)])
    answer = await replica.begin("c", 1)
    assert answer["params"] == {"z": 3}, "b was skipped this time"


async def test_nor_if_it_doesnt_know_of_the_rollback(bench: Bench, replica: Replica) -> None:
    """An undo that waits for no other, and steps that are undone from the last to the first."""
    await bench.start(task_spec("a"), task_spec("b", (True, True)), edges={"b": "a"})
    replica.store.seen = await bench.run()
    await bench.work("a", put("x", 1))
    await bench.begin("b")
    await bench.finish("b", delta=[put("y", 2)])
    await bench.begin("b", 1)
    runner = await bench.runner("b")
    error: ErrorInfo = {"type": "ValueError", "message": "no"}
    await bench.finish("b", step=1, outcome="failed", error=error)
    bench.gone(runner)
    await bench.reconcile()
    await bench.begin("b", 1, Side.UNDO)
    await bench.finish("b", Side.UNDO, step=1, delta=[put("z", 3)])
    answer = await replica.begin("b", 0, Side.UNDO)
    assert answer["params"] == {"x": 1, "y": 2, "z": 3}
    await replica.finish("b", 0, {"op": "delete", "path": ["x"]}, side=Side.UNDO)
    (attempt,) = (await bench.record("b", Side.UNDO)).attempts
    assert {"op": "delete", "path": ["x"]} in attempt.delta()


async def test_a_first_step_is_never_begun_by_what_was_seen(bench: Bench, replica: Replica) -> None:
    await bench.start(task_spec("a", (True, True)))
    replica.store.seen = await bench.run()
    await bench.store.mark_deleting(bench.uid)
    assert (await replica.begin("a", 0))["answer"] == "leave"
