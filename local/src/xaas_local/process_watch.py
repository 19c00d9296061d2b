"""Hears of the end of a process that isn't this one's child."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

POLL: Final = 0.25
"""Seconds between looks where the system can't tell (no pidfd: macOS, old Linux)."""


class ProcessWatch:
    """Calls `look` once: when the process `pid` is gone or, if that can't be heard, soon."""

    def __init__(self, pid: int | None, look: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._fd = _pidfd(pid)
        self._timer: asyncio.TimerHandle | None = None
        if self._fd is None:
            self._timer = self._loop.call_later(POLL, look)
        else:
            self._loop.add_reader(self._fd, self._gone)

    def stop(self) -> None:
        """Don't call."""
        if self._timer is not None:
            self._timer.cancel()
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None

    def _gone(self) -> None:
        self.stop()
        self._look()


def _pidfd(pid: int | None) -> int | None:
    if pid is None or not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
