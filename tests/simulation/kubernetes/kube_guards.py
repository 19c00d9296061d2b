"""What a play looks out for: rules that are broken where nobody would hear of it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.kubernetes.containers import KubeJob
from tests.simulation.kubernetes.judge import Judge
from tests.simulation.kubernetes.virtual_loop import current_process
from tests.simulation.witness import Witness

from xaas_core.testing.scripted import Watcher


class World(Protocol):
    """The world, as far as it is told."""

    witness: Witness
    judge: Judge

    def fail(self, error: BaseException) -> None:
        """A rule is broken."""


class Guarded(Watcher):
    """The witness, for the runners: what it raises ends the play and not the runner."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "erased":
            return object.__getattribute__(self, name)
        world: World = object.__getattribute__(self, "_world")
        tell = getattr(world.witness, name)

        def told(*args: Any) -> None:
            try:
                tell(*args)
            except BaseException as error:  # noqa: BLE001 - see above
                world.fail(error)

        return told

    def erased(self, job: KubeJob) -> None:
        """A Job was deleted by hand."""
        self._world.judge.hand.add(job.key)


class Defects(logging.Handler):
    """What our code logs as an error should never happen."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler."""
        error = record.exc_info[1] if record.exc_info else None
        self._fail(error or AssertionError(record.getMessage()))


def settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def who() -> str:
    process = current_process()
    return process.name if process is not None else "-"
