"""Answers that hold for a short time, so that not every request asks again."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The newest answers, at most `limit`, each for as many seconds as `lasts` says of it.

    `now` is a clock in seconds that never goes back. A question that is being asked isn't asked
    again meanwhile. Errors are passed on, and not remembered.
    """

    def __init__(self, limit: int, lasts: Callable[[V], float], now: Callable[[], float]) -> None:
        self._limit = limit
        self._lasts = lasts
        self._now = now
        self._known: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The answer for `key`: the one that is known, or what `ask` gives."""
        known = self._known.get(key)
        if known is not None and self._now() < known[0]:
            return known[1]
        asked = self._asked.get(key)
        if asked is None:
            # A task of its own: others may wait for the answer when the first one has gone.
            asked = asyncio.create_task(self._ask(key, ask))
            self._asked[key] = asked
            asked.add_done_callback(lambda task: self._answered(key, task))
        return await asyncio.shield(asked)

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        began = self._now()  # the answer may be as old as the question
        answer = await ask()
        self._known.pop(key, None)
        self._known[key] = (began + self._lasts(answer), answer)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
        return answer

    def _answered(self, key: K, task: "asyncio.Task[V]") -> None:
        del self._asked[key]
        if not task.cancelled():
            task.exception()  # seen, also if everybody who waited for it has gone
