"""What the tests of the embedded backend share: real files, real processes, a toy gateway."""

import asyncio
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.local.kit.gateway import ToyGateway

from xaas_core.engine.facts import Phase, Sighting
from xaas_core.engine.plan import Step, TaskPlan
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder, RunnerKey
from xaas_local.data import DataDir
from xaas_local.launcher import ProcessLauncher
from xaas_local.logs import log_path

RUN = "8b3c5f0e-0d8a-4c58-9a3c-0a5a4e1d7f10"


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the server runs on; tests/contracts has asyncio's own."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket's is bounded, and pytest's own are long."""
    with TemporaryDirectory(prefix="xaas-") as path:
        yield Path(path)


@pytest.fixture
def data(folder: Path) -> Iterator[DataDir]:
    """A data directory. What was left running in it is killed at the end."""
    data = DataDir.open(folder / "data")
    yield data
    data.close()
    for path in data.runners.glob("*.lock"):
        with path.open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # so its pid is still its own
                os.killpg(pid_in(path), signal.SIGKILL)


@pytest.fixture
async def gateway(data: DataDir) -> AsyncIterator[ToyGateway]:
    """A gateway that is open."""
    gateway = ToyGateway(data.gateway_socket)
    await gateway.open()
    yield gateway
    await gateway.close()


class Launching:
    """A launcher that is started up, and how to wait for what it sees."""

    def __init__(self, data: DataDir, gateway: ToyGateway, **settings: Any) -> None:
        self.launcher = ProcessLauncher(data, gateway.address, **settings)
        self.heard: list[str] = []
        self.data = data
        self.launcher.subscribe(self._hear)
        self._changed = asyncio.Event()

    def _hear(self, run: str) -> None:
        self.heard.append(run)
        self._changed.set()

    async def sight(self, runner: RunnerKey) -> Sighting:
        """One runner's sighting."""
        seen = await self.launcher.sight(runner.run, [runner])
        return seen[runner.ref, runner.side]

    async def until_printed(self, runner: RunnerKey) -> None:
        """Wait until its step 0 has printed anything: the script runs."""
        path = log_path(self.data, runner, 0)
        await self.until(lambda: path.exists() and path.stat().st_size > 0)

    def step_pid(self, slot: int = 0) -> int:
        """The process in a slot."""
        return pid_in(self.data.runners / f"{slot}.lock")

    async def until(self, wanted: Callable[[], object]) -> None:
        """Wait for what nobody tells."""
        async with asyncio.timeout(20):
            while not wanted():  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.01)

    async def until_ended(self, runner: RunnerKey) -> Sighting:
        """Its sighting once it doesn't live any more; only what `changed` tells is looked at."""
        async with asyncio.timeout(20):
            while (seen := await self.sight(runner)).phase is Phase.LIVE:
                self._changed.clear()
                await self._changed.wait()
        return seen


@pytest.fixture
async def launching(data: DataDir, gateway: ToyGateway) -> AsyncIterator[Launching]:
    """A launcher."""
    made = Launching(data, gateway, environment={})
    await made.launcher.start_up()
    yield made
    await made.launcher.close()


Order = Callable[..., LaunchOrder]


@pytest.fixture
def order() -> Order:
    """Makes an order; `further` are fields of its TaskPlan."""

    def make(token: str, steps: int = 1, attempt: int = 1, launch: int = 1, **further: Any) -> Any:
        scripts = tuple(Step("") for _ in range(steps))
        task = TaskPlan(ref="a", task="task a", steps=scripts, **further)
        numbers = tuple(range(steps))
        return LaunchOrder(
            RUN, "default", "a", Side.DO, attempt, launch, numbers, task, f"token-{token}".lower()
        )

    return make


def pid_in(lock: Path) -> int:
    """The process that signed a lock file."""
    return int(lock.read_text().split()[1])


def runner_of(order: LaunchOrder) -> RunnerKey:
    """The runner that an order starts."""
    return RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch)
