"""The cluster built from Go modules: start its components, wait until it is of use, end it.

The order of a start: certificates and configuration; namespaces; network; etcd, containerd and the
API server; once that answers, all others. Each component writes a log of its own, and the first one
that ends is reported with what it wrote.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cluster import (
    binary,
    certificates,
    cgroups,
    helm_command,
    images,
    namespaces,
    network,
    places,
    requirements,
    settings,
)
from tests.cluster.client import Client, trouble
from tests.cluster.steps import ClusterFailure, ends_of, locked, say, step, write

FIRST: Final = ("etcd", "containerd", "kube-apiserver")
PATIENCE: Final = 120.0
"""Seconds for one step of the start: it takes a few, and on a machine under load many."""
BUSY: Final = 30.0
"""Seconds that a cluster that is up may take to answer: others may be at work on it."""
POLL: Final = 0.05
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Processes = dict[str, subprocess.Popen[bytes]]


def is_up(state: places.State) -> bool:
    """Whether the cluster runs and answers; one that came up is given time, for it may be busy."""
    if not state.kubeconfig.exists():
        return False
    client = Client(state)
    deadline = time.monotonic() + BUSY
    while namespaces.exist(state):
        if not (_unready(client) or _missing(client)):
            return True
        if time.monotonic() > deadline:
            break
        time.sleep(POLL)
    return False


def start(state: places.State) -> None:
    """Start the cluster; what an earlier start has left is cleared first. Raises ClusterFailure."""
    requirements.require(requirements.NODE)
    _check_place(state)
    kubernetes = binary.built(binary.KUBERNETES)
    if state.folder.exists():
        say(f"Clearing what an earlier start has left in {state.folder}")
        end(state)
    network.refuse_taken()
    with step("Making certificates and configuration"):
        state.folder.mkdir(parents=True)
        state.folder.chmod(0o755)
        write(state.provider, "modules\n")
        binary.link(state, binary.KUBERNETES, kubernetes)
        certificates.make(state)
        for name, text in settings.files(state).items():
            write(state.configuration / name, text)
    with step("Making cgroups, namespaces and network"):
        cgroups.make()
        namespaces.make(state)
        network.make(state)
    with locked("helm"):
        helm_command.found()
    _start_components(state)
    access = certificates.kubeconfig(state.certificates, certificates.ADMIN)
    write(state.kubeconfig, access, 0o600)


def end(state: places.State) -> None:
    """End the cluster and remove its state; nothing to do is fine. Raises ClusterFailure."""
    namespaces.end(state)
    network.remove()
    cgroups.remove()
    _refuse_mounts(state.folder)
    if state.folder.exists():
        shutil.rmtree(state.folder)


def _check_place(state: places.State) -> None:
    if len(str(state.folder)) > places.LONGEST_STATE:
        raise ClusterFailure(
            f"{state.folder} is too long a path for the sockets in it; choose one "
            f"of {places.LONGEST_STATE} characters at most (XAAS_CLUSTER_DIR)."
        )
    for fresh in namespaces.FRESH:
        if state.folder.is_relative_to(fresh):
            raise ClusterFailure(f"The state can't be kept in {fresh}: the node has its own.")


def _refuse_mounts(folder: Path) -> None:
    """Nothing is removed through a mount. There is none, or somebody else made it."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mounted = Path(line.split()[4].encode().decode("unicode_escape"))
        if mounted != folder and mounted.is_relative_to(folder):
            raise ClusterFailure(f"{mounted} is mounted: unmount it, then `make cluster-down`.")


def _start_components(state: places.State) -> None:
    client = Client(state)
    commands = settings.commands(state)
    processes: Processes = {}
    with step("Starting etcd, containerd and the API server"):
        for name in FIRST:
            processes[name] = _spawn(state, name, commands[name])
        _wait(state, processes, "kube-apiserver", lambda: _unready(client))
    with step("Starting the kubelet and the rest; waiting for the node"):
        for name, command in commands.items():
            if name not in processes:
                processes[name] = _spawn(state, name, command)
        images.load_pause(state)
        _create_dns_service(client)
        _wait(state, processes, "kubelet", lambda: _missing(client))


def _spawn(state: places.State, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    # Nothing of the caller's environment: no proxy, no Go settings, no credentials.
    environment = {"PATH": f"{state.binaries}:{PATH}", "HOME": "/root", "LANG": "C.UTF-8"}
    with (state.logs / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [*namespaces.entering(state), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )


def _wait(
    state: places.State, processes: Processes, suspect: str, missing: Callable[[], str]
) -> None:
    """Wait until `missing` says nothing. Raises ClusterFailure if a component ends, or in time."""
    deadline = time.monotonic() + PATIENCE
    while lacking := missing():
        for name, process in processes.items():
            if process.poll() is not None:
                raise ClusterFailure(
                    f"{name} ended with {process.returncode}.\n"
                    f"{ends_of(state.logs / f'{name}.log')}"
                )
        if time.monotonic() > deadline:
            raise ClusterFailure(
                f"Not ready after {PATIENCE:.0f} s: {lacking}\n"
                f"{ends_of(state.logs / f'{suspect}.log')}"
            )
        time.sleep(POLL)


def _unready(client: Client) -> str:
    """What keeps the API server from being ready; empty if nothing."""
    try:
        client.get("/readyz")
    except OSError as error:
        return f"the API server says: {trouble(error)}"
    return ""


def _missing(client: Client) -> str:
    """What keeps a pod from being run; empty if nothing."""
    try:
        node = client.get(f"/api/v1/nodes/{places.NODE_NAME}")
        client.get("/api/v1/namespaces/default/serviceaccounts/default")
    except OSError as error:
        return f"the API server says: {trouble(error)}"
    conditions = node["status"].get("conditions", [])
    ready = next((one for one in conditions if one["type"] == "Ready"), {"status": "Unknown"})
    if ready["status"] != "True":
        return f"the node isn't Ready: {ready.get('message', 'nothing heard of it')}"
    if taints := [taint["key"] for taint in node["spec"].get("taints", [])]:
        return f"the node is tainted: {', '.join(taints)}"
    return ""


def _create_dns_service(client: Client) -> None:
    """A name service that nobody serves: a look-up is refused at once instead of timing out.

    Without any the kubelet writes a warning event for each pod.
    """
    ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns"},
        "spec": {"clusterIP": places.DNS_SERVICE_ADDRESS, "ports": ports},
    }
    client.create("/api/v1/namespaces/kube-system/services", service)
