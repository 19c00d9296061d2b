"""Stopping a script from outside: SIGTERM, its time, its CPU time.

Three ways lead here: SIGTERM (somebody wants the step to end), SIGALRM (the attempt's timeout is
used up) and SIGXCPU (the CPU limit is). The script is first asked: `Stopped` is raised inside it,
or its asyncio task is cancelled, so that `finally` blocks run. A script that swallows this is cut
off RESPITE_S later: the signal handler itself calls `cut_off`, which reports and ends the
process, whatever the script is doing. Only a script stuck inside one long C call hears no signal;
that one is killed from outside.

A script that has been asked counts as stopped however it ends then. One that has ended before is
left alone: its result is delivered.

Code of the script's runs under `Stopper.oversee` only. Outside of it nothing is let go that it has
made, as that may run a generator's `finally`: see `_kept`.
"""

import signal
from collections.abc import Callable
from enum import Enum, StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

_kept: Final[list[object]] = []
"""What oversight was about, and errors with their frames: until the process ends (by `os._exit`)."""

RESPITE_S: Final = 1.0
"""How long a script may take to end once it was asked: below any sensible grace period."""


class Cause(StrEnum):
    """Why a script was stopped: the error's type as the user sees it."""

    TERMINATED = "Terminated"  # SIGTERM
    TIMEOUT = "Timeout"  # the attempt's timeout
    CPU = "CpuLimit"  # the task's CPU-time limit


MESSAGES: Final = {
    Cause.TERMINATED: "the step was stopped from outside (SIGTERM)",
    Cause.TIMEOUT: "the step took longer than its timeout",
    Cause.CPU: "the step used up its CPU-time limit",
}


class Stopped(BaseException):
    """Raised inside a script that must stop."""


class Left(BaseException):
    """Raised while waiting for the turn: nothing has begun, so the process just ends."""


class Phase(Enum):
    """Where the step is."""

    WAITING = 1  # nothing begun: a stop ends the process
    BEGINNING = 2  # begin is on its way: a stop is noted
    RUNNING = 3  # the script runs: a stop is carried out
    OVER = 4  # the script has ended, none of its code runs: nothing stops the delivery


class Stopper:
    """Holds the signals of one step. `install` from the main thread, before anything begins."""

    def __init__(self) -> None:
        self.phase = Phase.WAITING
        self.cause: Cause | None = None
        self._cut_off: Callable[[Cause], None] | None = None
        self._task: asyncio.Task[Any] | None = None

    def install(self) -> None:
        """Take over SIGTERM, SIGALRM and SIGXCPU; ignore what a terminal or a pipe sends."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.signal(signal.SIGXCPU, self._on_cpu)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU))

    def oversee(
        self,
        act: Callable[[], None],
        budget_s: float | None,
        cut_off: Callable[[Cause], None],
    ) -> tuple[BaseException | None, Cause | None]:
        """Run code of the script's, for `budget_s` at most; not at all if a stop has come since begin
        was asked. Return what it raised, and why it was stopped (None: it ended by itself).

        `cut_off` is called where it doesn't end when asked to, and ends the process.
        """
        _kept.append(act)
        raised = None
        try:
            try:
                self._begin(budget_s, cut_off)
                act()
            except BaseException as error:  # noqa: BLE001 - whatever it raises, it has failed
                raised = error
                _kept.append(error)
            cause = self.end()
        except Stopped:  # it had ended just then
            cause = self.end()
        return raised, cause

    def _begin(self, budget_s: float | None, cut_off: Callable[[Cause], None]) -> None:
        self._cut_off = cut_off
        self.phase = Phase.RUNNING
        if self.cause is not None:
            raise Stopped
        if budget_s is not None:
            # 0 would switch the timer off.
            signal.setitimer(signal.ITIMER_REAL, max(budget_s, 0.001))

    def watch(self, task: "asyncio.Task[Any]") -> None:
        """From now on the script is this task."""
        self._task = task

    def end(self) -> Cause | None:
        """The script has ended. Return why it was stopped, or None: it ended by itself."""
        self.phase = Phase.OVER
        signal.setitimer(signal.ITIMER_REAL, 0)
        return self.cause

    def _on_term(self, number: int, frame: FrameType | None) -> None:
        if self.phase is Phase.WAITING:
            raise Left
        self._stop(Cause.TERMINATED)

    def _on_cpu(self, number: int, frame: FrameType | None) -> None:
        self._stop(Cause.CPU)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        if self.phase is Phase.RUNNING and self.cause is not None and self._cut_off is not None:
            self.phase = Phase.OVER
            self._cut_off(self.cause)
        self._stop(Cause.TIMEOUT)

    def _stop(self, cause: Cause) -> None:
        if self.cause is not None:
            return
        self.cause = cause
        if self.phase is not Phase.RUNNING:
            return
        signal.setitimer(signal.ITIMER_REAL, RESPITE_S)
        if self._task is None or self._task.done():
            raise Stopped
        # From a signal handler: the loop may be anywhere, only this call is safe.
        self._task.get_loop().call_soon_threadsafe(self._task.cancel)
