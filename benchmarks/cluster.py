"""Measures the product on the test cluster against bare Jobs, in the same run.

    python -m benchmarks.cluster [--turns 3]

The tutorial's DAG with empty scripts, three ways, in turns:

    complete   bare Jobs, each next one made when its predecessors are `Complete`
    bound      bare Jobs, each next one made when its predecessors' scripts say that they have ended:
               what starting eleven pods costs on this node, and no less is possible without warm ones
    product    a run, from its POST to `complete`

Ratios count: machines differ and are noisy. Exit code 1 if a goal is missed.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
from benchmarks.run import Report
from benchmarks.tutorial import DAG, PIPELINE, TASK
from tests.cluster import chart, installed, places, product_images
from tests.cluster.up import SESSION

from xaas_kube.client import ApiError, KubeClient
from xaas_kube.words import jobs

Json = dict[str, Any]
BARE = {"bench": "bare"}
ONLY_BARE = {"labelSelector": "bench=bare"}
"""The product's own Jobs are in the same namespace, and stay."""
TELL = "import socket; socket.create_connection(({host!r}, {port})).sendall({ref!r}.encode())"


class BareJobs:
    """The DAG as Jobs with nothing around them; `turn` plays it once."""

    def __init__(self, client: KubeClient, namespace: str, image: str) -> None:
        self._client = client
        self._namespace = namespace
        self._image = image

    async def complete(self) -> float:
        """Seconds; each next Job is made when its predecessors are `Complete`."""
        ended: asyncio.Queue[str] = asyncio.Queue()
        watching = asyncio.create_task(self._watch(ended))
        try:
            return await self._play(ended, lambda ref: "pass")
        finally:
            watching.cancel()

    async def bound(self) -> float:
        """Seconds; each next Job is made when its predecessors' scripts say that they have ended."""
        ended: asyncio.Queue[str] = asyncio.Queue()

        async def told(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            ended.put_nowait((await reader.read()).decode())
            writer.close()

        server = await asyncio.start_server(told, places.HOST_ADDRESS)
        host, port = server.sockets[0].getsockname()[:2]
        async with server:
            return await self._play(ended, lambda ref: TELL.format(host=host, port=port, ref=ref))

    async def _play(self, ended: "asyncio.Queue[str]", script: Any) -> float:
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
        container = {
            "name": "step",
            "image": self._image,
            "command": ["python3", "-I", "-S", "-c", script],
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
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": f"bare-{tag}-{ref}",
                "labels": BARE,
                "annotations": {"ref": ref},
            },
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": BARE}, "spec": pod}},
        }
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
        for item in (await self._client.get(jobs(self._namespace), ONLY_BARE))["items"]:
            name = item["metadata"]["name"]
            with suppress(ApiError):
                await self._client.delete(
                    jobs(self._namespace, name), {"propagationPolicy": "Background"}
                )
        pods = f"/api/v1/namespaces/{self._namespace}/pods"
        left = await self._client.get(pods, ONLY_BARE)
        while left["items"]:
            await asyncio.sleep(0.3)
            left = await self._client.get(pods, ONLY_BARE)


class Runs:
    """The same DAG as a Pipeline with empty scripts."""

    def __init__(self, client: httpx.AsyncClient, namespace: str) -> None:
        self._client = client
        self._query = {"namespace": namespace}

    async def define(self) -> None:
        """Write the task and the pipeline."""
        for path, body in (("/pipelinetasks", TASK), ("/pipelines", PIPELINE)):
            (await self._client.post(path, params=self._query, json=body)).raise_for_status()

    async def run(self) -> float:
        """Seconds of one run, from its POST to `complete` as a client of /events sees it."""
        async with self._client.stream("GET", "/events", params=self._query, timeout=60) as events:
            started = time.perf_counter()
            uid = await self._start()
            async for line in events.aiter_lines():
                if not line.startswith("data:"):
                    continue
                told = json.loads(line[5:])["content"]
                if told["instance_id"] == uid and told.get("status") in ("complete", "aborted"):
                    assert told["status"] == "complete", told
                    return time.perf_counter() - started
        raise RuntimeError("the stream of events ended early")

    async def _start(self) -> str:
        body = {"name": PIPELINE["name"], "parameters": {}, "run": True}
        answer = await self._client.post("/pipelineruns", params=self._query, json=body)
        answer.raise_for_status()
        return str(answer.json()["instance_id"])


@asynccontextmanager
async def namespace(client: KubeClient) -> AsyncIterator[str]:
    """A namespace of its own."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
    try:
        yield name
    finally:
        await client.delete(f"/api/v1/namespaces/{name}")


async def measure(report: Report, product: installed.Installed, turns: int) -> None:
    """All figures."""
    client = await KubeClient.connect(chart.access())
    headers = {"authorization": f"Bearer {product.token}"}
    try:
        async with (
            namespace(client) as place,
            httpx.AsyncClient(
                base_url=product.base_url, headers=headers, trust_env=False, timeout=30
            ) as rest,
        ):
            bare, runs = BareJobs(client, place, product_images.RUNNER.name), Runs(rest, place)
            await runs.define()
            await bare.bound()  # the first of all is slower: nothing is in any cache
            await runs.run()
            complete, bound, ours = [], [], []
            # In turns, so that a slow moment of the machine falls on all.
            for _ in range(turns):
                complete.append(await bare.complete())
                bound.append(await bare.bound())
                ours.append(await runs.run())
    finally:
        await client.close()
    waits, least, single = map(statistics.median, (complete, bound, ours))
    report.line(f"       bare Jobs, next on `Complete`: {waits:.1f} s; bound: {least:.1f} s")
    report.line(f"       tutorial, POST to `complete`: {single:.1f} s")
    report.goal("tutorial / bare Jobs that wait for `Complete`", single / waits, 0.5, "x")
    report.line(f"       tutorial / bound: {single / least:.2f} x")


def main() -> int:
    """Measure, print, and say whether every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=3, help="plays per figure (default 3)")
    turns = parser.parse_args().turns
    report = Report()
    session = os.environ.setdefault(SESSION, uuid.uuid4().hex)
    with installed.in_use():
        product_images.load()
        names = product_images.SERVICE.name, product_images.RUNNER.name
        product = installed.install(session, *names)
        asyncio.run(measure(report, product, turns))
    installed.uninstall_if_unused()
    if report.missed:
        print("missed:", "; ".join(report.missed))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
