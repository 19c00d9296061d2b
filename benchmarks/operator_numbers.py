"""What the operator uses: CPU, memory and requests, as its own `/metrics` tell.

Of all replicas together, with the gateway inside of them. Not in it: the sidecar that compiles
scripts, and the API.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from benchmarks.cluster_places import POLL
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster import chart

from xaas_kube.client import KubeClient
from xaas_kube.words import pods

Json = dict[str, Any]
PORT = 8081
SELECTOR = f"app.kubernetes.io/instance={chart.RELEASE},app.kubernetes.io/component=operator"
SCALE = f"/apis/apps/v1/namespaces/{chart.NAMESPACE}/deployments/{chart.RELEASE}-operator/scale"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{chart.NAMESPACE}/leases/{chart.RELEASE}-operator"
WRITES = ("create", "update", "patch", "delete")


@dataclass(frozen=True)
class Numbers:
    """At one moment: seconds of CPU and requests since the start, MB of the largest replica."""

    cpu: float
    memory: float
    requests: Counter[tuple[str, str]]


class Operator:
    """The installed operator. An async context."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._http = httpx.AsyncClient(trust_env=False, timeout=10)

    async def __aenter__(self) -> "Operator":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def numbers(self) -> Numbers:
        """What it has used until now."""
        told = await asyncio.gather(*(self._metrics(pod) for pod in await self._ready()))
        requests: Counter[tuple[str, str]] = Counter()
        for each in told:
            requests.update(each.requests)
        return Numbers(sum(e.cpu for e in told), max(e.memory for e in told), requests)

    async def leader(self) -> str:
        """The name of the pod that reconciles; empty if none does."""
        for pod in await self._ready():
            with suppress(httpx.HTTPError):  # it ends at this moment
                if "xaas_leader 1.0" in await self._told(pod):
                    return str(pod["metadata"]["name"])
        return ""

    async def end(self, name: str) -> None:
        """Delete a pod, as a node that is drained does."""
        await self._client.delete(pods(chart.NAMESPACE, name))

    async def until_resigned(self, names: list[str]) -> None:
        """Wait until none of these pods leads any more."""
        while True:
            holder = (await self._client.get(LEASE))["spec"].get("holderIdentity") or ""
            if not any(holder.startswith(name) for name in names):
                return
            await asyncio.sleep(POLL / 10)

    async def names(self) -> list[str]:
        """Its pods."""
        return [pod["metadata"]["name"] for pod in await self._ready()]

    async def scale(self, replicas: int) -> None:
        """Have so many replicas, and wait until they are there and work, or are gone."""
        await self._client.patch(SCALE, {"spec": {"replicas": replicas}})
        await self.until_works(replicas)

    async def until_works(self, replicas: int) -> None:
        """Wait until there are so many replicas, all ready, and one of them leads."""
        while True:
            found, ready = await self._pods(), await self._ready()
            if len(found) == len(ready) == replicas and (not replicas or await self.leader()):
                return
            await asyncio.sleep(POLL)

    async def settle(self) -> int:
        """Wait until those that were replaced are gone, and one leads; the answer is how many."""
        scale = await self._client.get(SCALE)
        await self.until_works(scale["spec"]["replicas"])
        return int(scale["spec"]["replicas"])

    async def _ready(self) -> list[Json]:
        """The pods that work, and stay."""
        return [pod for pod in await self._pods() if _is_ready(pod)]

    async def _pods(self) -> list[Json]:
        found = await self._client.get(pods(chart.NAMESPACE), {"labelSelector": SELECTOR})
        return list(found["items"])

    async def _told(self, pod: Json) -> str:
        address = pod["status"].get("podIP")
        answer = await self._http.get(f"http://{address}:{PORT}/metrics")
        return answer.text

    async def _metrics(self, pod: Json) -> Numbers:
        cpu, memory = 0.0, 0.0
        requests: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(await self._told(pod)):
            for sample in family.samples:
                if sample.name == "process_cpu_seconds_total":
                    cpu = sample.value
                elif sample.name == "process_resident_memory_bytes":
                    memory = sample.value / 1_000_000
                elif sample.name == "xaas_kubernetes_requests":
                    asked = (sample.labels["verb"], sample.labels["resource"])
                    requests[asked] = int(sample.value)
        return Numbers(cpu, memory, requests)


def _is_ready(pod: Json) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]
