"""Blocking work beside a script's event loop, one thread each.

Not asyncio's own executor: that has a handful of threads, and ten parallel long polls would wait
for one another. Threads are daemons: a process that is told to end doesn't wait for them.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

T = TypeVar("T")

_STACK_BYTES: Final = 1024 * 1024
"""Instead of 8 MiB, each of which counts against the step's memory limit."""


def start(work: Callable[[], object], name: str) -> threading.Thread:
    """Run `work` in a new thread and return it."""
    threading.stack_size(_STACK_BYTES)
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    return thread


async def in_thread(work: Callable[[], T], name: str) -> T:
    """Run `work` in a new thread; return its value or raise its error."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(set_value: Callable[[Any], None], value: object) -> None:
        if not future.done():
            set_value(value)

    def body() -> None:
        try:
            answer: tuple[Callable[[Any], None], object] = (future.set_result, work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            answer = (future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, *answer)

    start(body, name)
    result: T = await future
    return result
