"""Asking for an operation and waiting for its answer."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

from xaas_core.engine.facts import Request
from xaas_core.engine.states import OPERATIONS, OVER, Operation, RunState
from xaas_core.models.objects import Run
from xaas_core.ports import NotOver, OperationPending, Store

T = TypeVar("T")


class NotAllowed(Exception):
    """The run's state doesn't allow the operation; the text names both."""

    def __init__(self, text: str, state: RunState) -> None:
        super().__init__(text)
        self.state = state
        self.allowed = tuple(OPERATIONS[state])


class Undecided(Exception):
    """The operation wasn't decided in time; it still waits and may yet be."""


def check_over(state: RunState, waiting: Request | None) -> None:
    """Raises NotOver unless a run in `state` is over, and no operation of it waits."""
    if state not in OVER:
        raise NotOver(
            f"the run is {state}; cancel it first, or delete it with ?force=true, "
            "which undoes nothing"
        )
    if waiting is not None:
        raise NotOver(
            f"the run is {state}, and its operation {waiting.operation} isn't decided yet"
        )


async def operate(store: Store, uid: str, operation: Operation, patience: float) -> Run:
    """Ask for `operation` and wait, at most `patience` seconds, until it is decided.

    Raises NotFound, NotAllowed, and Undecided, also if another one waits for as long, or if so many
    were decided since that its answer isn't kept any more.
    """
    request = Request(str(uuid.uuid4()), operation)
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            await store.request(uid, request)
            break
        except OperationPending as error:
            # Operations are decided one after the other: wait for the one before.
            left = deadline - asyncio.get_running_loop().time()
            free = await wait_for(store, uid, lambda run: run.pending_request is None, left)
            if free is None:
                raise Undecided(f"{operation} isn't asked for: {error}") from None
    left = deadline - asyncio.get_running_loop().time()
    run = await wait_for(store, uid, lambda run: _answered(run, request.id), left)
    if run is None:
        raise Undecided(f"{operation} wasn't decided within {patience:g} s; it still waits")
    answer = run.status.reply_to(request.id)
    if answer is None:
        raise Undecided(
            f"{operation} was decided, but so many others since that it isn't known how"
        )
    if not answer.accepted:
        raise NotAllowed(answer.message, answer.state)
    return run


def _answered(run: Run, request: str) -> bool:
    # A later request means that this one was answered before.
    later = run.request is not None and run.request.id != request
    return later or run.status.reply_to(request) is not None


async def wait_for(
    store: Store, uid: str, wanted: Callable[[Run], bool], patience: float
) -> Run | None:
    """The run as soon as it is as `wanted`; None after `patience` seconds. Raises NotFound."""

    async def look() -> Run | None:
        run = await store.get_run(uid)
        return run if wanted(run) else None

    return await until(store, uid, look, patience)


async def until(
    store: Store, uid: str, look: Callable[[], Awaitable[T | None]], patience: float
) -> T | None:
    """What `look` finds, at once or after a write to the run; None after `patience` seconds."""
    touches = store.touches()  # subscribed before the look: nothing is missed in between
    try:
        async with asyncio.timeout(max(patience, 0)):
            while True:
                found = await look()
                if found is not None:
                    return found
                async for touch in touches:
                    if touch.run == uid:
                        break
    except TimeoutError:
        return None
    finally:
        close = getattr(touches, "aclose", None)
        if close is not None:
            await close()
