"""Requests that wait for something to come: so long, and no longer than the server is there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

LAST: Final = 0.2
"""Seconds that one who asks after the end is held for: asked again at once it is no other server yet."""


class LongPolls:
    """The waits of one server. At its end they are over at once, and who waits asks another one."""

    def __init__(self) -> None:
        self._waits: set[asyncio.Timeout] = set()
        self._over = False

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """What is waited for inside of it has `seconds`, or less. Raises TimeoutError."""
        seconds = max(min(seconds, LAST) if self._over else seconds, 0)
        async with asyncio.timeout(seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end(self) -> None:
        """All waits are over now, and those to come after a moment."""
        self._over = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)
