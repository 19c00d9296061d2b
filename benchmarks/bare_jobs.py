"""Jobs with nothing around them: what the product is compared to, in the same run.

Their image, resources and hardening are those of a task run's Job. What it takes to start their pods
is a bound: no less is possible where each task has a pod of its own.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.cluster_places import cleared
from benchmarks.tutorial import DAG
from tests.cluster import places

from xaas_kube.client import KubeClient
from xaas_kube.words import jobs

Json = dict[str, Any]
Script = Callable[[str], str]

BARE = {"bench": "bare"}
ONLY_BARE = {"labelSelector": "bench=bare"}
"""The product's own Jobs are in the same namespace, and stay."""
TELL = "import socket; socket.create_connection(({host!r}, {port})).sendall({ref!r}.encode())"


class BareJobs:
    """Bare Jobs in a namespace. Each method plays them once, and clears them away."""

    def __init__(self, client: KubeClient, namespace: str, image: str) -> None:
        self._client = client
        self._namespace = namespace
        self._image = image

    async def complete(self) -> float:
        """Seconds of the DAG; each next Job is made when its predecessors are `Complete`."""
        ended: asyncio.Queue[str] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(ended))
        try:
            return await self._play(ended, lambda ref: "pass")
        finally:
            watching.cancel()

    async def bound(self) -> float:
        """Seconds of the DAG; each next Job is made when its predecessors' scripts say that they
        have ended."""
        async with _telling() as (ended, script):
            return await self._play(ended, script)

    async def at_once(self, count: int) -> tuple[float, float]:
        """Seconds from the first of `count` Jobs, made at once, until each script says that it has
        ended, and until all Jobs are `Complete`."""
        tag = uuid.uuid4().hex[:6]
        complete: asyncio.Queue[str] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(complete))
        try:
            async with _telling() as (ended, script):
                started = time.perf_counter()
                refs = map(str, range(count))
                await asyncio.gather(*(self._start(tag, ref, script(ref)) for ref in refs))
                taken = [await _all_of(queue, count, started) for queue in (ended, complete)]
        finally:
            watching.cancel()
        await self._clear()
        return taken[0], taken[1]

    async def _play(self, ended: "asyncio.Queue[str]", script: Script) -> float:
        left = {ref: len(needs) for ref, needs in DAG.items()}
        tag = uuid.uuid4().hex[:6]
        started = time.perf_counter()
        open_ = len(DAG)
        for ref in [ref for ref, count in left.items() if count == 0]:
            await self._start(tag, ref, script(ref))
        while open_:
            done = await ended.get()
            open_ -= 1
            for ref, needs in DAG.items():
                if done in needs:
                    left[ref] -= 1
                    if left[ref] == 0:
                        await self._start(tag, ref, script(ref))
        taken = time.perf_counter() - started
        await self._clear()
        return taken

    async def _start(self, tag: str, ref: str, script: str) -> None:
        command = ["python3", "-I", "-S", "-c", script]
        body = job(f"bare-{tag}-{ref}", self._image, command)
        body["metadata"]["annotations"] = {"ref": ref}
        await self._client.create(jobs(self._namespace), body)

    async def _watch(self, ended: "asyncio.Queue[str]") -> None:
        listed = await self._client.get(jobs(self._namespace), ONLY_BARE)
        told: set[str] = set()
        params = {**ONLY_BARE, "resourceVersion": listed["metadata"]["resourceVersion"]}
        async for event in self._client.watch(jobs(self._namespace), params, 60):
            item = event["object"]
            conditions = (item.get("status") or {}).get("conditions") or ()
            is_complete = any(c["type"] == "Complete" and c["status"] == "True" for c in conditions)
            if is_complete and item["metadata"]["name"] not in told:
                told.add(item["metadata"]["name"])
                ended.put_nowait(item["metadata"]["annotations"]["ref"])

    async def _clear(self) -> None:
        await cleared(self._client, self._namespace, ONLY_BARE["labelSelector"])


async def _all_of(queue: "asyncio.Queue[str]", count: int, since: float) -> float:
    """Seconds until so many came."""
    for _ in range(count):
        await queue.get()
    return time.perf_counter() - since


def job(name: str, image: str, command: list[str]) -> Json:
    """A Job of one container, which is hardened like a step's."""
    container = {
        "name": "step",
        "image": image,
        "command": command,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": BARE},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": BARE}, "spec": pod}},
    }


@asynccontextmanager
async def _telling() -> AsyncIterator[tuple["asyncio.Queue[str]", Script]]:
    """A queue, and scripts that tell it their ref when they end."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.put_nowait((await reader.read()).decode())
        writer.close()

    server = await asyncio.start_server(told, places.HOST_ADDRESS)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield ended, lambda ref: TELL.format(host=host, port=port, ref=ref)
