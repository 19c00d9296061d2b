"""Runs of many tasks on a real API server: what is known of them isn't read again, and is never old."""

from collections.abc import AsyncIterator

import pytest

from xaas_core.engine.history import Change
from xaas_core.engine.states import RunState
from xaas_core.models.objects import Run, RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import NotFound, Writes
from xaas_core.testing.builders import run_spec
from xaas_core.testing.clock import VirtualClock
from xaas_kube.client import METADATA, KubeClient
from xaas_kube.store import LONG, KubernetesStore
from xaas_kube.words import Resource, path

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

PLACE = "long-runs"
ENOUGH = LONG + 1


@pytest.fixture
async def store(client: KubeClient) -> AsyncIterator[KubernetesStore]:
    store = KubernetesStore(client, VirtualClock(), live_only=True)
    await store.start_up()
    yield store
    await store.close()


async def long_run(store: KubernetesStore) -> Run:
    made = await store.create_run(PLACE, run_spec("p"), Target.PIPELINE, None, None)
    moves = (RunState.PROCESSING, RunState.ABORTED)
    changes = [Change(moves[number % 2], number) for number in range(ENOUGH)]
    status = RunStatus(Summary(moves[(ENOUGH - 1) % 2]), planned=True)
    await store.commit(Writes(made, status=status, changes=changes))
    return await store.seen_run(made.meta.uid)


async def test_a_long_run_that_is_known_is_not_read_again(
    client: KubeClient, store: KubernetesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = await long_run(store)
    asked, get = [], client.get

    async def noted(path: str, params: None = None, accept: str = "") -> object:
        asked.append(accept)
        return await get(path, params, accept)

    monkeypatch.setattr(client, "get", noted)
    found = await store.get_run(known.meta.uid)
    assert (found, len(found.history)) == (known, ENOUGH)
    assert asked == [METADATA]
    await store.remove_run(known.meta.uid)


async def test_what_others_wrote_is_seen_though_no_watch_tells(
    client: KubeClient, store: KubernetesStore
) -> None:
    known = await long_run(store)
    await store.close()  # it watches no more
    (item,) = (await client.get(path(Resource.RUNS, PLACE)))["items"]
    where = path(Resource.RUNS, PLACE, item["metadata"]["name"])
    await client.patch(where, {"spec": {"suspend": True}})
    found = await store.get_run(known.meta.uid)
    assert (found.spec.suspend, len(found.history)) == (True, ENOUGH)
    await store.remove_run(known.meta.uid)
    with pytest.raises(NotFound):
        await store.get_run(known.meta.uid)
