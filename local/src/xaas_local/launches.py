"""Launches on disk: what was started, and whether its process lives, for the server that comes
next.

A launch is noted in the journal before its process is made, so there is never a process that nobody
knows of. Its note holds all that its further steps need (the token too: it is no more than what the
key beside it can make anew), so a server that is restarted goes on where the last one was.

Each live launch has a slot, a lock file that is used again and again. A step's process holds its
lock, from before it exists until it is gone, whoever else has died; the first line says whose it is
and what became of it: `<process> <pid> <exit code>`. What another process left there says nothing
of this one, so a slot needs no cleaning.

The journal has one line per launch that starts. One that ends in order adds none: its slot tells,
and a later launch in that slot couldn't be there if it weren't over. Other ends are noted, and runs
that are removed. Only the server writes, one append at a time; it writes the journal anew, with what
is still of use, when it starts and when the journal has grown far beyond that. Nothing is flushed to
the disk: notes survive the server, they needn't survive the machine.
"""

import contextlib
import errno
import fcntl
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

from xaas_core.codec import Codec
from xaas_core.engine.facts import Phase, Sighting
from xaas_core.engine.plan import SecretRef
from xaas_core.engine.states import Reason
from xaas_core.names import runner_id
from xaas_core.ports import RunnerKey
from xaas_local.data import DataDir

SPARE_LINES: Final = 4_096
"""Lines of the journal beyond twice those of use, about 400 bytes each, before it is rewritten."""

KEPT_ENDED: Final = 2_000
"""Ended launches that are kept when it is: the last ones."""

log = logging.getLogger(__name__)


class Stage(StrEnum):
    """Where a launch is."""

    LIVE = "live"  # a process runs, or will as soon as it can
    OVER = "over"  # its last process is gone
    REFUSED = "refused"  # it will never be started


@dataclass(frozen=True)
class LaunchState:
    """One launch of one attempt: a process for each of `steps`, one after the other.

    `position` is the index in `steps` of the newest; `memory` in bytes, `cpu` in seconds per step;
    `slot` is its own as long as it is live.
    """

    runner: RunnerKey
    steps: tuple[int, ...]
    token: str
    memory: int
    cpu: int
    secrets: tuple[SecretRef, ...] = ()
    slot: int = 0
    position: int = 0
    stage: Stage = Stage.LIVE
    reason: Reason = Reason.NONE
    message: str = ""

    @property
    def step(self) -> int:
        """The step whose turn it is."""
        return self.steps[self.position]

    @cached_property
    def name(self) -> str:
        """The runner's name."""
        of = self.runner
        return runner_id(of.run, of.ref, of.side, of.attempt, of.launch)

    @cached_property
    def process(self) -> str:
        """The name of the newest process."""
        return f"{self.name}.{self.step}"

    def sighting(self) -> Sighting:
        """What is seen of it."""
        phase = Phase(self.stage.value)
        of = self.runner
        return Sighting(of.attempt, of.launch, phase, self.reason, self.message)


class Trace(NamedTuple):
    """What a slot says of a process. `pid` None: it hasn't been there (yet); `code` None: it runs,
    or ended out of order."""

    held: bool = False
    process: str = ""
    pid: int | None = None
    code: int | None = None


@dataclass(frozen=True)
class _Line:
    """A line of the journal: a launch as it is now, or a run that is removed."""

    launch: LaunchState | None = None
    forgotten: str = ""


_CODEC: Final = Codec(_Line)
_SIGNED: Final = re.compile(r"(\S+)(?: ([0-9]{1,10})(?: ([0-9]{1,3}))?)?\n")


class Launches:
    """The launches in the data directory, from `open` to `close`. Methods raise OSError where they
    can't read or write."""

    def __init__(self, data: DataDir) -> None:
        self._folder = data.runners
        self._journal = data.runners / "journal"
        self._file = -1
        self._room = 0  # lines until it is written anew
        self._kept: dict[RunnerKey, LaunchState] = {}  # noted last at the end
        self._slots: dict[int, RunnerKey] = {}

    def open(self) -> list[LaunchState]:
        """What is known; be ready for notes. A line that can't be read is logged and left out."""
        lines = self._journal.read_text("ascii", "replace") if self._journal.exists() else ""
        for number, line in enumerate(lines.split("\n")[1:], 2):
            try:
                self._take(_CODEC.decode(line))
            except (ValueError, TypeError, KeyError) as error:
                place = f"line {number} of {self._journal}"
                log.warning("%s can't be read and is left out: %s", place, error)
        self._write_anew()
        return [self._moved(state) for state in self._kept.values()]

    def close(self) -> None:
        """No notes any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def note(self, state: LaunchState) -> None:
        """Add what a launch is now: it starts, or ended other than in order."""
        self._add(_Line(state))

    def forget(self, run: str) -> None:
        """Add that a run is removed."""
        self._add(_Line(forgotten=run))

    def lock_path(self, state: LaunchState) -> Path:
        """The lock file of a live launch."""
        return self._folder / f"{state.slot}.lock"

    def trace(self, state: LaunchState) -> Trace:
        """Whether the newest process of a live launch lives, and how it ended."""
        found = self._read(state)
        return found if found.process == state.process else Trace()

    def _moved(self, state: LaunchState) -> LaunchState:
        """The launch at the step that its slot was taken for last."""
        process = self._read(state).process
        steps = (replace(state, position=position) for position in range(len(state.steps)))
        return next((moved for moved in steps if moved.process == process), state)

    def _read(self, state: LaunchState) -> Trace:
        try:
            lock = os.open(self.lock_path(state), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return Trace()
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            signed = _SIGNED.match(os.read(lock, 256).decode("ascii", "replace"))
        finally:
            os.close(lock)
        if signed is None:
            return Trace(held)
        process, pid, code = signed.groups()
        return Trace(held, process, int(pid) if pid else None, int(code) if code else None)

    def _add(self, line: _Line) -> None:
        if self._room <= 0:
            self._room = SPARE_LINES
            with contextlib.suppress(OSError):  # then it goes on growing
                self._write_anew()
        _append(self._file, [line])
        self._room -= 1
        self._take(line)

    def _take(self, line: _Line) -> None:
        """A line counts from now on."""
        if line.forgotten:
            for of in [of for of in self._kept if of.run == line.forgotten]:
                del self._kept[of]
        state = line.launch
        if state is None:
            return
        self._kept.pop(state.runner, None)
        if state.stage is Stage.LIVE:
            before = self._kept.get(self._slots.get(state.slot, state.runner))
            if before is not None and before.stage is Stage.LIVE:
                del self._kept[before.runner]
            self._slots[state.slot] = state.runner
        if state.stage is Stage.LIVE or state.reason or state.message:
            self._kept[state.runner] = state

    def _write_anew(self) -> None:
        ended = [of for of, state in self._kept.items() if state.stage is not Stage.LIVE]
        for of in ended[:-KEPT_ENDED]:
            del self._kept[of]
        half = self._journal.with_name("journal.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(half, flags, 0o600)
        try:
            _append(file, [_Line(state) for state in self._kept.values()])
            half.replace(self._journal)
        except BaseException:
            os.close(file)
            raise
        self.close()
        self._file = file
        self._room = len(self._kept) + SPARE_LINES


def _append(file: int, lines: Iterable[_Line]) -> None:
    # Each begins with its newline: one that was torn spoils no other.
    content = "".join(f"\n{_CODEC.encode(line)}" for line in lines).encode()
    if os.write(file, content) < len(content):
        raise OSError(errno.ENOSPC, "there is no room for a line of the journal")
