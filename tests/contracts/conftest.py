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


@asynccontextmanager
async def sqlite(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    store = SqliteStore.open(folder / "xaas.db", clock)
    yield store
    await store.close()


@asynccontextmanager
async def memory(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    yield MemoryStore(clock)


@asynccontextmanager
async def kubernetes(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    client = await KubeClient.connect(kubeconfig())
    await empty_cluster(client)
    store = KubernetesStore(client, clock)
    await store.start_up()
    yield store
    await store.close()
    await client.close()


@asynccontextmanager
async def kubernetes_operator(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    client = await KubeClient.connect(kubeconfig())
    await empty_cluster(client)
    store = KubernetesStore(client, clock, live_only=True)
    await store.start_up()
    yield store
    await store.close()
    await client.close()


@asynccontextmanager
async def process() -> AsyncIterator[Evaluator]:
    evaluator = ProcessEvaluator()
    await evaluator.start_up()
    yield evaluator
    await evaluator.close()


def kubeconfig() -> Path:
    return Path("/var/lib/xaas-test-cluster/kubeconfig")


async def empty_cluster(client: KubeClient) -> None:
    """Remove all of the product's objects; have the two namespaces that the suite names."""
    for resource in (Resource.RUNS, Resource.PIPELINES, Resource.TASKS, Resource.TASK_RUNS):
        found = await client.get(path(resource, None))
        for item in found["items"]:
            meta = item["metadata"]
            where = path(resource, meta["namespace"], meta["name"])
            with contextlib.suppress(ApiError):
                if meta.get("finalizers"):
                    await client.patch(where, {"metadata": {"finalizers": None}})
                await client.delete(where)
    with contextlib.suppress(ApiError):
        await client.create("/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})


STORES: dict[str, Callable[[Path, Clock], AbstractAsyncContextManager[Store]]] = {
    "kubernetes": kubernetes,
    "kubernetes-operator": kubernetes_operator,
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
