"""A whole embedded server in this process, over real sockets; one for all tests of the session.

Tests make objects under names of their own, and so don't see each other.
"""

import itertools
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from xaas_api.embedded import EmbeddedServer, Settings

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:  # the kit's modules, however pytest was started
    sys.path.insert(0, ROOT)

from tests.api.kit.client import Client  # noqa: E402 (needs the path above)


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedServer]:
    """The server."""
    data = tmp_path_factory.mktemp("api") / "data"
    async with EmbeddedServer(Settings(data, port=0)) as running:
        yield running


@pytest.fixture(scope="session")
def new_name() -> Callable[[], str]:
    """Names that no other test has."""
    numbers = itertools.count(1)
    return lambda: f"thing-{next(numbers)}"


@pytest.fixture
async def client(server: EmbeddedServer, new_name: Callable[[], str]) -> AsyncIterator[Client]:
    """A client of the server, on a connection of its own."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as http:
        talker = Client(http, new_name)
        yield talker
        await talker.forget_runs()


@pytest.fixture
def http(client: Client) -> httpx.AsyncClient:
    """The client's bare connection."""
    return client.http
