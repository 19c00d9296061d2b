"""Idle runners on a real API server: made, given away once, and told what they are for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xaas_core.clock import SystemClock
from xaas_core.engine.plan import SecretRef, TaskPlan
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder, RunnerKey
from xaas_core.testing.builders import task_plan
from xaas_core.tokens import IdleRunner, Tokens
from xaas_kube.client import ApiError, Json, KubeClient
from xaas_kube.jobs import (
    OUTAGE,
    JobSettings,
    job,
    may_be_pooled,
    pod_marks,
    runner_of,
    shape_of,
)
from xaas_kube.pool import Pool
from xaas_kube.run_index import KnownRun, known_run
from xaas_kube.sightings import is_ours, read_job
from xaas_kube.words import Annotation, Label, jobs

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

SETTINGS = JobSettings(image="runner", pool=2, max_wait=60)
GATEWAY = "http://10.0.0.1:8082"
UID = "8b0f0e9e-0000-4000-8000-000000000000"


def order(task: TaskPlan | None = None, **more: Any) -> LaunchOrder:
    """An order for task `a` of the run."""
    task = task or task_plan("a", timeout=60_000)
    first = LaunchOrder(UID, "default", task.ref, Side.DO, 1, 1, (0,), task, "token")
    return replace(first, **more)


def run() -> KnownRun:
    """The run that orders are for."""
    meta = {"uid": UID, "namespace": "default", "name": "r", "resourceVersion": "1"}
    meta |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return known_run({"metadata": meta, "spec": {"name": "p"}})


class Pools:
    """A pool on the API server, and what is done with it."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self.tokens = Tokens(b"k" * 32)
        self.pool = self.another()

    def another(self, settings: JobSettings = SETTINGS) -> Pool:
        """The pool of another replica."""
        return Pool(self.client, settings, GATEWAY, self.tokens.issue_idle, SystemClock())

    async def filled(self) -> list[Json]:
        """The idle Jobs, once the shape of `order()` was used and the pool filled up."""
        assert await self.pool.take(order(), run()) is None, "the first finds it empty"
        await self.pool._fill_up(asyncio.get_running_loop().time())
        return await self.jobs()

    async def jobs(self) -> list[Json]:
        """All Jobs of pools."""
        found = await self.client.get(jobs("default"), {"labelSelector": Label.POOL.value})
        return list(found["items"])

    async def clear(self) -> None:
        """Remove them."""
        for each in await self.jobs():
            name = each["metadata"]["name"]
            await self.client.delete(jobs("default", name), {"propagationPolicy": "Background"})


@pytest.fixture
async def pools(api_server: Path) -> AsyncIterator[Pools]:
    """A pool, and nothing left of it."""
    client = await KubeClient.connect(api_server)
    found = Pools(client)
    yield found
    await found.clear()
    await client.close()


async def test_a_shape_that_was_used_is_kept_in_stock(pools: Pools) -> None:
    made = await pools.filled()
    assert len(made) == pools.pool.idle == 2
    for each in made:
        assert not is_ours(each), "it is no run's"
        name = each["metadata"]["name"]
        (container,) = each["spec"]["template"]["spec"]["containers"]
        environment = {given["name"]: given["value"] for given in container["env"]}
        assert pools.tokens.read(environment["XAAS_TOKEN"]) == IdleRunner("default", name)
        assert environment["XAAS_MAX_WAIT"] == "60"
    await pools.pool._fill_up(asyncio.get_running_loop().time())
    assert len(await pools.jobs()) == 2, "it is full"


async def test_what_wasnt_used_lately_isnt_made_again(pools: Pools) -> None:
    await pools.pool.take(order(), run())
    await pools.pool._fill_up(asyncio.get_running_loop().time() + 61)
    assert await pools.jobs() == []


async def test_an_idle_runner_becomes_the_orders(pools: Pools) -> None:
    await pools.filled()
    given = await pools.pool.take(order(), run())
    assert given is not None
    assert is_ours(given)
    seen = read_job(given)
    assert (seen.run, seen.key, seen.attempt, seen.launch) == (UID, ("a", Side.DO), 1, 1)
    plain = job(order(), run(), SETTINGS, GATEWAY)
    assert given["metadata"]["ownerReferences"] == plain["metadata"]["ownerReferences"]
    assert given["metadata"]["annotations"] == plain["metadata"]["annotations"]
    assert plain["metadata"]["labels"].items() <= given["metadata"]["labels"].items()
    assert given["spec"]["ttlSecondsAfterFinished"] == SETTINGS.keep_finished
    deadline = plain["spec"]["activeDeadlineSeconds"]
    assert deadline <= given["spec"]["activeDeadlineSeconds"] <= deadline + 60
    idle = IdleRunner("default", given["metadata"]["name"])
    assert await pools.pool.work(idle, 0) == runner_of(order())
    assert pools.pool.idle == 1


