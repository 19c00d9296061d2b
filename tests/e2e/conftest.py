"""The product as it ships, in a real cluster, driven by kubectl.

Each test has a namespace of its own, so tests run in any order and in parallel (`-n`). Scripts and
tests take turns through `gate`, which is this machine as the pods see it. What the product promises
over REST is held in `tests/conformance`; here is what there is beside, and that both are one.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest
from tests.cluster import chart, places
from tests.cluster.fixtures import Images
from tests.cluster.installed import Installed, alone, undisturbed
from tests.cluster.kubectl import Kubectl
from tests.cluster.steps import locked
from tests.conformance.kit.gate import Gate, GateServer
from tests.conformance.kit.rest import Patience, Rest
from tests.e2e.kit.parts import Parts
from tests.e2e.kit.space import Json, Space

HERE: Final = Path(__file__).parent

PATIENCE: Final = Patience(3)
"""For scripts that come to the gate, and calls of the API: pods start slowly on a busy machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are `e2e`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture
def space(steady: None, kubectl: Kubectl, namespace: str) -> Space:
    """A namespace of its own, in a cluster with the product."""
    return Space(kubectl, namespace)


@pytest.fixture
def steady(request: pytest.FixtureRequest, installed: Installed) -> Iterator[None]:
    """Nobody else stops parts of the product meanwhile; nor does anybody at all, but for a test that
    asks for `parts`."""
    with alone() if "parts" in request.fixturenames else undisturbed():
        yield


@pytest.fixture
def parts(steady: None, images: Images, kubectl: Kubectl) -> Iterator[Parts]:
    """The parts of the product, to be killed and stopped; this test has them for itself."""

    def bring(values: Json) -> None:
        chart.install(chart.image_values(images.service, images.runner), values)

    found = Parts(kubectl, bring)
    with locked("product"):  # nor does another run of the tests bring it up to date
        try:
            yield found
        finally:
            found.restore()


@pytest.fixture(scope="session")
def gate_server() -> Iterator[GateServer]:
    host = os.environ.get("XAAS_CALLBACK_HOST", places.HOST_ADDRESS)
    server = GateServer(host, PATIENCE)
    yield server
    server.close()


@pytest.fixture
def gate(gate_server: GateServer) -> Iterator[Gate]:
    """Where scripts say that they have come, and wait."""
    with gate_server.gate(uuid4().hex) as gate:
        yield gate


@pytest.fixture
def server(steady: None, installed: Installed, namespace: str) -> Iterator[Callable[[str], Rest]]:
    """The REST API at an address, in the namespace of the test. It isn't restarted meanwhile, but by
    the test itself."""
    made: list[Rest] = []

    def at(base_url: str) -> Rest:
        rest = Rest(base_url, installed.token, PATIENCE)
        rest.http.params = httpx.QueryParams(namespace=namespace)
        made.append(rest)
        return rest

    yield at
    for each in made:
        each.close()


@pytest.fixture
def rest(installed: Installed, server: Callable[[str], Rest]) -> Rest:
    """The REST API, in the namespace of the test."""
    return server(installed.base_url)


@pytest.fixture
def replicas(installed: Installed, server: Callable[[str], Rest]) -> list[Rest]:
    """Each replica of the REST API, in the namespace of the test."""
    found = [server(each) for each in installed.replicas()]
    assert len(found) >= 2, "the chart has two replicas of the API"
    return found
