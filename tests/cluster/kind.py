"""The cluster in a container engine, by kind: the ordinary way, where Docker runs."""

import shutil
import subprocess

from tests.cluster import places
from tests.cluster.steps import ClusterFailure, run, say, step, write


def docker_answers() -> bool:
    """Whether there is a Docker engine."""
    if not shutil.which("docker"):
        return False
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=15,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say("Docker is installed, but its engine doesn't answer within 15 s.")
        return False
    return asked.returncode == 0


def is_installed() -> bool:
    """Whether the command is there."""
    return bool(shutil.which("kind"))


def is_up(state: places.State) -> bool:
    """Whether the cluster runs and answers."""
    return state.kubeconfig.exists() and places.NAME in run(["kind", "get", "clusters"]).split()


def start(state: places.State) -> None:
    """Start the cluster and wait for its node. Raises ClusterFailure."""
    state.folder.mkdir(parents=True, exist_ok=True)
    write(state.provider, "kind\n")
    draft = state.folder / "kubeconfig.draft"
    with step("Starting a cluster by kind: half a minute, and longer when it pulls its image"):
        named = ["--name", places.NAME, "--kubeconfig", str(draft)]
        run(["kind", "delete", "cluster", *named])  # what a failed start may have left
        run(["kind", "create", "cluster", *named, "--wait", "120s"])
    draft.replace(state.kubeconfig)


def end(state: places.State) -> None:
    """End the cluster and remove its state. Raises ClusterFailure."""
    if not is_installed():
        raise ClusterFailure("The cluster was started by kind, and kind isn't installed any more.")
    access = str(state.kubeconfig)
    run(["kind", "delete", "cluster", "--name", places.NAME, "--kubeconfig", access])
    shutil.rmtree(state.folder)