async def test_what_is_kept_shortly_stays_until_its_outcome_is_recorded(pools: Pools) -> None:
    pools.pool = pools.another(replace(SETTINGS, keep_finished=OUTAGE - 1))
    await pools.filled()
    given = await pools.pool.take(order(), run())
    assert given is not None
    assert given["spec"]["ttlSecondsAfterFinished"] == OUTAGE
    assert not read_job(given).released
    assert Annotation.HELD not in pod_marks(given)["metadata"]["annotations"]


async def test_a_task_without_a_timeout_has_no_deadline(pools: Pools) -> None:
    await pools.filled()
    given = await pools.pool.take(order(task_plan("a")), run())
    assert given is not None
    assert "activeDeadlineSeconds" not in given["spec"]


async def test_one_is_given_away_once(pools: Pools) -> None:
    await pools.filled()
    other = pools.another()
    for each in await pools.jobs():
        other.informer.tell(each)
    orders = [order(attempt=number) for number in range(1, 6)]
    takers = [pools.pool, other, pools.pool, other, other]
    given = await asyncio.gather(
        *(pool.take(each, run()) for pool, each in zip(takers, orders, strict=True))
    )
    names = [each["metadata"]["name"] for each in given if each is not None]
    assert len(names) == len(set(names)) == 2
    attempts = {int(each["metadata"]["labels"][Label.ATTEMPT]) for each in await pools.jobs()}
    assert len(attempts) == 2


async def test_whoever_waits_is_told_by_any_replica(pools: Pools) -> None:
    (first, _) = await pools.filled()
    idle = IdleRunner("default", first["metadata"]["name"])
    other = pools.another()
    watching = asyncio.create_task(other.informer.run())
    try:
        await other.informer.until_synced(watching)
        assert await other.work(idle, 0.05) is None
        asked = asyncio.create_task(other.work(idle, 10))
        await asyncio.sleep(0)
        while (given := await pools.pool.take(order(), run())) is not None:
            if given["metadata"]["name"] == idle.name:
                break
        assert await asked == RunnerKey(UID, "a", Side.DO, 1, 1)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_one_that_is_gone_is_no_loss(pools: Pools) -> None:
    await pools.filled()
    await pools.clear()
    assert await pools.pool.take(order(), run()) is None
    assert pools.pool.idle == 0


async def test_where_none_can_be_made_it_isnt_tried_again_and_again(pools: Pools) -> None:
    nowhere = replace(run(), namespace="no-such-namespace")
    await pools.pool.take(order(), nowhere)
    assert pools.pool._wishes
    await pools.pool._fill_up(asyncio.get_running_loop().time())
    assert not pools.pool._wishes
    with pytest.raises(ApiError):
        await pools.client.get(jobs("default", "none"))


def test_what_has_secrets_or_another_order_of_steps_isnt_pooled() -> None:
    assert may_be_pooled(order())
    assert not may_be_pooled(order(replace(task_plan("a"), secrets=(SecretRef("n", "s", "k"),))))
    assert not may_be_pooled(order(side=Side.UNDO, steps=(1, 0)))
    assert not may_be_pooled(order(side=Side.UNDO, steps=(1,)))


def test_a_shape_is_all_of_a_pod_that_a_task_decides() -> None:
    task = task_plan("a")
    shape = shape_of(order(task), SETTINGS)
    same = [
        order(task, token="another"),
        order(replace(task, ref="b", task="t", condition="True", timeout=5)),
        order(task, run="another", attempt=7, side=Side.UNDO),
    ]
    assert {shape_of(each, SETTINGS) for each in same} == {shape}
    others = [
        order(replace(task, image="own")),
        order(replace(task, grace_period=60_000)),
        order(replace(task, resources={"limits": {"memory": "1Gi"}})),
        order(task, steps=(0, 1)),
    ]
    shapes = {shape_of(each, SETTINGS) for each in others}
    assert len(shapes | {shape, shape_of(order(task), replace(SETTINGS, image="new"))}) == 6
