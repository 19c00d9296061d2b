"""`make cluster-up`: have a Kubernetes cluster for the tests, and say where its kubeconfig is.

In this order: the one that XAAS_TEST_KUBECONFIG names; kind, where a Docker engine answers; one
built from Go modules, where we are root on Linux. A cluster that is up already is left as it is.
"""

import os
import platform
import shutil
import sys
import time
from pathlib import Path

from tests.cluster import kind, node, places
from tests.cluster.steps import ClusterFailure, main, run, say


def up() -> None:
    """Have a cluster. Raises ClusterFailure."""
    if own := os.environ.get("XAAS_TEST_KUBECONFIG"):
        _check(Path(own))
        return
    state = places.State.here()
    provider = _provider(state)
    is_up, start = {
        "kind": (kind.is_up, kind.start),
        "modules": (node.is_up, node.start),
    }[provider]
    if is_up(state):
        say("The cluster is up already.")
    else:
        began = time.monotonic()
        start(state)
        say(f"The cluster is up, after {time.monotonic() - began:.1f} s.")
    say(f"Kubeconfig: {state.kubeconfig}")
    if provider == "modules":
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
    say(f"Using the cluster that XAAS_TEST_KUBECONFIG names.\nKubeconfig: {kubeconfig}")


def _provider(state: places.State) -> str:
    """Who runs the cluster: as it was started, else what this machine has. Raises ClusterFailure."""
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
