"""Launches as files: what was started, and whether its process lives, for the server that comes
next.

A state is written before its process is made, so there is never a process that nobody knows of. It
holds all that the launch's further steps need (the token too: it is no more than what the key
beside it can make anew), so a server that is restarted goes on where the last one was.

A step's process holds a lock on its lock file, from before it exists until it is gone, whoever else
has died. It writes its pid there first of all and, when it ends in order, its exit code: `123 0`.
"""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from xaas_core.engine.facts import Phase, Sighting
from xaas_core.engine.plan import SecretRef
from xaas_core.engine.states import Reason
from xaas_core.names import runner_id
from xaas_core.ports import RunnerKey
from xaas_local.codec import Codec
from xaas_local.data import DataDir, write_private

log = logging.getLogger(__name__)


class Stage(StrEnum):
    """Where a launch is."""

    LIVE = "live"  # a process runs, or will as soon as it can
    OVER = "over"  # its last process is gone
    REFUSED = "refused"  # it will never be started


@dataclass(frozen=True)
class LaunchState:
    """One launch of one attempt: a process for each of `steps`, one after the other.

    `position` is the index in `steps` of the newest; `memory` in bytes, `cpu` in seconds per step.
    """

    runner: RunnerKey
    steps: tuple[int, ...]
    token: str
    memory: int
    cpu: int
    secrets: tuple[SecretRef, ...] = ()
    position: int = 0
    stage: Stage = Stage.LIVE
    reason: Reason = Reason.NONE
    message: str = ""

    @property
    def step(self) -> int:
        """The step whose turn it is."""
        return self.steps[self.position]

    @property
    def name(self) -> str:
        """The runner's name."""
        of = self.runner
        return runner_id(of.run, of.ref, of.side, of.attempt, of.launch)

    @property
    def process(self) -> str:
        """The name of the newest process."""
        return f"{self.name}.{self.step}"

    def sighting(self) -> Sighting:
        """What is seen of it."""
        phase = Phase(self.stage.value)
        of = self.runner
        return Sighting(of.attempt, of.launch, phase, self.reason, self.message)


class Trace(NamedTuple):
    """What a lock file says. `pid` None: no process has been there (yet); `code` None: it runs, or
    ended out of order."""

    held: bool
    pid: int | None = None
    code: int | None = None


_CODEC: Final = Codec(LaunchState)
_TRACE: Final = re.compile(rb"([0-9]{1,10})(?: ([0-9]{1,3}))?")


class LaunchFiles:
    """The files of launches in the data directory. Methods raise OSError but where they say not."""

    def __init__(self, data: DataDir) -> None:
        self._folder = data.runners

    def save(self, state: LaunchState) -> None:
        """Write a state, whole or not at all. Survives the server, needn't survive the machine."""
        write_private(self._folder / f"{state.name}.json", _CODEC.encode(state).encode())

    def load(self) -> Iterator[LaunchState]:
        """All states, those written last at the end; what can't be read is logged and left out."""
        for path in sorted(self._folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            try:
                yield _CODEC.decode(path.read_text())
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("the launch %s can't be read and is left out: %s", path, error)

    def remove(self, state: LaunchState) -> None:
        """Remove what is kept of a launch; no error if it is gone."""
        with contextlib.suppress(OSError):
            (self._folder / f"{state.name}.json").unlink(missing_ok=True)
        self.remove_locks(state)

    def remove_locks(self, state: LaunchState) -> None:
        """Remove the lock files of a launch whose processes are gone; never an error."""
        for step in state.steps:
            with contextlib.suppress(OSError):
                self._lock(state, step).unlink(missing_ok=True)

    def lock_path(self, state: LaunchState) -> Path:
        """The lock file of the newest process."""
        return self._lock(state, state.step)

    def trace(self, state: LaunchState) -> Trace:
        """Whether the newest process lives, and how it ended."""
        try:
            lock = os.open(self.lock_path(state), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return Trace(False)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            match = _TRACE.fullmatch(os.read(lock, 32))
        finally:
            os.close(lock)
        if match is None:
            return Trace(held)
        return Trace(held, int(match[1]), None if match[2] is None else int(match[2]))

    def _lock(self, state: LaunchState, step: int) -> Path:
        return self._folder / f"{state.name}.{step}.lock"
