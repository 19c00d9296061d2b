"""An API server with its etcd and nothing else, for a test that wants one to itself.

No controller and no kubelet: what is written stays as it is. A start takes some two seconds; nothing of
it is reached from outside of the machine.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.cluster import binary
from tests.cluster.steps import ClusterFailure, ends_of, run, write

PATIENCE: Final = 60.0
"""Seconds for the start."""
POLL: Final = 0.1
COMPONENTS: Final = ("etcd", "kube-apiserver", "kubectl")


@contextmanager
def control_plane(folder: Path) -> Iterator[Path]:
    """The kubeconfig of a control plane that lives in `folder`, with `kubectl` beside it.

    Raises ClusterFailure.
    """
    etcd, peer, api = _free_ports(3)
    token = secrets.token_hex(16)
    kubernetes = binary.built(binary.KUBERNETES)
    for name in COMPONENTS:
        (folder / name).symlink_to(kubernetes)
    write(folder / "tokens.csv", f'{token},admin,admin,"system:masters"\n', 0o600)
    run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"])
    commands = {
        "etcd": _etcd(folder, etcd, peer),
        "kube-apiserver": _apiserver(folder, etcd, api),
    }
    processes = {name: _start(folder, name, command) for name, command in commands.items()}
    try:
        _wait(folder, api, processes)
        kubeconfig = folder / "kubeconfig"
        write(kubeconfig, _access(folder, api, token), 0o600)
        yield kubeconfig
    finally:
        for process in processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on. All are held until the last is found: else one may come twice."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _etcd(folder: Path, port: int, peer: int) -> list[str]:
    return [
        f"{folder}/etcd",
        f"--data-dir={folder}/data",
        f"--listen-client-urls=http://127.0.0.1:{port}",
        f"--advertise-client-urls=http://127.0.0.1:{port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--log-level=warn",
        "--unsafe-no-fsync",
    ]


def _apiserver(folder: Path, etcd: int, port: int) -> list[str]:
    return [
        f"{folder}/kube-apiserver",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}/certificates",
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount",  # its controller isn't there
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/accounts.key",
        f"--service-account-signing-key-file={folder}/accounts.key",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]


def _start(folder: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(folder: Path, port: int, processes: dict[str, subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for name, process in processes.items():
            if process.poll() is not None:
                raise ClusterFailure(f"{name} has ended.\n{ends_of(folder / f'{name}.log')}")
        if (folder / "certificates" / "apiserver.crt").exists() and _answers(port):
            return
        time.sleep(POLL)
    log = folder / "kube-apiserver.log"
    raise ClusterFailure(f"No API server after {PATIENCE:.0f} s.\n{ends_of(log)}")


def _answers(port: int) -> bool:
    command = ["curl", "-ksf", "--max-time", "2", f"https://127.0.0.1:{port}/readyz"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _access(folder: Path, port: int, token: str) -> str:
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "insecure-skip-tls-verify": True,  # its certificate is its own, and so is the machine
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
    )
