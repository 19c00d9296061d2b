"""The contracts of the ports, held against each implementation: a fixture, a list to join.

A backend joins by one entry in `STORES` (`EVALUATORS`, ...): a function that gives a context in
which an empty one works, at a time that the test moves.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from xaas_core.ports import Clock, Evaluator, Store
from xaas_core.testing.clock import VirtualClock
from xaas_core.testing.memory_store import MemoryStore
from xaas_local.evaluator import ProcessEvaluator
from xaas_local.store import SqliteStore


@asynccontextmanager
async def sqlite(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    store = SqliteStore.open(folder / "xaas.db", clock)
    yield store
    await store.close()


@asynccontextmanager
async def memory(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    yield MemoryStore(clock)


@asynccontextmanager
async def process() -> AsyncIterator[Evaluator]:
    evaluator = ProcessEvaluator()
    await evaluator.start_up()
    yield evaluator
    await evaluator.close()


STORES: dict[str, Callable[[Path, Clock], AbstractAsyncContextManager[Store]]] = {
    "memory": memory,
    "sqlite": sqlite,
}

EVALUATORS: dict[str, Callable[[], AbstractAsyncContextManager[Evaluator]]] = {"process": process}


@pytest.fixture
def clock() -> VirtualClock:
    """The time by which a store notes when objects are made."""
    return VirtualClock()


@pytest.fixture(params=sorted(STORES))
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[Store]:
    """An empty store."""
    async with STORES[request.param](tmp_path, clock) as made:
        yield made


@pytest.fixture(params=sorted(EVALUATORS))
async def evaluator(request: pytest.FixtureRequest) -> AsyncIterator[Evaluator]:
    """An evaluator that works."""
    async with EVALUATORS[request.param]() as made:
        yield made
