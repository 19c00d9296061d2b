"""The product as it ships, in the test cluster for as long as tests use it.

Whoever comes first installs it, whoever leaves last uninstalls it: each user holds a shared lock on
one file, and who gets it alone knows that nobody uses the product. A release that was there before
the tests stays; it is brought up to date with the tree.
"""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from tests.cluster import chart, places
from tests.cluster.steps import ClusterFailure

ACCOUNT: Final = "xaas-tests"
"""Of the tests, which may do everything, as the cluster's admin may."""

TOKEN_FOR: Final = "6h"
"""How long the tests' token counts: longer than any run of the tests."""

REACHED_WITHIN: Final = 10.0
"""Seconds until a Service of ready pods answers: its rules are a moment later than they are."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Installed:
    """The product in the cluster. `base_url` is that of its REST API, behind which all replicas are,
    and `token` one that may do everything."""

    base_url: str
    token: str

    @staticmethod
    def pods(component: str) -> list[Json]:
        """The pods of `operator` or `api` that are ready and stay."""
        selector = f"app.kubernetes.io/instance={chart.RELEASE}"
        selector += f",app.kubernetes.io/component={component}"
        where = (f"--namespace={chart.NAMESPACE}", f"--selector={selector}", "--output=json")
        found = json.loads(chart.kubectl("get", "pods", *where))["items"]
        return [each for each in found if _stays(each)]

    @staticmethod
    def has_secret(name: str, key: str, value: str) -> None:
        """Have a Secret in the namespace `default`."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "stringData": {key: value},
        }
        chart.kubectl("apply", "--filename=-", given=secret)

    def replicas(self) -> list[str]:
        """The base URL of each replica of the API."""
        return [f"http://{each['status']['podIP']}:8080" for each in self.pods("api")]


def _stays(pod: Json) -> bool:
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


@contextmanager
def in_use() -> Iterator[None]:
    """Nobody uninstalls the product meanwhile."""
    with _held("product-users", fcntl.LOCK_SH):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Nobody who asks for `alone` restarts parts of the product meanwhile."""
    with _held("product-parts", fcntl.LOCK_SH):
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Nobody who asks for `undisturbed` is at the product: its parts may be restarted."""
    with _held("product-parts", fcntl.LOCK_EX):
        yield


def install(session: str, service: str, runner: str) -> Installed:
    """The product made of these images, as the chart ships it; once for each run of the tests.

    Raises ClusterFailure.
    """
    state = _state()
    state.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(state.read_text()) if state.exists() else {}
    is_there = bool(json.loads(chart.helm("list", f"--filter=^{chart.RELEASE}$", "--output=json")))
    if not is_there or known.get("session") != session:
        now = {"ours": known.get("ours", False) or not is_there}
        state.write_text(json.dumps(now))  # so that it goes, also if it doesn't come up
        chart.install(chart.image_values(service, runner))
        state.write_text(json.dumps({**now, "session": session}))
    found = Installed(_address(), _token())
    _reach(found.base_url)
    return found


def uninstall_if_unused() -> None:
    """Remove it if tests have installed it, and none uses it. Raises ClusterFailure."""
    state = _state()
    if not state.exists():
        return
    with suppress(BlockingIOError), _held("product-users", fcntl.LOCK_EX | fcntl.LOCK_NB):
        if state.exists() and json.loads(state.read_text())["ours"]:
            chart.uninstall()
            for each in reversed(_account()):
                chart.kubectl("delete", "--ignore-not-found", "--filename=-", given=each)
        state.unlink(missing_ok=True)


@contextmanager
def _held(matter: str, how: int) -> Iterator[None]:
    """A lock of this machine. Raises BlockingIOError where `how` doesn't wait."""
    places.cache_folder().mkdir(parents=True, exist_ok=True)
    with (places.cache_folder() / f"{matter}.lock").open("w") as lock:
        fcntl.flock(lock, how)
        yield


def _state() -> Path:
    """Who has installed it. It goes with the cluster."""
    return places.State.here().folder / "product"


def _address() -> str:
    where = ("get", f"service/{chart.RELEASE}-api", f"--namespace={chart.NAMESPACE}")
    spec = json.loads(chart.kubectl(*where, "--output=json"))["spec"]
    return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"


def _token() -> str:
    for each in _account():
        chart.kubectl("apply", "--filename=-", given=each)
    where = f"--namespace={chart.NAMESPACE}"
    return chart.kubectl("create", "token", ACCOUNT, where, f"--duration={TOKEN_FOR}").strip()


def _account() -> list[Json]:
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": chart.NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": chart.NAMESPACE},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": ACCOUNT},
            "roleRef": role,
            "subjects": [subject],
        },
    ]


def _reach(base_url: str) -> None:
    deadline = time.monotonic() + REACHED_WITHIN
    while True:
        try:
            httpx.get(f"{base_url}/healthz", trust_env=False, timeout=3).raise_for_status()
            return
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise ClusterFailure(
                    f"{base_url} isn't reached from this machine: {error}. Tests call the API at the "
                    "addresses of its Service and its pods."
                ) from None
        time.sleep(0.2)
