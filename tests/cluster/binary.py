"""The all-in-one binary: Kubernetes and etcd, built from Go modules once and kept in the cache.

The key is a hash of all that the result depends on: the module's files, Go's version, the flags. So
a build is never reused when it shouldn't be, and never repeated when it needn't.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.steps import ClusterFailure, ends_of, run, say

MODULE: Final = places.OWN / "allinone"
SOURCES: Final = ("go.mod", "go.sum", "main.go")
COMPONENTS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)
KEPT_BUILDS: Final = 3
EVERY: Final = 20.0
"""Seconds between two lines of progress."""

# The way to the modules belongs to the machine; all else that begins with GO would change the
# result behind the key's back.
MACHINES_OWN: Final = {
    "GOCACHE", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPATH", "GOPRIVATE",
    "GOPROXY", "GOROOT", "GOSUMDB", "GOTMPDIR", "GOAUTH",
}  # fmt: skip


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in MACHINES_OWN or not name.startswith(("GO", "CGO"))
    }
    # Set, not left out: what isn't set here counts from `go env -w`. Without cgo the binary needs
    # no compiler and no C library.
    return kept | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOOS": "linux",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _flags() -> list[str]:
    """Flags of the build; the version is what `kubectl version` and clients see."""
    found = re.search(r"k8s\.io/kubernetes v(\d+)\.(\d+)\.(\S+)", (MODULE / "go.mod").read_text())
    if found is None:
        raise ClusterFailure(f"{MODULE / 'go.mod'} doesn't require k8s.io/kubernetes")
    major, minor, patch = found.groups()
    told = {"Version": f"v{major}.{minor}.{patch}", "Major": major, "Minor": minor}
    told["TreeState"] = "clean"
    names = " ".join(f"-X k8s.io/component-base/version.git{k}={v}" for k, v in told.items())
    return ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {names}"]


def _go() -> str:
    """Go's version and architecture, for the key. Raises ClusterFailure if Go is missing or old."""
    if not shutil.which("go"):
        raise ClusterFailure(
            "Building Kubernetes needs Go 1.24 or newer, and there is none. Install it "
            "(https://go.dev/doc/install), or name a cluster by XAAS_TEST_KUBECONFIG."
        )
    told = json.loads(
        run(["go", "env", "-json", "GOVERSION", "GOARCH"], environment=_environment())
    )
    version = re.match(r"go(\d+)\.(\d+)", told["GOVERSION"])
    if version and (int(version[1]), int(version[2])) < (1, 24):
        raise ClusterFailure(f"Building Kubernetes needs Go 1.24 or newer; this is {version[0]}.")
    return f"{told['GOVERSION']} {told['GOARCH']}"


def _key(go: str) -> str:
    digest = hashlib.sha256()
    for part in [
        *((MODULE / name).read_bytes() for name in SOURCES),
        repr((go, _flags())).encode(),
    ]:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _build(target: Path) -> None:
    """Build into `target`, saying every now and then how far it is."""
    environment = _environment()
    say("Building Kubernetes from Go modules: 10 to 15 minutes on 2 cores, once ...")
    # Downloads the modules, too: the compiler then never waits for the network.
    packages = len(
        run(["go", "list", "-deps", "."], environment=environment, folder=MODULE).split()
    )
    draft, log = target.with_suffix(".draft"), target.with_suffix(".log")
    command = ["go", "build", "-v", "-o", str(draft), *_flags(), "."]
    began = told = time.monotonic()
    with log.open("wb") as output:
        build = subprocess.Popen(
            command, cwd=MODULE, env=environment, stdin=subprocess.DEVNULL, stderr=output
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


def binary() -> Path:
    """The binary, built if the cache doesn't have it. Raises ClusterFailure."""
    go = _go()
    folder = places.cache_folder() / "kubernetes"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / _key(go)
    if not target.exists():
        _build(target)
    os.utime(target)
    builds = [file for file in folder.iterdir() if not file.suffix]
    for old in sorted(builds, key=lambda file: file.stat().st_mtime)[:-KEPT_BUILDS]:
        old.unlink()
    return target


def link(state: places.State, source: Path) -> None:
    """Put a link for each component into the state's folder of binaries."""
    state.binaries.mkdir(parents=True, exist_ok=True)
    for name in COMPONENTS:
        (state.binaries / name).symlink_to(source)
