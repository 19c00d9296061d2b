"""A client of the real API server."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from xaas_kube.client import ApiError, KubeClient
from xaas_kube.words import jobs, pods


@pytest.fixture
async def client(api_server: Path, request: pytest.FixtureRequest) -> AsyncIterator[KubeClient]:
    """It works in the namespace `PLACE` of the test's module, and leaves no Jobs and pods in it."""
    place: str = request.module.PLACE
    client = await KubeClient.connect(api_server)
    with suppress(ApiError):  # it is there
        await client.create("/api/v1/namespaces", {"metadata": {"name": place}})
    yield client
    await client.delete(jobs(place), {"propagationPolicy": "Background"})
    await client.delete(pods(place))
    await client.close()
