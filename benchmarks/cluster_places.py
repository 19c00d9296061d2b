"""Namespaces of measurements: what one leaves behind must not slow the next one."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from xaas_kube.client import ApiError, KubeClient
from xaas_kube.words import jobs, pods

POLL = 0.3
"""Seconds between looks at what is still there: seldom, for looking costs the API server, too."""

LONGEST = 300
"""Seconds until a namespace is left to itself: without an operator its runs would never go."""


@asynccontextmanager
async def namespace(client: KubeClient) -> AsyncIterator[str]:
    """A namespace of its own; at the end it is gone, and with it all that was in it."""
    name = await make(client)
    try:
        yield name
    finally:
        await remove(client, name)


async def make(client: KubeClient) -> str:
    """A new namespace's name."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    await client.create("/api/v1/namespaces", {"metadata": {"name": name}})
    return name


async def remove(client: KubeClient, name: str) -> None:
    """Delete a namespace, and wait until it is gone."""
    where = f"/api/v1/namespaces/{name}"
    await client.delete(where)
    with suppress(ApiError, TimeoutError):  # 404: it is gone
        async with asyncio.timeout(LONGEST):
            while True:
                await client.get(where)
                await asyncio.sleep(POLL)


async def cleared(client: KubeClient, place: str, selector: str | None = None) -> None:
    """Delete the Jobs of a namespace, and wait until none of their pods is left on the node."""
    only = {"labelSelector": selector}
    for item in (await client.get(jobs(place), only))["items"]:
        with suppress(ApiError):
            await client.delete(
                jobs(place, item["metadata"]["name"]), {"propagationPolicy": "Background"}
            )
    left = await client.get(pods(place), only)
    while left["items"]:
        await asyncio.sleep(POLL)
        left = await client.get(pods(place), only)
