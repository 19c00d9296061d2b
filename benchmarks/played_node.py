"""A node that is played, for the pods of the runners that are (`played_runners.py`).

It has room for any number of them and says that it is well, as a kubelet does; it starts nothing. Without
one the scheduler would try the same pods again and again, and write each time why they have no place:
no cluster that has room does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.played_runners import meanwhile

from xaas_kube.client import ApiError, KubeClient, Unreachable

NODES: Final = "/api/v1/nodes"
NAME: Final = "played"
LABELS: Final = {"bench.xaas.dev/node": NAME}
"""What only this node has: the operator is told to want a node with these labels."""

HEARTBEAT: Final = 10.0
"""Seconds between two signs of life; after 40 without one a node counts as lost."""

ROOM: Final = {"cpu": "100k", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "100k"}


@asynccontextmanager
async def played_node(client: KubeClient) -> AsyncIterator[None]:
    """The node, for as long as it is used."""
    with suppress(ApiError):  # one that an earlier measurement left behind, when it was killed
        await client.delete(f"{NODES}/{NAME}")
    await client.create(NODES, {"metadata": {"name": NAME, "labels": LABELS}})
    try:
        await _be_well(client)
        async with meanwhile(_beat(client)):
            yield
    finally:
        await client.delete(f"{NODES}/{NAME}")


async def _beat(client: KubeClient) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT)
        with suppress(ApiError, Unreachable):
            await _be_well(client)


async def _be_well(client: KubeClient) -> None:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready: dict[str, Any] = {
        "type": "Ready",
        "status": "True",
        "reason": "Played",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    status = {"capacity": ROOM, "allocatable": ROOM, "conditions": [ready]}
    await client.patch(f"{NODES}/{NAME}/status", {"status": status})
