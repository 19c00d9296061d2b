"""A queue of keys: coalescing, one worker per key at a time, with delays and back-off."""

import asyncio
import heapq
from collections.abc import Awaitable, Callable

Work = Callable[[str], Awaitable[float | None]]
"""Does what a key needs; answers in how many seconds to do it again, None for not by itself."""


class KeyedQueue:
    """Runs `work(key)` for every key that was added, at least once after its last `add`.

    A key that is added while it is worked on is worked on once more afterwards. A failure is
    reported to `failed` and the key is tried again with exponential back-off.
    """

    def __init__(
        self,
        work: Work,
        failed: Callable[[str, Exception], None],
        workers: int = 8,
        first_delay: float = 0.05,
        longest_delay: float = 10.0,
    ) -> None:
        self._work = work
        self._failed = failed
        self._workers = workers
        self._first_delay = first_delay
        self._longest_delay = longest_delay
        self._ready: dict[str, None] = {}
        self._idle: dict[str, None] = {}  # to be looked at when nothing is ready
        self._active: set[str] = set()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready) + len(self._idle)

    def add(self, key: str) -> None:
        """Work on `key` as soon as possible."""
        self._idle.pop(key, None)
        self._ready[key] = None
        self._changed.set()

    def add_idly(self, key: str) -> None:
        """Work on `key` when there is nothing else to work on."""
        if key not in self._ready:
            self._idle[key] = None
            self._changed.set()

    def add_after(self, key: str, seconds: float) -> None:
        """Work on `key` in `seconds`, or earlier if it is added before."""
        due = asyncio.get_running_loop().time() + max(seconds, 0)
        if self._due.get(key, due + 1) > due:
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.set()

    async def run(self) -> None:
        """Work for ever; cancel it to stop."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                timeout = self._promote()
                while len(self._active) < self._workers and (key := self._take()) is not None:
                    self._active.add(key)
                    group.create_task(self._do(key))
                try:
                    async with asyncio.timeout(timeout):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    def _take(self) -> str | None:
        """The next key to work on: taken out, and not worked on already; None if there is none."""
        for waiting in (self._ready, self._idle):
            key = next((each for each in waiting if each not in self._active), None)
            if key is not None:
                del waiting[key]
                return key
        return None

    def _promote(self) -> float | None:
        """Make due keys ready; the answer is the time until the next one is due."""
        now = asyncio.get_running_loop().time()
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # overtaken by an earlier or a later time
            elif due <= now:
                heapq.heappop(self._heap)
                del self._due[key]
                self.add(key)
            else:
                return due - now
        return None

    async def _do(self, key: str) -> None:
        self._due.pop(key, None)
        try:
            again = await self._work(key)
            self._failures.pop(key, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, other keys go on
            self._failed(key, error)
            count = self._failures.get(key, 0)
            self._failures[key] = count + 1
            again = min(self._first_delay * 2 ** min(count, 20), self._longest_delay)
        finally:
            self._active.discard(key)
            self._changed.set()
        if again is not None:
            self.add_after(key, again)
