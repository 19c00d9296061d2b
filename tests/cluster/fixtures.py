"""The fixtures by which tests of any folder get a real cluster; `tests/conftest.py` loads them.

A test that asks for `kubeconfig`, or for what rests on it, is a test `cluster`: it gets the cluster
that XAAS_TEST_KUBECONFIG names, or the one that is up, or one that is started for it and ended when
the tests end. Where there can be none it is skipped, and says why; but in CI that is a failure.

Such tests run last, so that Kubernetes may be built meanwhile where it never was.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import pytest
from tests.cluster import dockerfiles, helm_command, installed, places, product_images
from tests.cluster.control_plane import control_plane
from tests.cluster.down import down, down_if_started_by
from tests.cluster.kubectl import Kubectl, program
from tests.cluster.steps import ClusterFailure, locked, run
from tests.cluster.up import SESSION, found

REQUIRED: Final = "XAAS_REQUIRE_CLUSTER"
"""1: that there is no cluster is a failure; 0: it isn't. Without it counts whether CI is set."""
NAMED: Final = {
    product_images.RUNNER: "XAAS_TEST_RUNNER_IMAGE",
    product_images.SERVICE: "XAAS_TEST_SERVICE_IMAGE",
}
"""For a cluster of one's own: the images, where that cluster pulls them from."""
UNTESTED: Final = " isn't tested: "
WAITING: Final = ("helm", "image_archives", "api_server", "kubeconfig", "disposable_cluster")
"""Fixtures that something is built for: the later, the longer it may take."""
REAL: Final = frozenset({"api_server", "kubeconfig"})
"""Fixtures that make a test one of a cluster."""


@dataclass(frozen=True, slots=True)
class Archives:
    """The files of the two images."""

    runner: Path
    service: Path


@dataclass(frozen=True, slots=True)
class Images:
    """What the two images are called in the cluster."""

    runner: str
    service: str


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give this run a name, which the workers of pytest-xdist inherit."""
    if not hasattr(config, "workerinput"):
        os.environ[SESSION] = uuid.uuid4().hex


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this run has started: the product, the cluster."""
    if not hasattr(config, "workerinput"):
        with suppress(ClusterFailure):  # such as that there is no cluster any more
            installed.uninstall_if_unused()
        down_if_started_by(os.environ[SESSION])


@pytest.hookimpl(tryfirst=True)  # before those that `-m` leaves out are taken out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a cluster, and put them last."""
    for item in items:
        if REAL & set(_fixtures(item)):
            item.add_marker("cluster")
    items.sort(key=_turn)


