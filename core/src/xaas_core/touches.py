"""Tells everybody in this process that a run was touched."""

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakSet

from xaas_core.ports import Touch


class Subscription(AsyncIterator[Touch]):
    """Touches from the moment of subscribing on, each until it is read: equal ones are joined."""

    def __init__(self) -> None:
        self._waiting: dict[Touch, None] = {}
        self._news = asyncio.Event()
        self._closed = False

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Touch:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        touch = next(iter(self._waiting))
        del self._waiting[touch]
        return touch

    async def aclose(self) -> None:
        """End the iteration once what waits is read."""
        self.close()

    def close(self) -> None:
        """As `aclose`."""
        self._closed = True
        self._news.set()

    def add(self, touch: Touch) -> None:
        """Hand over one more touch."""
        if not self._closed:
            self._waiting[touch] = None
            self._news.set()


class Broadcast:
    """One sender, any number of subscriptions; one that nobody holds any more is forgotten."""

    def __init__(self) -> None:
        self._subscriptions: WeakSet[Subscription] = WeakSet()

    def subscribe(self) -> Subscription:
        """A subscription that misses nothing from now on."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def send(self, touch: Touch) -> None:
        """Hand `touch` to all. From the event loop only."""
        for subscription in list(self._subscriptions):
            subscription.add(touch)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in list(self._subscriptions):
            subscription.close()
