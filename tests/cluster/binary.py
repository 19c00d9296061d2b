"""Kubernetes with etcd, and helm: binaries built from Go modules once and kept in the cache.

The key is a hash of all that the result depends on: the module's files, Go's version, the flags. So
a build is never reused when it shouldn't be, and never repeated when it needn't.
"""

import hashlib
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.cluster import go, places
from tests.cluster.steps import ClusterFailure, ends_of, run, say

KEPT_BUILDS: Final = 3
EVERY: Final = 20.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True)
class Binary:
    """One binary: its module in this folder, the main package, and the names it is called by."""

    name: str
    module: Path
    package: str
    names: tuple[str, ...]
    pace: str


KUBERNETES: Final = Binary(
    name="kubernetes",
    module=places.OWN / "allinone",
    package=".",
    names=(
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubectl",
        "kubelet",
    ),
    pace="5 to 15 minutes on 2 cores",
)
HELM: Final = Binary(
    name="helm",
    module=places.OWN / "helm",
    package="helm.sh/helm/v3/cmd/helm",
    names=("helm",),
    pace="1 to 3 minutes on 2 cores",
)


def _version(binary: Binary, required: str) -> tuple[str, str, str]:
    """The version of what the binary's go.mod requires; major, minor and patch."""
    file = binary.module / "go.mod"
    found = re.search(rf"{re.escape(required)} v(\d+)\.(\d+)\.(\S+)", file.read_text())
    if found is None:
        raise ClusterFailure(f"{file} doesn't require {required}")
    return found[1], found[2], found[3]


def _told(binary: Binary) -> dict[str, str]:
    """Variables that a release sets when it is built: what `kubectl version` and others see."""
    if binary.name == KUBERNETES.name:
        major, minor, patch = _version(binary, "k8s.io/kubernetes")
        base = "k8s.io/component-base/version.git"
        told = {"Version": f"v{major}.{minor}.{patch}", "Major": major, "Minor": minor}
        return {f"{base}{name}": value for name, value in {**told, "TreeState": "clean"}.items()}
    version = "v{}.{}.{}".format(*_version(binary, "helm.sh/helm/v3"))
    _, minor, _ = _version(binary, "k8s.io/client-go")
    # The Kubernetes that `helm template` and `helm lint` take for given without a cluster.
    told = {"helm.sh/helm/v3/internal/version.version": version}
    for base in ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"):
        told |= {f"{base}.k8sVersionMajor": "1", f"{base}.k8sVersionMinor": minor}
    return told


def flags(binary: Binary) -> list[str]:
    """The flags of the build."""
    names = " ".join(f"-X {name}={value}" for name, value in _told(binary).items())
    return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {names}"]


def key(binary: Binary) -> str:
    """What tells this build from one of other sources, other flags or another Go."""
    digest = hashlib.sha256()
    sources = [file.read_bytes() for file in sorted(binary.module.iterdir())]
    for part in [*sources, repr((go.installed().told, flags(binary))).encode()]:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _build(binary: Binary, target: Path) -> None:
    """Build into `target`, saying every now and then how far it is."""
    environment, command = go.environment(), go.installed().command
    say(f"Building {binary.name} from Go modules: {binary.pace}, once ...")
    # Downloads the modules, too: the compiler then never waits for the network.
    listing = [command, "list", "-deps", binary.package]
    packages = len(run(listing, environment=environment, folder=binary.module).split())
    draft, log = target.with_suffix(".draft"), target.with_suffix(".log")
    building = [command, "build", "-v", "-o", str(draft), *flags(binary), binary.package]
    began = told = time.monotonic()
    with log.open("wb") as output:
        build = subprocess.Popen(
            building,
            cwd=binary.module,
            env=environment,
            stdin=subprocess.DEVNULL,
            stderr=output,
        )
        try:
            while build.poll() is None:
                time.sleep(0.2)
                if time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    done = log.read_bytes().count(b"\n")
                    say(
                        f"    {told - began:4.0f} s: compiled {done} of at most {packages} packages"
                    )
        finally:
            build.kill()  # on Ctrl-C; nothing to a build that has ended
            build.wait()
    if build.returncode != 0:
        raise ClusterFailure(f"`go build` ended with {build.returncode}.\n{ends_of(log)}")
    draft.replace(target)
    say(f"    built in {time.monotonic() - began:.0f} s")


def built(binary: Binary) -> Path:
    """The binary's file, built if the cache doesn't have it. Raises ClusterFailure."""
    folder = places.cache_folder() / binary.name
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / key(binary)
    if not target.exists():
        _build(binary, target)
    os.utime(target)
    builds = [file for file in folder.iterdir() if not file.suffix]
    for old in sorted(builds, key=lambda file: file.stat().st_mtime)[:-KEPT_BUILDS]:
        old.unlink()
        old.with_suffix(".log").unlink(missing_ok=True)
    return target


def link(state: places.State, binary: Binary, source: Path) -> None:
    """Put a link for each name of the binary into the state's folder of binaries."""
    state.binaries.mkdir(parents=True, exist_ok=True)
    for name in binary.names:
        draft, place = state.binaries / f"{name}.draft", state.binaries / name
        draft.unlink(missing_ok=True)
        draft.symlink_to(source)
        draft.replace(place)  # at no time it is missing: others may be using it
