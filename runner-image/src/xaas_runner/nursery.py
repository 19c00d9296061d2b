"""Forks children from a process that has imported everything, and hears of their ends.

One thread, one selector: forking is safe because no other thread can hold a lock at that moment.
SIGCHLD arrives over a wakeup pipe, so an end is noticed as soon as it happens. Signals that end a
process are held back while a child is being set up, so that one sent right after the fork is
seen by the child's own handlers.

Used by `warm` (one child per step) and `evaluate` (one child per condition).
"""

import gc
import heapq
import itertools
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final, NamedTuple

HELD_BACK: Final = (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU)
"""Blocked in a new child until it unblocks them (`stopping.Stopper.install` does)."""


class Ended(NamedTuple):
    """How a child ended: exit code or signal, and the CPU time it used."""

    pid: int
    code: int | None
    signal: int | None
    cpu_seconds: float


class Nursery:
    """A process's event loop around its children."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, Callable[[Ended], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._cancelled: set[int] = set()
        self._numbers = itertools.count()
        self._running = True
        self._on_signal: dict[int, Callable[[], None]] = {signal.SIGCHLD: self._reap}
        self._wake, wakeup = socket.socketpair()
        self._wakeup = wakeup
        self._wake.setblocking(False)
        wakeup.setblocking(False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        self.watch(self._wake, self._take_signals)

    def watch(self, file: Any, ready: Callable[[], None]) -> None:
        """Call `ready` whenever `file` can be read."""
        self._selector.register(file, selectors.EVENT_READ, ready)

    def unwatch(self, file: Any) -> None:
        """Stop watching `file`."""
        self._selector.unregister(file)

    def on_signal(self, number: int, act: Callable[[], None]) -> None:
        """Call `act` from the loop when the signal comes."""
        self._on_signal[number] = act
        signal.signal(number, _noted)

    def after(self, seconds: float, act: Callable[[], None]) -> int:
        """Call `act` once, later; return a number for `cancel`."""
        number = next(self._numbers)
        heapq.heappush(self._timers, (time.monotonic() + seconds, number, act))
        return number

    def cancel(self, number: int) -> None:
        """Forget a timer. One that has gone off already is no error."""
        if any(timer[1] == number for timer in self._timers):
            self._cancelled.add(number)

    def fork(
        self, body: Callable[[], int], ended: Callable[[Ended], None], *, keep: Iterable[int] = ()
    ) -> int:
        """Fork a child that runs `body` and exits with its code; return its pid.

        In the child every file descriptor is closed but 0, 1, 2 and `keep`. `ended` is called
        here when it is over. OSError if the machine has no room for another process.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
        try:
            pid = os.fork()
            if pid == 0:
                _grow_up(body, keep)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_BACK)
        self._children[pid] = ended
        return pid

    def kill(self, pid: int, number: int) -> None:
        """Send a signal to a child's whole session; a child that is over is left alone."""
        if pid not in self._children:
            return
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)  # forked just now: no session yet; not reaped, so it is ours

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            for key, _ in self._selector.select(self._until_timer()):
                # One callback may have unwatched what another of the same round waits for.
                if self._selector.get_map().get(key.fd) is key:
                    key.data()
            self._run_timers()

    def stop(self) -> None:
        """Leave `run` after the current callback."""
        self._running = False

    def _until_timer(self) -> float | None:
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, number, act = heapq.heappop(self._timers)
            if number in self._cancelled:
                self._cancelled.remove(number)
            else:
                act()

    def _take_signals(self) -> None:
        numbers = set()
        try:
            while data := self._wake.recv(4096):
                numbers |= set(data)
        except BlockingIOError:
            pass
        # SIGCHLD always: if the pipe was full, its byte may be missing.
        for number in numbers | {signal.SIGCHLD}:
            self._on_signal[number]()

    def _reap(self) -> None:
        while self._children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            end = Ended(
                pid,
                code if code >= 0 else None,
                -code if code < 0 else None,
                usage.ru_utime + usage.ru_stime,
            )
            self._children.pop(pid)(end)


def settle() -> None:
    """Everything is imported: keep the collector from touching (and so copying) its pages."""
    gc.collect()
    gc.freeze()
    gc.enable()


def _noted(number: int, frame: FrameType | None) -> None:
    """Nothing to do: the wakeup pipe has it. A handler must exist for that."""


def _grow_up(body: Callable[[], int], keep: Iterable[int]) -> None:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *HELD_BACK):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        start = 3
        for fd in sorted(keep):
            os.closerange(start, fd)
            start = fd + 1
        os.closerange(start, os.sysconf("SC_OPEN_MAX"))
        code = body()
    except BaseException:  # noqa: BLE001 - nothing may get past os._exit
        sys.excepthook(*sys.exc_info())  # to stderr: a defect of ours
    finally:
        # Whatever happened: this process never returns into its parent's loop.
        os._exit(code)
