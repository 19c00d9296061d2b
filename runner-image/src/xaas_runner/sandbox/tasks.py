"""`asyncio` for scripts: the parts that work on coroutines, none that shows the event loop.

The functions take fewer arguments than the real ones. Delays are turned into plain numbers, because
the loop would compute with an object of the script; there is no `context` argument, because the
loop would call its `run` with its own functions.
"""

import asyncio
from collections.abc import Callable, Iterable
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


async def wait_for(fut: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - as the real one
    return await asyncio.wait_for(fut, _delay(timeout))


class Timeout(asyncio.Timeout):  # type: ignore[misc]  # final, but for type checkers only
    """A timeout whose deadline is a plain number."""

    def reschedule(self, when: Any) -> None:
        super().reschedule(_delay(when))


def timeout(delay: Any) -> Timeout:
    seconds = _delay(delay)
    return Timeout(None if seconds is None else asyncio.get_running_loop().time() + seconds)


async def wait(
    fs: Iterable[Any],
    *,
    timeout: Any = None,  # noqa: ASYNC109 - as the real one
    return_when: str = asyncio.ALL_COMPLETED,
) -> Any:
    return await asyncio.wait(list(fs), timeout=_delay(timeout), return_when=return_when)


def as_completed(fs: Iterable[Any], *, timeout: Any = None) -> Any:
    return asyncio.as_completed(list(fs), timeout=_delay(timeout))


class TaskGroup(asyncio.TaskGroup):
    """A task group without `context`."""

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        if context is not None:
            raise TypeError("create_task takes no context here")
        return super().create_task(_coroutine(coro), name=_name(name))


def _add_done_callback(future: Any) -> Callable[[Any], None]:
    """`add_done_callback` of a task or a future, without `context`.

    There is no `remove_done_callback`: it would compare the script's function with the loop's own.
    """

    def add_done_callback(fn: Any, /, *, context: Any = None) -> None:
        if context is not None:
            raise TypeError("add_done_callback takes no context here")
        if not callable(fn):
            raise TypeError(f"a function is required, not {type(fn).__name__!r}")
        future.add_done_callback(fn)

    return add_done_callback


def members() -> dict[str, Any]:
    """The members that stand in for those of `asyncio`."""
    from xaas_runner.sandbox.tables import SUBSTITUTES, register

    gathering = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]  # noqa: SLF001
    for kind in (asyncio.Task, asyncio.Future, gathering):
        SUBSTITUTES[kind] = {"add_done_callback": _add_done_callback}
    register(TaskGroup, "create_task")
    register(Timeout, "expired reschedule when")
    ours = (sleep, create_task, gather, wait_for, timeout, wait, as_completed, TaskGroup)
    return {member.__name__: member for member in ours}
