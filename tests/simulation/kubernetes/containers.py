"""A step's process in its container: what `xaas_runner.step` does, on the virtual clock.

It begins, or waits for its turn; plays its script for a virtual time; offers the outcome until the
gateway has answered. What a script does is an `Act`, chosen by the playbook when it starts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from tests.simulation.kubernetes.virtual_loop import Chance, Process

from xaas_core.gateway import Gateway
from xaas_core.testing.scripted import Act, GatewayAway, Job, Stance, Watcher
from xaas_core.testing.scripted import Process as StepProcess
from xaas_runner.contract import BeginAnswer, BeginCall, FinishCall

PATIENCE = 20.0
LEFT = 143
KILLED = 137


@dataclass(eq=False)
class KubeJob(Job):
    """A Job as it is in truth: `pods_to_come`, and whether containers of it may yet start."""

    uid: str = ""
    waiting: set[str] = field(default_factory=set)  # uids of pods whose containers may yet start

    @property
    def live(self) -> bool:
        """Whether a process of it is there, or may come yet."""
        alive = any(process.alive for process in self.processes)
        return alive or self.pods_to_come > 0 or bool(self.waiting)


@dataclass(eq=False)
class Container(StepProcess):
    """The process of one container. `exit_code` when it has ended."""

    ended: bool = False
    exit_code: int = 0
    reason: str = ""

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return not self.ended


class Surroundings(Protocol):
    """What a container's process needs of the world."""

    chance: Chance
    watcher: Watcher

    def connect(self, call: Callable[[Gateway], Awaitable[Any]], who: str) -> Awaitable[Any]:
        """Call any gateway. Raises GatewayAway."""

    def act(self, container: Container, step: int) -> Act:
        """What the script does."""


class ContainerRun:
    """Runs the process of one container; `over` is called at its end."""

    def __init__(
        self, around: Surroundings, container: Container, over: Callable[[Container], None]
    ) -> None:
        self._around = around
        self.container = container
        self._over = over
        self._process = Process(container.nonce)
        self._script: asyncio.Future[str] | None = None  # why it was stopped; empty: it has ended
        self._process.spawn(self._main(), "step")

    # --- what befalls it ---

    def terminate(self) -> None:
        """SIGTERM."""
        process = self.container
        if process.ended or process.stance is Stance.OVER:
            return
        if process.stance is Stance.WAITING:
            self.kill(LEFT, "")
            return
        process.stopped = True
        if self._script is not None and not (process.act and process.act.hangs):
            respite = self._around.chance.between(0.0, 1.0, process.nonce, "respite")
            script = self._script
            asyncio.get_running_loop().call_later(respite, _end, script, "Terminated")

    def kill(self, code: int = KILLED, reason: str = "Error") -> None:
        """SIGKILL."""
        if not self.container.ended:
            self._process.kill()
            self._ended(code, reason)

    # --- within ---

    def _ended(self, code: int, reason: str) -> None:
        container = self.container
        container.ended, container.exit_code, container.reason = True, code, reason
        container.playing = None
        self._over(container)

    async def _main(self) -> None:
        try:
            code = await self._step(self.container.steps[0])
        except asyncio.CancelledError:
            return
        if not self.container.ended:
            self._ended(code, "Completed" if code == 0 else "Error")

    async def _step(self, step: int) -> int:
        process, key = self.container, self.container.job.key
        begin: BeginCall = {"step": step, "nonce": process.nonce, "runner": process.nonce}
        while True:
            process.stance = Stance.BEGINNING
            answer = await self._ask(lambda gateway: gateway.begin(key, begin))
            if answer["answer"] == "go":
                break
            if answer["answer"] == "leave":
                return 0
            process.stance = Stance.WAITING
            if process.stopped:
                return LEFT
            answer = await self._wait(step)
            if answer == "leave":
                return 0
        call = await self._play(step, cast(BeginAnswer, answer))
        process.stance = Stance.OVER
        self._around.watcher.script_ended(process, call)
        process.playing = None
        reply = await self._ask(lambda gateway: gateway.finish(key, call))
        self._around.watcher.delivered(process, call, reply)
        return 0

    async def _wait(self, step: int) -> str:
        key = self.container.job.key
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            answer = await self._ask(lambda gateway: gateway.wait(key, step, PATIENCE))
            if answer["answer"] in ("go", "leave"):
                return str(answer["answer"])
            if loop.time() - since < 0.1:
                await asyncio.sleep(0.1)

    async def _play(self, step: int, answer: BeginAnswer) -> FinishCall:
        process, loop = self.container, asyncio.get_running_loop()
        began = loop.time()
        act = process.act = self._around.act(process, step)
        stop = "Terminated" if process.stopped else ""
        if not stop:
            process.stance = Stance.RUNNING
            process.playing = step
            self._around.watcher.script_begins(process, step, answer)
            script = self._script = loop.create_future()
            budget = answer.get("budget_ms")
            if not act.hangs:
                if budget is not None and budget < act.duration:
                    loop.call_later(budget / 1000, _end, script, "Timeout")
                else:
                    loop.call_later(act.duration / 1000, _end, script, "")
            stop = await script
            self._script = None
        failed = bool(stop) or not act.succeeds
        return {
            "step": step,
            "nonce": process.nonce,
            "outcome": "failed" if failed else "succeeded",
            "elapsed_ms": round((loop.time() - began) * 1000),
            "delta": [] if stop else list(act.delta),
            "error": {"type": stop or "Exception", "message": "as played"} if failed else None,
            "terminated": bool(stop),
        }

    async def _ask(self, call: Callable[[Gateway], Awaitable[Any]]) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await self._around.connect(call, self.container.nonce)
            except GatewayAway:
                pause = self._around.chance.between(0.1, 2.0, self.container.nonce, "pause")
                await asyncio.sleep(pause)


def _end(script: "asyncio.Future[str]", why: str) -> None:
    if not script.done():
        script.set_result(why)
