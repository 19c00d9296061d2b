"""`make cluster-up`: have a Kubernetes cluster for the tests, and say where its kubeconfig is.

In this order: the one that XAAS_TEST_KUBECONFIG names; kind, where a Docker engine answers; one
built from Go modules, where we are root on Linux. A cluster that is up already is left as it is.
"""

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cluster import kind, node, places
from tests.cluster.places import State
from tests.cluster.steps import ClusterFailure, main, run, say, write

WAYS: Final[dict[str, tuple[Callable[[State], bool], Callable[[State], None]]]] = {
    "kind": (kind.is_up, kind.start),
    "modules": (node.is_up, node.start),
}
"""By who runs the cluster: whether it is up, and how to start it."""

SESSION: Final = "XAAS_TEST_SESSION"
"""Names the run of the tests that starts a cluster: at its end it ends what is its own."""


def found() -> Path | None:
    """Access to the cluster that is up already, if one is. Raises ClusterFailure."""
    if own := os.environ.get("XAAS_TEST_KUBECONFIG"):
        _check(Path(own))
        return Path(own)
    state = places.State.here()
    if not state.provider.exists():
        return None
    is_up, _ = WAYS[state.provider.read_text().strip()]
    return state.kubeconfig if is_up(state) else None


def up() -> None:
    """Have a cluster. Raises ClusterFailure."""
    if access := found():
        say(f"The cluster is up already.\nKubeconfig: {access}")
        return
    state = places.State.here()
    chosen = provider()
    _, start = WAYS[chosen]
    began = time.monotonic()
    start(state)
    if session := os.environ.get(SESSION):
        write(state.session, session)
    say(f"The cluster is up, after {time.monotonic() - began:.1f} s.")
    say(f"Kubeconfig: {state.kubeconfig}")
    if chosen == "modules":
        say(f"kubectl:    {state.binaries / 'kubectl'}")


def _check(kubeconfig: Path) -> None:
    """Say whether the cluster that the user named answers."""
    if not kubeconfig.is_file():
        raise ClusterFailure(f"XAAS_TEST_KUBECONFIG names {kubeconfig}, which is no file.")
    if not shutil.which("kubectl"):
        say("There is no kubectl to ask it; taken for up.")
    else:
        access = f"--kubeconfig={kubeconfig}"
        run(["kubectl", access, "--request-timeout=15s", "get", "--raw=/readyz"])


def provider() -> str:
    """Who runs the cluster: as it was started, else what this machine has. Raises ClusterFailure."""
    state = places.State.here()
    if state.provider.exists():
        return state.provider.read_text().strip()
    docker = kind.docker_answers()
    if docker and kind.is_installed():
        return "kind"
    if platform.system() == "Linux" and os.geteuid() == 0:
        say(
            "Docker, but no kind: building Kubernetes from Go modules."
            if docker
            else "No Docker engine answers: Kubernetes is built from Go modules."
        )
        return "modules"
    if docker:
        raise ClusterFailure("Docker runs, but kind isn't installed: https://kind.sigs.k8s.io.")
    raise ClusterFailure(
        "A test cluster needs one of: XAAS_TEST_KUBECONFIG (any cluster of yours), a running Docker "
        "engine and kind, or Linux and root."
    )


if __name__ == "__main__":
    sys.exit(main(up))
