"""One process holds the node's namespaces (processes, mounts, network); all else lives in them.

That makes the tear-down certain instead of careful: when the first process of a process namespace
ends, the kernel ends every other one in it, and with the last process go its mounts, its network
and the links into it. Nothing has to be searched for, and nothing of others can be hit. The holder
is known by a pid file that says when it started, so that a pid used again isn't taken for it.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.steps import ClusterFailure, ends_of, run, write

PATIENCE: Final = 60.0
"""Seconds for the namespaces to begin or to end; with pods in them the end takes some."""

FRESH: Final = ("/run", "/var/log")
"""Folders of the machine that the node has its own of: components write there at fixed paths."""
REDIRECTED: Final = ("/var/lib/kubelet", "/var/lib/cni")
"""Likewise, but on disk; made on the machine if need be, since something must be mounted on."""


def _started(pid: int) -> str:
    """What tells a process from a later one of the same pid; empty if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else f"{boot} {fields[19]}"


def _recorded(state: places.State) -> int | None:
    """The pid of the holder, if it lives."""
    if not state.holder.exists():
        return None
    pid, _, started = state.holder.read_text().strip().partition(" ")
    return int(pid) if pid.isdigit() and started and _started(int(pid)) == started else None


def _inner(holder: int) -> int | None:
    """The first process of the namespaces: the holder's child."""
    try:
        children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def exist(state: places.State) -> bool:
    """Whether the namespaces of an earlier start are there."""
    return _recorded(state) is not None


def make(state: places.State) -> None:
    """Start the holder and mount what the node has its own of. Raises ClusterFailure."""
    state.logs.mkdir(parents=True, exist_ok=True)
    log = state.logs / "holder.log"
    # catatonit reaps what loses its parent; if unshare is killed, it goes too, and all with it.
    command = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--net"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "catatonit", "-P"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal isn't meant for it
            cwd="/",
        )
    write(state.holder, f"{process.pid} {_started(process.pid)}\n")
    deadline = time.monotonic() + PATIENCE
    while not _is_catatonit(process.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ClusterFailure(f"`{' '.join(command)} catatonit -P` failed.\n{ends_of(log)}")
        time.sleep(0.01)
    _mount(state)


def _is_catatonit(holder: int) -> bool:
    """Whether the namespaces are ready: unshare mounts /proc before it starts the command."""
    inner = _inner(holder)
    try:
        return inner is not None and Path(f"/proc/{inner}/comm").read_text() == "catatonit\n"
    except OSError:
        return False


def _mount(state: places.State) -> None:
    # Shared among the node's own mounts, or volumes with mount propagation fail; unshare has made
    # them private to the machine.
    inside(state, ["mount", "--make-rshared", "/"])
    for folder in FRESH:
        inside(state, ["mount", "-t", "tmpfs", "-o", "mode=755", places.NAME, folder])
    for folder in REDIRECTED:
        own = state.data / Path(folder).name
        own.mkdir(parents=True, exist_ok=True)
        Path(folder).mkdir(parents=True, exist_ok=True)
        inside(state, ["mount", "--bind", str(own), folder])


def entering(state: places.State) -> list[str]:
    """The words before a command that make it run in the namespaces. Raises ClusterFailure."""
    holder = _recorded(state)
    inner = _inner(holder) if holder is not None else None
    if inner is None:
        raise ClusterFailure(f"No cluster runs in {state.folder}; `make cluster-up` starts one.")
    # Not `ip netns exec`: that mounts /sys anew, and the cgroups are gone.
    return ["nsenter", f"--target={inner}", "--mount", "--net", "--pid", "--wd=/", "--"]


def inside(state: places.State, command: list[str]) -> str:
    """Run a command to its end in the namespaces; gives its output. Raises ClusterFailure."""
    return run([*entering(state), *command])


def end(state: places.State) -> None:
    """End all processes in the namespaces, and so the namespaces; nothing to do is fine."""
    holder = _recorded(state)
    if holder is not None:
        inner = _inner(holder)
        for pid in (inner, holder):
            if pid is not None:
                _end(pid)
    for folder in REDIRECTED:
        if Path(folder).is_dir() and not any(Path(folder).iterdir()):
            Path(folder).rmdir()  # most likely ours; and an empty one is missed by nobody


def _end(pid: int) -> None:
    """End one process and wait until it is gone. Raises ClusterFailure if it doesn't go."""
    began = _started(pid)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + PATIENCE
    while began and _started(pid) == began:
        if time.monotonic() > deadline:
            raise ClusterFailure(f"Process {pid} doesn't end, though killed: see `ps -fp {pid}`.")
        time.sleep(0.01)
