"""`asyncio` for scripts: the parts that work on coroutines, none that shows the event loop.

The functions take fewer arguments than the real ones. Delays are turned into plain numbers, because
the loop would compute with an object of the script; there is no `context` argument, because the
loop would call its `run` with its own functions.
"""

import asyncio
from collections.abc import Iterable
from typing import Any


def _delay(value: Any) -> float | None:
    return None if value is None else float(value)


def _name(value: Any) -> str | None:
    return None if value is None else str(value)


def _coroutine(awaitable: Any) -> Any:
    """What a task can be made of: our own awaitables (a response on its way) are no coroutines."""
    if asyncio.iscoroutine(awaitable) or asyncio.isfuture(awaitable):
        return awaitable
    return _awaited(awaitable) if hasattr(type(awaitable), "__await__") else awaitable


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def sleep(delay: Any, result: Any = None) -> Any:
    return await asyncio.sleep(float(delay), result)


def create_task(coro: Any, *, name: Any = None) -> Any:
    return asyncio.create_task(_coroutine(coro), name=_name(name))


def gather(*awaitables: Any, return_exceptions: bool = False) -> Any:
    return asyncio.gather(*awaitables, return_exceptions=bool(return_exceptions))


async def wait_for(awaitable: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - as the real one
    return await asyncio.wait_for(awaitable, _delay(timeout))


class Timeout(asyncio.Timeout):  # type: ignore[misc]  # final, but for type checkers only
    """A timeout whose deadline is a plain number."""

    def reschedule(self, when: Any) -> None:
        super().reschedule(_delay(when))


def timeout(delay: Any) -> Timeout:
    seconds = _delay(delay)
    return Timeout(None if seconds is None else asyncio.get_running_loop().time() + seconds)


async def wait(
    tasks: Iterable[Any],
    *,
    timeout: Any = None,  # noqa: ASYNC109 - as the real one
    return_when: str = asyncio.ALL_COMPLETED,
) -> Any:
    return await asyncio.wait(list(tasks), timeout=_delay(timeout), return_when=return_when)


def as_completed(awaitables: Iterable[Any], *, timeout: Any = None) -> Any:
    return asyncio.as_completed(list(awaitables), timeout=_delay(timeout))


class TaskGroup(asyncio.TaskGroup):
    """A task group without `context`."""

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        if context is not None:
            raise TypeError("create_task takes no context here")
        return super().create_task(_coroutine(coro), name=_name(name))


def members() -> dict[str, Any]:
    """The members that stand in for those of `asyncio`."""
    from xaas_runner.sandbox.tables import register

    register(TaskGroup, "create_task")
    register(Timeout, "expired reschedule when")
    ours = (sleep, create_task, gather, wait_for, timeout, wait, as_completed, TaskGroup)
    return {member.__name__: member for member in ours}
