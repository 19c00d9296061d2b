"""The log of a task run: all steps of all attempts, in order, and what comes while it runs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from xaas_api.services import Services
from xaas_core.engine.history import History
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import AT_REST, ENDED, Side, TaskState
from xaas_core.models.objects import Run
from xaas_core.ports import NotFound, RunnerKey

POLL: Final = 0.2
"""Seconds between looks at a log that is followed: files don't tell when they grow."""


@dataclass
class LogReader:
    """Reads on where it stopped. `step` None reads all steps."""

    services: Services
    run: str
    ref: str
    side: Side
    step: int | None = None
    _offsets: dict[tuple[RunnerKey, int], int] = field(default_factory=dict)

    async def read(self, record: TaskRecord) -> AsyncIterator[bytes]:
        """What is there now and wasn't read yet."""
        for attempt in record.attempts:
            runner = RunnerKey(self.run, self.ref, self.side, attempt.number, attempt.launch)
            for begun in attempt.steps:
                if self.step is not None and begun.index != self.step:
                    continue
                place = (runner, begun.index)
                offset = self._offsets.get(place, 0)
                async for chunk in self.services.logs.read(runner, begun.index, offset):
                    self._offsets[place] = self._offsets.get(place, 0) + len(chunk)
                    yield chunk
                if begun.finished_at is None and not attempt.over:
                    return  # a later step's lines come after this one's

    async def follow(self) -> AsyncIterator[bytes]:
        """What is there and what comes, until the task run is over or the server stops."""
        while True:
            try:
                # The state is read before the log: what was written before the end is then there.
                run = await self.services.store.get_run(self.run)
                record = await self.record()
                ended = await self._ended(run)
            except NotFound:
                return
            async for chunk in self.read(record):
                yield chunk
            if ended or self.services.stopping.is_set():
                return
            try:
                async with asyncio.timeout(POLL):
                    await self.services.stopping.wait()
            except TimeoutError:
                pass

    async def record(self) -> TaskRecord:
        """The task run's record; an empty one if it has none yet."""
        records = await self.services.store.records(self.run, [self.ref])
        stored = records.get((self.ref, self.side))
        return TaskRecord(self.ref, self.side) if stored is None else stored.value

    async def _ended(self, run: Run) -> bool:
        """Whether nothing more will be written, unless somebody asks for it."""
        plan = await self.services.store.plan(self.run)
        if plan is None:
            return False
        history = History(plan.graph, run.history)
        state = history.cell(self.ref, self.side).state
        return state in ENDED or (history.state in AT_REST and state is not TaskState.RUNNING)
