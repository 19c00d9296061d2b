"""The contracts of the ports, held against each implementation: a fixture, a list to join.

A backend joins by one entry in `STORES` (`EVALUATORS`, ...): a function that gives a context in
which an empty one works, at a time that the test moves.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from xaas_core.ports import Clock, Evaluator, Store
from xaas_core.testing.clock import VirtualClock
from xaas_core.testing.memory_store import MemoryStore
from xaas_kube.client import ApiError, KubeClient
from xaas_kube.store import KubernetesStore
from xaas_kube.words import Resource, path
from xaas_local.evaluator import ProcessEvaluator
from xaas_local.store import SqliteStore

Made = AbstractAsyncContextManager[Store]


@asynccontextmanager
async def sqlite(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    store = SqliteStore.open(folder / "xaas.db", clock)
    yield store
    await store.close()


@asynccontextmanager
async def memory(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    yield MemoryStore(clock)


STORES: dict[str, Callable[[Path, Clock], Made]] = {"memory": memory, "sqlite": sqlite}


def kubernetes(access: Path, clock: Clock) -> Made:
    """As the API uses it."""
    return _kubernetes(access, clock, live_only=False)


def kubernetes_operator(access: Path, clock: Clock) -> Made:
    """As the operator uses it: records are watched, and what is put aside isn't."""
    return _kubernetes(access, clock, live_only=True)


@asynccontextmanager
async def _kubernetes(access: Path, clock: Clock, *, live_only: bool) -> AsyncIterator[Store]:
    client = await KubeClient.connect(access)
    await _empty(client)
    store = KubernetesStore(client, clock, live_only=live_only)
    await store.start_up()
    yield store
    await store.close()
    await client.close()


async def _empty(client: KubeClient) -> None:
    """Remove all of the product's objects; have the two namespaces that the suite names."""
    for resource in Resource:
        for item in (await client.get(path(resource, None)))["items"]:
            meta = item["metadata"]
            where = path(resource, meta["namespace"], meta["name"])
            if meta.get("finalizers"):
                item = await client.patch(where, {"metadata": {"finalizers": None}})
            with contextlib.suppress(ApiError):  # it was being deleted already
                await client.delete(where)
    with contextlib.suppress(ApiError):  # it is there
        await client.create("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})


ON_KUBERNETES: dict[str, Callable[[Path, Clock], Made]] = {
    "kubernetes": kubernetes,
    "kubernetes-operator": kubernetes_operator,
}
"""Stores that need an API server; they are given the access to it."""


@asynccontextmanager
async def process() -> AsyncIterator[Evaluator]:
    evaluator = ProcessEvaluator()
    await evaluator.start_up()
    yield evaluator
    await evaluator.close()


EVALUATORS: dict[str, Callable[[], AbstractAsyncContextManager[Evaluator]]] = {"process": process}


@pytest.fixture
def clock() -> VirtualClock:
    """The time by which a store notes when objects are made."""
    return VirtualClock()


def pytest_itemcollected(item: pytest.Item) -> None:
    """A test of a store on Kubernetes needs an API server, and is a test of a cluster by that."""
    called = item.callspec.params if hasattr(item, "callspec") else {}
    if isinstance(item, pytest.Function) and called.get("store") in ON_KUBERNETES:
        item.fixturenames.append("api_server")


@pytest.fixture(params=sorted([*STORES, *ON_KUBERNETES]))
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: VirtualClock
) -> AsyncIterator[Store]:
    """An empty store."""
    name = request.param
    if name in ON_KUBERNETES:
        context = ON_KUBERNETES[name](request.getfixturevalue("api_server"), clock)
    else:
        context = STORES[name](tmp_path, clock)
    async with context as made:
        yield made


@pytest.fixture(params=sorted(EVALUATORS))
async def evaluator(request: pytest.FixtureRequest) -> AsyncIterator[Evaluator]:
    """An evaluator that works."""
    async with EVALUATORS[request.param]() as made:
        yield made
