"""Work in a forked child that is bounded in CPU time, memory and time by the clock.

The child locks itself down (no sockets, no files), does its work, and says lines of JSON through a
pipe. Whatever becomes of it, `ended` is called once, with the lines it said and with whom to blame
if they aren't all. At most `most` children run at once; others wait for their turn.
"""

import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from xaas_runner import lockdown
from xaas_runner.contract import ErrorInfo
from xaas_runner.nursery import HELD_BACK, Ended, Nursery
from xaas_runner.seccomp import Network

CPU_LIMIT: Final = "CpuLimit"
TIME_LIMIT: Final = "Timeout"
MEMORY_LIMIT: Final = "MemoryLimit"
CRASHED: Final = "Crashed"
NO_PROCESS: Final = "NoProcess"

RETRY_S: Final = 0.2
"""Between attempts to fork where the machine has no room for another process."""

STARVED_S: Final = 30.0
"""How long a child may take that wants to run and is kept from it by a busy machine."""

_MAX_OUTPUT_BYTES: Final = 4 * 1024 * 1024


class Bounds:
    """What a child may use, and how its limits are called in an error."""

    def __init__(self, what: str, cpu_s: int, memory_bytes: int, wall_s: float) -> None:
        self.what = what
        self.limits = lockdown.Limits(memory_bytes, cpu_s)
        self.wall_s = wall_s

    def memory_message(self) -> str:
        mib = (self.limits.memory_bytes or 0) // 1024 // 1024
        return f"the {self.what} used more than {mib} MiB of memory"

    def blame(self, ended: Ended, overdue_s: float) -> ErrorInfo:
        """Return the error of a child that died before it had answered.

        `overdue_s`: after how many seconds it was killed for taking too long; 0 if it wasn't.
        """
        cpu_s = self.limits.cpu_seconds or 0
        if overdue_s:
            text = f"the {self.what} took longer than {overdue_s:g} s"
            return {"type": TIME_LIMIT, "message": text}
        if ended.signal == signal.SIGXCPU or ended.cpu_seconds >= cpu_s:
            text = f"the {self.what} used more than {cpu_s} s of CPU time"
            return {"type": CPU_LIMIT, "message": text}
        if ended.signal == signal.SIGKILL:
            return {"type": MEMORY_LIMIT, "message": self.memory_message()}
        text = f"the {self.what} crashed the interpreter"
        return {"type": CRASHED, "message": f"{text} (signal {ended.signal}, code {ended.code})"}


class Work:
    """One child's work: its bounds, its body (which says JSON values), and who hears of them."""

    def __init__(
        self,
        bounds: Bounds,
        body: Callable[[Callable[[Any], None]], None],
        ended: Callable[[list[Any], ErrorInfo], None],
    ) -> None:
        self.bounds = bounds
        self.body = body
        self.ended = ended
        self.output = bytearray()
        self.waited_s = 0.0
        self.overdue_s = 0.0
        self.pid = 0
        self.timer = 0
        self.pipe = -1


class BoundedChildren:
    """The children of one process."""

    def __init__(self, nursery: Nursery, most: int) -> None:
        self._nursery = nursery
        self._most = most
        self._running: set[Work] = set()
        self._waiting: deque[Work] = deque()

    def kill_all(self) -> None:
        """Leave no child behind."""
        for work in self._running:
            self._nursery.kill(work.pid, signal.SIGKILL)

    def start(self, work: Work) -> None:
        """Start it, or let it wait for its turn."""
        if len(self._running) >= self._most:
            self._waiting.append(work)
            return
        read, write = os.pipe()
        os.set_blocking(read, False)
        try:
            work.pid = self._nursery.fork(
                lambda: _be_child(work, write),
                lambda ended: self._ended(work, ended),
                keep=(write,),
            )
        except OSError as error:
            os.close(read)
            self._start_later(work, error)
            return
        finally:
            os.close(write)
        work.waited_s = 0.0
        work.pipe = read
        self._running.add(work)
        self._nursery.watch(read, lambda: self._take(work))
        self._watch_time(work)

    def _start_later(self, work: Work, error: OSError) -> None:
        # The machine has no room for a process: no fault of the work's, and it may pass.
        work.waited_s += RETRY_S
        if work.waited_s < STARVED_S:
            self._nursery.after(RETRY_S, lambda: self.start(work))
        else:
            work.ended([], {"type": NO_PROCESS, "message": f"no process can be made: {error}"})

    def _overdue(self, work: Work) -> None:
        work.waited_s += work.bounds.wall_s
        if work.waited_s < STARVED_S and _wants_to_run(work.pid):
            # It isn't asleep: other processes have the cores. Its CPU time is what counts then.
            self._watch_time(work)
            return
        work.overdue_s = work.waited_s
        self._nursery.kill(work.pid, signal.SIGKILL)

    def _watch_time(self, work: Work) -> None:
        work.timer = self._nursery.after(work.bounds.wall_s, lambda: self._overdue(work))

    def _take(self, work: Work) -> None:
        try:
            while data := os.read(work.pipe, 64 * 1024):
                work.output += data
                if len(work.output) > _MAX_OUTPUT_BYTES:
                    self._nursery.kill(work.pid, signal.SIGKILL)
                    return
        except BlockingIOError:
            return
        # Closed, but not gone yet: there is nothing more to wait for here.
        self._nursery.unwatch(work.pipe)
        os.close(work.pipe)
        work.pipe = -1

    def _ended(self, work: Work, ended: Ended) -> None:
        self._nursery.cancel(work.timer)
        if work.pipe >= 0:
            self._take(work)  # what it wrote last
        if work.pipe >= 0:
            self._nursery.unwatch(work.pipe)
            os.close(work.pipe)
        self._running.remove(work)
        work.ended(_lines(work.output), work.bounds.blame(ended, work.overdue_s))
        while self._waiting and len(self._running) < self._most:
            self.start(self._waiting.popleft())


def _lines(output: bytearray) -> list[Any]:
    """Return the values that a child said, up to one that can't be read: it is trusted in nothing."""
    values = []
    for line in bytes(output).split(b"\n")[:-1]:
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return values


def _wants_to_run(pid: int) -> bool:
    """Whether a process is ready to run, rather than asleep."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"R"
    except (OSError, IndexError):
        return False


def _be_child(work: Work, pipe: int) -> int:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
    os.environ.clear()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    lockdown.lock_down(work.bounds.limits, network=Network.NONE)
    # What the interpreter itself says from here on, of a finaliser that failed, say, has a script's
    # own words in it.
    os.dup2(nowhere, sys.stderr.fileno())

    def say(value: Any) -> None:
        data = json.dumps(value).encode() + b"\n"
        while data:
            data = data[os.write(pipe, data) :]

    work.body(say)
    return 0
