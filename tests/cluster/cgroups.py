"""The cgroup below which all pods' cgroups lie, in each hierarchy there is.

With cgroup v1 each controller has a hierarchy of its own, with v2 there is one. The kubelet wants
its root cgroup to be there already; what it and runc make lies below, and goes with it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.steps import ClusterFailure

PATIENCE: Final = 10.0
"""Seconds: a cgroup is busy until the kernel is done with the last process in it."""
INHERITED: Final = ("cpuset.mems", "cpuset.cpus")
"""Empty in a new cgroup of v1, and while they are nothing can be put into it."""


def _hierarchies() -> Iterator[Path]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"}:
            yield Path(mounted)


def make() -> None:
    """Make the cgroup in each hierarchy; one that is there stays."""
    for hierarchy in _hierarchies():
        own = hierarchy / places.CGROUP
        own.mkdir(exist_ok=True)
        for name in INHERITED:
            if (hierarchy / name).exists() and (own / name).exists():
                (own / name).write_text((hierarchy / name).read_text())


def folders() -> list[Path]:
    """The cgroup's folders in all hierarchies and all below them, the deepest first."""
    tops = [hierarchy / places.CGROUP for hierarchy in _hierarchies()]
    found = [folder for top in tops if top.is_dir() for folder in [top, *top.rglob("*/")]]
    return sorted(found, key=lambda folder: len(folder.parts), reverse=True)


def remove() -> None:
    """Remove the cgroup and all below it; nothing to do is fine. Raises ClusterFailure."""
    for folder in folders():
        _remove(folder)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise ClusterFailure(f"The cgroup {folder} can't be removed: {error}") from None
            time.sleep(0.02)
        else:
            return
