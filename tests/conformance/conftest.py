"""The conformance suite: the contract of docs/contract.md, held against a running server over REST.

    pytest tests/conformance                                     # starts an embedded server
    pytest tests/conformance --on-cluster -n 6                   # the chart in the test cluster
    pytest tests/conformance --base-url http://host:8080 \\
        --callback-host 192.0.2.7 --time-scale 10                # any other server

Nothing here knows the product's code or which backend it runs on. Each test makes definitions and
runs under names of its own, so tests run in any order and in parallel (`-n`). Scripts and tests take
turns through `gate`; nothing sleeps. At the end of every test all its runs are judged by the oracle.
"""

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:  # the suite's own modules, however pytest was started
    sys.path.insert(0, ROOT)

from tests.cluster import places  # noqa: E402 (needs the path above)
from tests.cluster.installed import Installed  # noqa: E402
from tests.conformance.kit.events import EventLog  # noqa: E402 (needs the path above)
from tests.conformance.kit.gate import Gate, GateServer  # noqa: E402
from tests.conformance.kit.product import Product  # noqa: E402
from tests.conformance.kit.rest import Patience, Rest  # noqa: E402
from tests.conformance.kit.server import SECRET, embedded  # noqa: E402

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--base-url", help="the server to test [XAAS_BASE_URL]; default: an own one")
    group.addoption("--on-cluster", action="store_true", help="test the chart as helm installs it")
    group.addoption("--token", help="its bearer token [XAAS_TOKEN]")
    group.addoption("--callback-host", help="where scripts reach this machine [127.0.0.1]")
    group.addoption("--time-scale", type=float, help="stretches every deadline [1]")
    group.addoption("--secret", help="a secret of the server, as name/key/value [XAAS_SECRET]")


def setting(config: pytest.Config, name: str, default: str | None = None) -> Any:
    """An option, or its environment variable, or the default.

    The options aren't known when the whole of tests/ is run: pytest reads this file too late then.
    """
    given = config.getoption(name, default=None)
    return given or os.environ.get(f"XAAS_{name.upper()}") or default


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="session")
def on_cluster(request: pytest.FixtureRequest) -> Installed | None:
    """The product in the test cluster, if that is what is tested."""
    if not request.config.getoption("on_cluster", default=False):
        return None
    found: Installed = request.getfixturevalue("installed")
    return found


@pytest.fixture(scope="session")
def patience(pytestconfig: pytest.Config, on_cluster: Installed | None) -> Patience:
    # A pod takes a second to start, and several tests share the machine.
    usual = "1" if on_cluster is None else "10"
    return Patience(float(setting(pytestconfig, "time_scale", usual)))


@pytest.fixture(scope="session")
def is_given(pytestconfig: pytest.Config, on_cluster: Installed | None) -> bool:
    """Whether the server is somebody else's: it can't be restarted, and nothing may stay behind."""
    return bool(setting(pytestconfig, "base_url")) or on_cluster is not None


@pytest.fixture(scope="session")
def base_url(
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
    on_cluster: Installed | None,
) -> Iterator[str]:
    """The server: the one given, or an embedded one that lives as long as the session."""
    given = on_cluster.base_url if on_cluster is not None else setting(pytestconfig, "base_url")
    if given:
        yield str(given)
        return
    with embedded(tmp_path_factory.mktemp("embedded")) as server:
        yield server.base_url


@pytest.fixture(scope="session")
def secret(
    pytestconfig: pytest.Config, is_given: bool, on_cluster: Installed | None
) -> tuple[str, str, str]:
    """Name, key and value of a secret that the server can give to scripts."""
    if on_cluster is not None:
        on_cluster.has_secret(*SECRET)
        return SECRET
    given = setting(pytestconfig, "secret")
    if given:
        name, key, value = str(given).split("/", 2)
        return name, key, value
    if is_given:
        pytest.skip("--secret name/key/value names no secret of this server")
    return SECRET


@pytest.fixture(scope="session")
def rest(
    base_url: str,
    pytestconfig: pytest.Config,
    patience: Patience,
    on_cluster: Installed | None,
) -> Iterator[Rest]:
    token = on_cluster.token if on_cluster is not None else setting(pytestconfig, "token")
    client = Rest(base_url, token, patience)
    yield client
    client.close()


@pytest.fixture(scope="session")
def event_log(rest: Rest) -> Iterator[EventLog]:
    """All notifications of the session. Ready when it has seen those of a first run."""
    log = EventLog(rest)
    name = f"first-{uuid4().hex[:8]}"
    task = {"category": "conformance", "name": name, "steps": []}
    entry = {"ref": "a", "name": name, "dependsOn": []}
    rest.post("pipelinetasks", task)
    rest.post("pipelines", {"category": "conformance", "name": name, "tasks": [entry]})
    run = rest.post("pipelineruns", {"name": name, "parameters": {}, "run": True})["instance_id"]
    seen = log.wait(
        lambda: any(message.brief == "run complete" for message in log.of(run)),
        rest.patience.wait,
    )
    assert seen, f"no notification of a first run came: {log.of(run)}, {log.troubles}, {log.breaks}"
    rest.delete("pipelineruns", run)
    rest.delete("pipelines", name)
    rest.delete("pipelinetasks", name)
    yield log
    log.close()


@pytest.fixture(scope="session")
def gate_server(
    pytestconfig: pytest.Config, patience: Patience, on_cluster: Installed | None
) -> Iterator[GateServer]:
    usual = "127.0.0.1" if on_cluster is None else places.HOST_ADDRESS
    server = GateServer(str(setting(pytestconfig, "callback_host", usual)), patience)
    yield server
    server.close()


@pytest.fixture
def gate(gate_server: GateServer) -> Iterator[Gate]:
    with gate_server.gate(uuid4().hex) as gate:
        yield gate


@pytest.fixture
def product(rest: Rest, event_log: EventLog, gate: Gate, is_given: bool) -> Iterator[Product]:
    product = Product(rest, event_log, gate)
    yield product
    gate.release(*gate.visits)
    if is_given:
        product.tidy()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """The oracle judges every run of a test that went well so far."""
    yield
    product = getattr(item, "funcargs", {}).get("product")
    if isinstance(product, Product):
        product.assert_legal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells the whole story: runs, task runs, notifications, logs."""
    report = yield
    product = getattr(item, "funcargs", {}).get("product")
    if report.when == "call" and report.failed and isinstance(product, Product):
        report.sections.append(("the runs of this test", product.story()))
    return report
