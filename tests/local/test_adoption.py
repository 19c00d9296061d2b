"""A server that was killed, and the one that comes next: runners are taken over."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.local.conftest import RUN, Launching, Order, pid_in, runner_of
from tests.local.kit.gateway import Attempt, ToyGateway

from xaas_core.engine.facts import Phase
from xaas_core.engine.states import Side
from xaas_core.ports import RunnerKey
from xaas_local import process_watch
from xaas_local.data import DataDir
from xaas_local.launches import Launches, LaunchState

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with real processes

SERVER = """
import asyncio, sys
from pathlib import Path
from xaas_core.engine.plan import TaskPlan
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder
from xaas_local.data import DataDir
from xaas_local.launcher import ProcessLauncher

async def main(folder, gateway, run, steps):
    launcher = ProcessLauncher(DataDir.open(Path(folder)), gateway)
    await launcher.start_up()
    steps = tuple(range(int(steps)))
    task = TaskPlan("a", "task a")
    print("ready", flush=True)
    order = LaunchOrder(run, "default", "a", Side.DO, 1, 1, steps, task, "token-x")
    await launcher.start(order)
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""

RUNNER = RunnerKey(RUN, "a", Side.DO, 1, 1)


class Doomed:
    """A server of its own process, which starts one launch and is killed then."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        self.gateway = ToyGateway(folder / "toy.sock")
        self._process: subprocess.Popen[str] | None = None

    async def start(self, steps: int = 1, until: str = "started") -> None:
        """Start it and wait until it says so."""
        arguments = [str(self.folder), self.gateway.address, RUN, str(steps)]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond
            [sys.executable, "-c", SERVER, *arguments], stdout=subprocess.PIPE, text=True
        )
        stdout = self._process.stdout
        assert stdout is not None
        while (await asyncio.to_thread(stdout.readline)).strip() != until:
            assert self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a crash does it."""
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def step_pid(self) -> int:
        """The process in the only slot."""
        return pid_in(self.folder / "runners" / "0.lock")


@pytest.fixture
async def doomed(folder: Path) -> AsyncIterator[Doomed]:
    made = Doomed(folder)
    await made.gateway.open()
    yield made
    await made.gateway.close()


async def next_server(doomed: Doomed) -> tuple[DataDir, Launching]:
    data = DataDir.open(doomed.folder)
    launching = Launching(data, doomed.gateway)
    await launching.launcher.start_up()
    return data, launching


async def wait_for_death(pid: int) -> None:
    async with asyncio.timeout(20):
        while alive(pid):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        # A zombie is dead, whenever somebody cares to reap it.
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def finish(doomed: Doomed, steps: int = 1) -> tuple[Launching, Attempt]:
    """A next server sees the launch to its end, in order."""
    data, launching = await next_server(doomed)
    seen = await launching.until_ended(RUNNER)
    attempt = doomed.gateway.attempts["token-x"]
    assert (seen.phase, seen.message) == (Phase.OVER, "")
    assert sorted(attempt.finished) == list(range(steps))
    assert {path.name for path in data.runners.iterdir()} == {"journal", "0.lock"}
    assert not list(data.scratch.iterdir())
    await launching.launcher.close()
    data.close()
    return launching, attempt


@pytest.mark.parametrize("tells", [True, False])
async def test_a_step_that_runs_on_is_taken_over_and_the_next_follows(
    doomed: Doomed, monkeypatch: pytest.MonkeyPatch, tells: bool
) -> None:
    if not tells:  # a system without pidfds, as macOS
        monkeypatch.setattr(process_watch, "_pidfd", lambda pid: None)
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(0.7)", "pass")
    await doomed.start(steps=2)
    await doomed.gateway.until(lambda: attempt.begun)
    doomed.kill()
    assert alive(doomed.step_pid())
    await finish(doomed, steps=2)
    assert attempt.refused == []


async def test_a_step_that_ended_meanwhile_is_followed_by_the_next(doomed: Doomed) -> None:
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(0.2)", "pass")
    await doomed.start(steps=2)
    await doomed.gateway.until(lambda: attempt.begun)
    doomed.kill()
    await wait_for_death(doomed.step_pid())
    assert list(attempt.begun) == [0]
    await finish(doomed, steps=2)


async def test_a_step_delivers_once_the_gateway_is_back(doomed: Doomed) -> None:
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(0.1)")
    await doomed.start()
    await doomed.gateway.until(lambda: attempt.begun)
    doomed.kill()
    await doomed.gateway.close()
    data, launching = await next_server(doomed)
    assert (await launching.sight(RUNNER)).phase is Phase.LIVE
    assert not attempt.finished
    await doomed.gateway.open()
    assert (await launching.until_ended(RUNNER)).phase is Phase.OVER
    assert attempt.finished[0]["outcome"] == "succeeded"
    await launching.launcher.close()
    data.close()


async def test_a_step_that_died_meanwhile_is_over(doomed: Doomed) -> None:
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(600)", "pass")
    await doomed.start(steps=2)
    await doomed.gateway.until(lambda: attempt.begun)
    doomed.kill()
    os.kill(doomed.step_pid(), signal.SIGKILL)
    await wait_for_death(doomed.step_pid())
    data, launching = await next_server(doomed)
    seen = await launching.sight(RUNNER)
    assert (seen.phase, seen.message) == (Phase.OVER, "the process is gone")
    assert list(attempt.begun) == [0]
    await launching.launcher.close()
    data.close()


async def test_a_step_that_is_taken_over_can_be_ended(doomed: Doomed) -> None:
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(600)")
    await doomed.start()
    await doomed.gateway.until(lambda: attempt.begun)
    doomed.kill()
    data, launching = await next_server(doomed)
    await launching.launcher.end(RUNNER, 10_000)
    assert (await launching.until_ended(RUNNER)).phase is Phase.OVER
    assert attempt.finished[0]["terminated"] is True
    await launching.launcher.close()
    data.close()


async def test_a_launch_that_was_written_but_not_asked_for_is_started(
    folder: Path, order: Order
) -> None:
    doomed = Doomed(folder)
    await doomed.gateway.open()
    doomed.gateway.add("token-x", "pass", "pass")
    data = DataDir.open(doomed.folder)
    asked = order("x", steps=2)
    state = LaunchState(runner_of(asked), asked.steps, asked.token, 2**29, 60)
    launches = Launches(data)
    launches.open()
    launches.note(state)
    launches.close()
    data.close()
    await finish(doomed, steps=2)
    await doomed.gateway.close()


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.001, 0.003, 0.006, 0.01, 0.02, 0.04])
async def test_killed_at_any_moment_each_step_begins_once(doomed: Doomed, delay: float) -> None:
    attempt = doomed.gateway.add("token-x", "pass", "pass", "pass")
    await doomed.start(steps=3, until="started")
    await asyncio.sleep(delay)
    doomed.kill()
    await finish(doomed, steps=3)
    assert attempt.refused == []


async def test_close_leaves_runners_alone(doomed: Doomed, order: Order) -> None:
    attempt = doomed.gateway.add("token-x", "await asyncio.sleep(0.5)")
    data, launching = await next_server(doomed)
    await launching.launcher.start(order("x"))
    await doomed.gateway.until(lambda: attempt.begun)
    await launching.launcher.close()
    data.close()
    assert alive(doomed.step_pid())
    await finish(doomed)
