"""Who leads: the Lease, on a real API server, with its times made short."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from xaas_kube import lease
from xaas_kube.client import KubeClient
from xaas_kube.lease import Lease, Lost

pytestmark = pytest.mark.anyio

PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "EXPIRES_AFTER", 1.5)
    monkeypatch.setattr(lease, "RENEW_WITHIN", 1.0)
    monkeypatch.setattr(lease, "EVERY", 0.1)


@pytest.fixture
async def client(api_server: Path) -> AsyncIterator[KubeClient]:
    made = await KubeClient.connect(api_server)
    yield made
    await made.close()


@pytest.fixture
def name() -> str:
    return f"lease-{uuid.uuid4().hex[:8]}"


def of(client: KubeClient, name: str, identity: str) -> Lease:
    return Lease(client, "default", name, identity)


async def holder(client: KubeClient, name: str) -> str:
    return str((await client.get(f"{PATH}/{name}"))["spec"]["holderIdentity"])


async def test_one_of_many_has_it(client: KubeClient, name: str) -> None:
    tasks = [asyncio.create_task(of(client, name, str(i)).acquire()) for i in range(5)]
    done, waiting = await asyncio.wait(tasks, timeout=1.0)
    assert len(done) == 1
    assert await holder(client, name) == str(tasks.index(done.pop()))
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_as_long_as_it_is_renewed_nobody_else_gets_it(client: KubeClient, name: str) -> None:
    first = of(client, name, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    second = asyncio.create_task(of(client, name, "second").acquire())
    done, _ = await asyncio.wait({keeping, second}, timeout=3)
    assert not done
    keeping.cancel()  # it is killed: nothing is given back
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(5):
        await second
    assert asyncio.get_running_loop().time() - began > 1
    assert await holder(client, name) == "second"


async def test_one_that_is_given_back_is_taken_at_once(client: KubeClient, name: str) -> None:
    first = of(client, name, "first")
    await first.acquire()
    await first.release()
    async with asyncio.timeout(1):
        await of(client, name, "second").acquire()
    await first.release()  # it is another's now
    assert await holder(client, name) == "second"


async def test_who_loses_it_is_told(client: KubeClient, name: str) -> None:
    first = of(client, name, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    found = await client.get(f"{PATH}/{name}")
    await client.patch(f"{PATH}/{name}", {"spec": {"holderIdentity": "somebody"}})
    assert found["spec"]["holderIdentity"] == "first"
    with pytest.raises(Lost, match="somebody else's"):
        async with asyncio.timeout(3):
            await keeping


async def test_who_cant_renew_it_in_time_gives_up_before_it_expires(
    client: KubeClient, name: str
) -> None:
    first = of(client, name, "first")
    await first.acquire()
    first._path = "/apis/no.such.group/v1/namespaces/default/leases"  # nobody answers there
    began = asyncio.get_running_loop().time()
    with pytest.raises(Lost):
        async with asyncio.timeout(3):
            await first.keep()
    assert asyncio.get_running_loop().time() - began < lease.EXPIRES_AFTER
