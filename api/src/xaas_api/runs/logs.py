"""The log of a task run: all steps of all attempts, in order, and what comes while it runs.

On Kubernetes a log goes with its pod. If nothing else is left the answer is `LogGone`; what is left
is shown, with a line in the place of each step's log that isn't.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from xaas_api.services import Services
from xaas_core.engine.history import History
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import AT_REST, ENDED, Side, TaskState
from xaas_core.models.objects import Run
from xaas_core.ports import LogGone, NotFound, RunnerKey, Unavailable

QUIET: Final = 2
"""Looks without anything new after which the log of a finished step is read no more. One isn't
enough: what a container wrote can be read a moment later than its step's end."""

Place = tuple[RunnerKey, int]
"""The log of one step of one runner."""


@dataclass
class LogReader:
    """Reads on where it stopped. `step` None reads all steps."""

    services: Services
    run: str
    ref: str
    side: Side
    step: int | None = None
    _offsets: dict[Place, int] = field(default_factory=dict)
    _looks: dict[Place, int] = field(default_factory=dict)
    _gone: dict[Place, LogGone] = field(default_factory=dict)

    async def open(self, *, follow: bool) -> AsyncIterator[bytes]:
        """The log, or with `follow` also what comes. Raises LogGone if nothing is left of it."""
        content = self.follow() if follow else self.read(await self.record())
        # Once an answer has begun there is no way to say that it should have been an error.
        first = await anext(content, b"")
        return _joined(first, content)

    async def read(self, record: TaskRecord, *, more: bool = False) -> AsyncIterator[bytes]:
        """What is there now and wasn't read yet. Raises LogGone if nothing is left of the log.

        It isn't raised if `more` may come.
        """
        missing: list[Place] = []  # not told yet: perhaps there is nothing else
        async for place, chunk in self._chunks(record):
            if chunk is None:
                missing.append(place)
                continue
            for gone in missing:
                yield _line(gone)
            missing.clear()
            yield chunk
        if missing and not self._offsets and not more:
            raise self._gone[missing[0]]
        for gone in missing:
            yield _line(gone)

    async def _chunks(self, record: TaskRecord) -> AsyncIterator[tuple[Place, bytes | None]]:
        """What wasn't read yet, in order; None for a log that is found gone."""
        for attempt in record.attempts:
            runner = RunnerKey(self.run, self.ref, self.side, attempt.number, attempt.launch)
            for begun in attempt.steps:
                if self.step is not None and begun.index != self.step:
                    continue
                place, over = (runner, begun.index), begun.finished_at is not None or attempt.over
                async for chunk in self._rest(place, over=over):
                    yield place, chunk
                if not over:
                    return  # a later step's lines come after this one's

    async def _rest(self, place: Place, *, over: bool) -> AsyncIterator[bytes | None]:
        """What wasn't read yet of one log; None if it is gone before anything of it was read."""
        if place in self._gone or self._looks.get(place, 0) >= QUIET:
            return
        (runner, step), before = place, self._offsets.get(place, 0)
        try:
            async for chunk in self.services.logs.read(runner, step, before, ended=over):
                self._offsets[place] = self._offsets.get(place, 0) + len(chunk)
                yield chunk
        except LogGone as error:
            self._gone[place] = error
            if not before:
                yield None
        quiet = over and self._offsets.get(place, 0) == before
        self._looks[place] = self._looks.get(place, 0) + 1 if quiet else 0

    async def follow(self) -> AsyncIterator[bytes]:
        """What is there and what comes, until the task run is over or the server stops.

        An empty chunk says that all that was there is read. Raises LogGone as `read` does, and
        Unavailable if the backend is away at the beginning; later its return is waited for.
        """
        begun = settled = False
        delay = self.services.log_delay
        while True:
            try:
                # The state is read before the log: what was written before the end is then there.
                run = await self.services.store.get_run(self.run)
                record = await self.record()
                ended = await self._ended(run)
                async for chunk in self.read(record, more=not ended):
                    yield chunk
            except NotFound:
                return
            except Unavailable:
                if not begun:
                    raise
                ended = False
            begun = True
            yield b""
            if self.services.stopping.is_set() or (ended and (settled or not delay)):
                return
            settled = ended  # what was written last may come late: one more look
            with suppress(TimeoutError):
                async with asyncio.timeout(delay if ended else self.services.log_poll):
                    await self.services.stopping.wait()

    async def record(self) -> TaskRecord:
        """The task run's record; an empty one if it has none yet."""
        key = (self.ref, self.side)
        stored = (await self.services.store.records(self.run, [key])).get(key)
        return TaskRecord(self.ref, self.side) if stored is None else stored.value

    async def _ended(self, run: Run) -> bool:
        """Whether nothing more will be written, unless somebody asks for it."""
        plan = await self.services.store.plan(self.run)
        if plan is None:
            return False
        history = History(plan.graph, run.history)
        state = history.cell(self.ref, self.side).state
        return state in ENDED or (history.state in AT_REST and state is not TaskState.RUNNING)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        if chunk:
            yield chunk


def _line(place: Place) -> bytes:
    """What stands where a log was."""
    runner, step = place
    return f"[the log of attempt {runner.attempt}, step {step} is gone]\n".encode()