def _fixtures(item: pytest.Item) -> list[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else []


def _turn(item: pytest.Item) -> int:
    names = _fixtures(item)
    return max((turn for turn, name in enumerate(WAITING, 1) if name in names), default=0)


def _give_up(what: str, failure: ClusterFailure) -> NoReturn:
    """Skip what can't be run here; in CI let it fail."""
    told = os.environ.get(REQUIRED)
    if told == "1" or (told != "0" and os.environ.get("CI")):
        pytest.fail(f"{what} must be tested here, but: {failure}", pytrace=False)
    pytest.skip(f"{what}{UNTESTED}{' '.join(str(failure).split())[:300]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report all tests that were given up for one reason in one line, not in one line each."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and UNTESTED in report.longrepr[2]:
        # No line of the file: with the tests' own the terminal wouldn't fold them.
        report.longrepr = (__file__, None, report.longrepr[2])  # type: ignore[assignment]
    return report


def _shown(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    """What is said meanwhile goes to the terminal: it may take minutes."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        return nullcontext()
    shown: AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return shown


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest) -> Path:
    """Admin's access to the test cluster."""
    try:
        if access := found():
            return access
        with _shown(request):
            _start()
        access = found()
        assert access is not None
    except ClusterFailure as failure:
        _give_up("What needs a Kubernetes cluster", failure)
    return access


@pytest.fixture(scope="session")
def api_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Admin's access to an API server for these tests alone, with the product's kinds.

    Nobody acts on what is written there: there is no controller, and no kubelet.
    """
    folder = tmp_path_factory.mktemp("api-server")
    with ExitStack() as stack:
        try:
            with _shown(request), locked():
                access = stack.enter_context(control_plane(folder))
            with_access = (folder / "kubectl", f"--kubeconfig={access}")
            run([*with_access, "create", "-f", places.CRDS])
            wait = ("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
            run([*with_access, *wait])
        except ClusterFailure as failure:
            _give_up("What needs an API server", failure)
        yield access


def _start() -> None:
    """Call `make cluster-up`, less make: its processes outlive the one that starts them."""
    command = [sys.executable, "-m", "tests.cluster.up"]
    done = subprocess.run(command, cwd=places.ROOT, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        with locked():
            if found() is None:
                down()  # what the start has left; how its logs end is in the failure
        raise ClusterFailure(done.stderr.strip().removeprefix("Failed: "))


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    """kubectl on the test cluster: `kubectl("get", "nodes")`, `kubectl.get("nodes")["items"]`."""
    try:
        return Kubectl(program("kubectl"), kubeconfig)
    except ClusterFailure as failure:
        _give_up("What needs kubectl", failure)


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest) -> Path:
    """The helm to use; no cluster is needed."""
    try:
        with _shown(request), locked("helm"):
            return helm_command.found()
    except ClusterFailure as failure:
        _give_up("What needs helm", failure)


@pytest.fixture(scope="session")
def image_archives(request: pytest.FixtureRequest) -> Archives:
    """The two images of the tree as it is; no cluster is needed."""
    try:
        with _shown(request), locked("images"):
            return Archives(
                runner=dockerfiles.built(product_images.RUNNER),
                service=dockerfiles.built(product_images.SERVICE),
            )
    except ClusterFailure as failure:
        _give_up("What needs the container images", failure)


@pytest.fixture(scope="session")
def images(request: pytest.FixtureRequest, kubeconfig: Path) -> Images:
    """The two images of the tree as it is, in the cluster; `imagePullPolicy: IfNotPresent`."""
    recipes = (product_images.RUNNER, product_images.SERVICE)
    try:
        if os.environ.get("XAAS_TEST_KUBECONFIG"):
            return Images(*(_named(NAMED[recipe]) for recipe in recipes))
        with _shown(request), locked("images"):
            product_images.load()
        return Images(*(recipe.name for recipe in recipes))
    except ClusterFailure as failure:
        _give_up("What needs the container images in the cluster", failure)


@pytest.fixture(scope="session", name="installed")
def the_installed(request: pytest.FixtureRequest, images: Images) -> Iterator[installed.Installed]:
    """The product as it ships, of the tree as it is: the chart in `chart.NAMESPACE`, with its REST
    API reached from here. All tests share it, those of other runs as well."""
    with installed.in_use():
        try:
            with _shown(request), locked("product"):
                found = installed.install(os.environ[SESSION], images.service, images.runner)
        except ClusterFailure as failure:
            _give_up("What needs the product in the cluster", failure)
        yield found


def _named(variable: str) -> str:
    if name := os.environ.get(variable):
        return name
    raise ClusterFailure(f"{variable} doesn't say where the cluster of yours has the image from.")


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of its own, which admits restricted pods only."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    kubectl(
        "create",
        "--filename=-",
        given={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
    )
    kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    yield name
    kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


@pytest.fixture
def disposable_cluster(kubeconfig: Path) -> None:
    """The cluster may be ended: it was built and started by this run, and nobody else is at it."""
    state = places.State.here()
    if not state.session.exists() or state.session.read_text() != os.environ[SESSION]:
        pytest.skip("ends the cluster, which these tests haven't started")
    if state.provider.read_text() != "modules\n":
        pytest.skip("the cluster wasn't built from Go modules")
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        pytest.skip("ends the cluster, which other workers of pytest use")
