"""Logs that may be gone, as on Kubernetes: what is left is shown, and nothing left is a 410."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest
from tests.api.kit.client import problem
from tests.core.kit.bench import KeptLogs

from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.runs.logs import LogReader
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.engine.states import Reason, RunState, Side, TaskState
from xaas_core.models.objects import RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Evaluator, RunnerKey, Unavailable, Writes
from xaas_core.testing.builders import NAMESPACE, plan, run_spec, task_plan
from xaas_core.testing.clock import VirtualClock
from xaas_core.testing.memory_store import MemoryStore

pytestmark = pytest.mark.anyio

PLAN = plan(task_plan("a", steps=2))
PATIENCE = 10.0


def attempt(number: int, *finished: bool, over: bool = True) -> Attempt:
    """An attempt of which a step began for each of `finished`."""
    steps = tuple(
        StepRecord(index, 5, "nonce", finished_at=6 if done else None)
        for index, done in enumerate(finished)
    )
    return Attempt(number, 0, 5, (0, 1), steps=steps, ended_at=7 if over else None)


class Desk:
    """A run with one task run, and its logs."""

    def __init__(self) -> None:
        self.store = MemoryStore(VirtualClock())
        self.logs = KeptLogs()
        admission = Admission(self.store, cast(Evaluator, None))
        self.services = Services(self.store, admission, self.logs, NAMESPACE)
        self.run = ""

    async def write(self, *attempts: Attempt, state: TaskState) -> None:
        """The task run is in this state, after these attempts."""
        changes = [Change(state, 9, "a", Side.DO, 1, 2, Reason.NONE)]
        if not self.run:
            spec = run_spec("p")
            run = await self.store.create_run(NAMESPACE, spec, Target.PIPELINE, None, None)
            self.run = run.meta.uid
            changes.insert(0, Change(RunState.PROCESSING, 8, reason=Reason.REQUESTED))
        run = await self.store.get_run(self.run)
        known = await self.store.records(self.run)
        version = known["a", Side.DO].version if known else None
        records = [(TaskRecord("a", Side.DO, attempts=attempts), version)]
        status = RunStatus(Summary(RunState.PROCESSING), planned=True)
        made = None if known else PLAN
        await self.store.commit(Writes(run, made, records, status, changes))

    def place(self, number: int, step: int) -> tuple[RunnerKey, int]:
        return RunnerKey(self.run, "a", Side.DO, number, 1), step

    def reader(self) -> LogReader:
        return LogReader(self.services, self.run, "a", Side.DO)

    async def get(self, **query: str) -> httpx.Response:
        """What REST answers."""
        transport = httpx.ASGITransport(create_app(self.services, Access()))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            path = f"/pipelineruns/{self.run}/tasks/a/do/logs"
            return await http.get(path, params=query)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.mark.parametrize("follow", ["false", "true"])
class TestOver:
    async def test_all_of_it_is_gone(self, desk: Desk, follow: str) -> None:
        await desk.write(attempt(1, True, True), state=TaskState.SUCCEEDED)
        desk.logs.gone |= {desk.place(1, 0), desk.place(1, 1)}
        found = problem(await desk.get(follow=follow), 410, "log-gone")
        assert "attempt 1, step 0" in found["detail"]

    async def test_some_of_it_is_gone(self, desk: Desk, follow: str) -> None:
        await desk.write(attempt(1, True, True), attempt(2, True, True), state=TaskState.SUCCEEDED)
        desk.logs.gone |= {desk.place(1, 0), desk.place(1, 1), desk.place(2, 1)}
        desk.logs.texts[desk.place(2, 0)] = b"what is left\n"
        answer = await desk.get(follow=follow)
        assert answer.status_code == 200
        assert answer.text.splitlines() == [
            "[the log of attempt 1, step 0 is gone]",
            "[the log of attempt 1, step 1 is gone]",
            "what is left",
            "[the log of attempt 2, step 1 is gone]",
        ]

    async def test_nothing_was_written(self, desk: Desk, follow: str) -> None:
        await desk.write(attempt(1, True, True), state=TaskState.SUCCEEDED)
        answer = await desk.get(follow=follow)
        assert (answer.status_code, answer.text) == (200, "")

    async def test_one_step_of_many(self, desk: Desk, follow: str) -> None:
        await desk.write(attempt(1, True, True), state=TaskState.SUCCEEDED)
        desk.logs.gone.add(desk.place(1, 0))
        desk.logs.texts[desk.place(1, 1)] = b"one\n"
        problem(await desk.get(follow=follow, step="0"), 410, "log-gone")
        assert (await desk.get(follow=follow, step="1")).text == "one\n"


async def lines(content: AsyncIterator[bytes], until: bytes) -> bytes:
    """What comes, up to `until`."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        while until not in found:
            found += await anext(content)
    return found


