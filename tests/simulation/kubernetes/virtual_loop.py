"""An event loop on a virtual clock, processes in it that can be killed, and chance that is keyed.

The code under test is asyncio's: tasks, events, timeouts. Here it runs in one thread, and time stands
still while anything can run; when nothing can, it jumps to the next timer. So hours pass in no time,
and a seed replays a play exactly.

A process (`Process`) is the tasks that were started by its first one, however deep. Killed, all of
them end where they are. Whatever they would do while they end (their `finally`s) must come to nothing
outside: that is their client's affair (`client`).
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

from xaas_core.testing.clock import EPOCH

MOST_TURNS = 400_000
"""Turns of the loop in one play; more means that something spins."""


class Stuck(AssertionError):
    """Nothing is left to come, or there is no end to what comes."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop, but for the time and for what it waits for: nothing outside."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self
        self._clock_resolution = 1e-6
        self.turns = 0
        self.most = MOST_TURNS
        self.set_task_factory(_in_its_process)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What asyncio calls to wait for the outside: only the time passes."""
        self.turns += 1
        if self.turns > self.most:
            raise Stuck("I7: there is no end to it")
        if timeout is None:
            raise Stuck("nothing is left to come, not even a look at whether the play is over")
        self._now += max(timeout, 0.0)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""


class LoopClock:
    """`ports.Clock` of a loop; `offset` milliseconds off."""

    def __init__(self, loop: VirtualLoop, offset: int = 0) -> None:
        self._loop = loop
        self._offset = offset

    def now(self) -> int:
        """Milliseconds since 1970."""
        return EPOCH + round(self._loop.time() * 1000) + self._offset


class Process:
    """A process. `killed` is called when it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.born = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> None:
        """Start a task of this process."""
        task = self.task(coroutine, name)
        assert not task.done()

    def task(self, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Start a task of this process; for those who wait for its end."""
        token = _PROCESS.set(self)
        try:
            return asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}/{name}")
        finally:
            _PROCESS.reset(token)

    def kill(self) -> None:
        """End all of its tasks where they are."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()

    def joined(self, task: "asyncio.Task[Any]") -> None:
        """A task of it has started."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        if not self.alive:
            task.cancel()


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process that runs."""
    return _PROCESS.get()


def _in_its_process(
    loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any
) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **more)
    process = _PROCESS.get()
    if process is not None:
        process.joined(task)
    return task


class Chance:
    """What a seed decides. Each decision is named by words, and drawn for these alone: what happens
    elsewhere, or in which order a set is walked through, changes nothing about it."""

    def __init__(self, seed: int | str) -> None:
        self._seed = str(seed)
        self._drawn: Counter[str] = Counter()

    def of(self, *words: str) -> float:
        """A number from 0 to below 1; another one each time."""
        name = "/".join(words)
        self._drawn[name] += 1
        text = f"{self._seed}|{name}|{self._drawn[name]}"
        number = hashlib.blake2b(text.encode(), digest_size=7).digest()
        return int.from_bytes(number, "big") / (1 << 56)

    def between(self, low: float, high: float, *words: str) -> float:
        """A number in these bounds."""
        return low + (high - low) * self.of(*words)

    def may(self, chance: float, *words: str) -> bool:
        """Whether something of this chance happens."""
        return chance > 0 and self.of(*words) < chance


def later(seconds: float, action: Callable[[], None], context: Context | None = None) -> None:
    """Do `action` in so many virtual seconds: outside of any process, or as `context` has it."""
    loop = asyncio.get_running_loop()
    loop.call_later(seconds, action, context=context or Context())