class TestFollowed:
    async def test_an_earlier_attempt_is_gone(self, desk: Desk) -> None:
        """There will be more: no error, though nothing is there yet."""
        await desk.write(attempt(1, True), attempt(2, False, over=False), state=TaskState.RUNNING)
        desk.logs.gone.add(desk.place(1, 0))
        content = await desk.reader().open(follow=True)
        assert await lines(content, b"gone]\n") == b"[the log of attempt 1, step 0 is gone]\n"
        desk.logs.texts[desk.place(2, 0)] = b"now\n"
        assert await lines(content, b"now\n") == b"now\n"

    async def test_it_goes_while_it_is_read(self, desk: Desk) -> None:
        """What was read of it needs no line in its place."""
        await desk.write(attempt(1, True), state=TaskState.RUNNING)
        desk.logs.texts[desk.place(1, 0)] = b"first\n"
        content = await desk.reader().open(follow=True)
        assert await lines(content, b"first\n") == b"first\n"
        desk.logs.gone.add(desk.place(1, 0))
        await desk.write(attempt(1, True), attempt(2, True), state=TaskState.SUCCEEDED)
        desk.logs.texts[desk.place(2, 0)] = b"second\n"
        async with asyncio.timeout(PATIENCE):
            assert b"".join([chunk async for chunk in content]) == b"second\n"

    async def test_the_end_of_a_step_s_log_comes_late(self, desk: Desk) -> None:
        await desk.write(attempt(1, True, False, over=False), state=TaskState.RUNNING)
        content = await desk.reader().open(follow=True)
        desk.logs.texts[desk.place(1, 0)] = b"late\n"
        assert await lines(content, b"late\n") == b"late\n"

    async def test_the_end_of_the_last_log_comes_late(self, desk: Desk) -> None:
        desk.services.log_delay = 0.1
        await desk.write(attempt(1, True), state=TaskState.SUCCEEDED)
        content = await desk.reader().open(follow=True)
        desk.logs.texts[desk.place(1, 0)] = b"late\n"
        async with asyncio.timeout(PATIENCE):
            assert b"".join([chunk async for chunk in content]) == b"late\n"

    async def test_the_backend_is_away_for_a_while(self, desk: Desk) -> None:
        await desk.write(attempt(1, False, over=False), state=TaskState.RUNNING)
        content = await desk.reader().open(follow=True)
        away = Away(desk.logs)
        desk.services.logs = away
        desk.logs.texts[desk.place(1, 0)] = b"after\n"
        reading = asyncio.ensure_future(lines(content, b"after\n"))
        await away.until_asked(2)
        desk.services.logs = desk.logs
        assert await reading == b"after\n"

    async def test_the_backend_is_away_from_the_beginning(self, desk: Desk) -> None:
        await desk.write(attempt(1, False, over=False), state=TaskState.RUNNING)
        desk.services.logs = Away(desk.logs)
        problem(await desk.get(follow="true"), 503, "unavailable")


class Away:
    """Logs that can't be reached. Implements `xaas_core.ports.Logs`."""

    def __init__(self, logs: KeptLogs) -> None:
        self._logs = logs
        self._asked = 0
        self._news = asyncio.Event()

    async def until_asked(self, times: int) -> None:
        """Wait until somebody tried so often."""
        async with asyncio.timeout(PATIENCE):
            while self._asked < times:
                self._news.clear()
                await self._news.wait()

    async def read(
        self, runner: RunnerKey, step: int, offset: int, *, ended: bool = False
    ) -> AsyncIterator[bytes]:
        """See the port."""
        self._asked += 1
        self._news.set()
        raise Unavailable("the API server doesn't answer")
        yield b""
