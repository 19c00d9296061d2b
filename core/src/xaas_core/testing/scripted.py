"""A launcher whose runners play scripts on a stage, and an evaluator of make-believe conditions.

The runners do what `xaas_runner.step` does: wait for their turn, begin with a nonce of their own,
run for a virtual time, and offer the outcome until the gateway has answered. What a script does is
an `Act`, chosen by the playbook when it starts. How runners get lost is the launcher's `Mishaps`.

As with Jobs, `start` is idempotent by the runner's key, a runner is seen as over only when all its
processes are gone, and `end` is SIGTERM now and SIGKILL after the grace period.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Protocol, cast

from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_core.engine.records import Failure
from xaas_core.engine.states import Reason
from xaas_core.gateway import Gateway
from xaas_core.ports import Evaluation, Finding, LaunchOrder, RunnerKey, Script
from xaas_core.testing.stage import Actor, Promise, Stage, turn
from xaas_runner.contract import BeginAnswer, BeginCall, DeltaOp, FinishAnswer, FinishCall

RESPITE = 1_000
"""Milliseconds in which a script that was told to stop is stopped at the latest."""

POLL = 400
"""Milliseconds at most between two questions of a runner that waits for its turn."""


class GatewayAway(Exception):
    """No answer came: whether the call was carried out is not known."""


class Connect(Protocol):
    """How runners reach a gateway. Raises GatewayAway."""

    def __call__(self, call: Callable[[Gateway], Awaitable[Any]]) -> Promise: ...


@dataclass(frozen=True)
class Act:
    """What a script does. `hangs`: it never ends and is deaf to SIGTERM."""

    duration: int = 10
    succeeds: bool = True
    delta: tuple[DeltaOp, ...] = ()
    hangs: bool = False


@dataclass(frozen=True)
class Mishaps:
    """What becomes of one Job, decided when it is started. Delays in milliseconds.

    `refused`: the backend never starts it. `stuck`: it stays pending. `again`: its pod is started a
    second time after that long. `dies`: all its processes are killed after that long, or one of
    them, `alone`; `erased`: its traces, too. `seen_after`: how long its end stays unseen.
    """

    delay: int = 0
    refused: bool = False
    stuck: bool = False
    again: int | None = None
    dies: int | None = None
    alone: bool = False
    erased: bool = False
    seen_after: int = 0
    reason: Reason = Reason.NONE


class Stance(Enum):
    """Where a process stands; decides what SIGTERM does."""

    WAITING = 1  # nothing begun: it ends
    BEGINNING = 2  # begin is on its way: noted
    RUNNING = 3  # the script is stopped
    OVER = 4  # the script has ended: its delivery goes on


@dataclass(eq=False)
class Process:
    """A process of a Job. `nonce` names it."""

    job: "Job"
    nonce: str
    steps: tuple[int, ...]
    pod: int
    actor: Actor | None = None
    stance: Stance = Stance.WAITING
    stopped: bool = False
    script: Promise | None = None  # settled with True if it ended by itself
    act: Act | None = None
    playing: int | None = None  # the step whose script runs

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return self.actor is not None and self.actor.alive


@dataclass(eq=False)
class Job:
    """What the backend knows of one runner."""

    key: RunnerKey
    order: LaunchOrder
    mishaps: Mishaps
    processes: list[Process] = field(default_factory=list)
    pods_to_come: int = 1
    ending: bool = False
    over_since: int | None = None

    @property
    def live(self) -> bool:
        """Whether a process of it is there, or may come yet."""
        return self.over_since is None and not self.mishaps.refused


class Watcher:
    """Is told what truly happens. Each method may raise to end the play."""

    def job_started(self, job: Job) -> None:
        """`job` is new."""

    def script_begins(self, process: Process, step: int, answer: BeginAnswer) -> None:
        """The script of `step` starts in `process`."""

    def script_ended(self, process: Process, call: FinishCall) -> None:
        """It has ended, or was stopped, as `call` will say."""

    def delivered(self, process: Process, call: FinishCall, answer: FinishAnswer) -> None:
        """The gateway has answered."""

    def run_forgotten(self, jobs: Collection[Job]) -> None:
        """These are all the Jobs of a run that is removed."""


class ScriptedLauncher:
    """`ports.Launcher`: plays `playbook` in processes on `stage`."""

    def __init__(
        self,
        stage: Stage,
        connect: Connect,
        playbook: Callable[[RunnerKey, int], Act],
        watcher: Watcher | None = None,
        mishaps: Callable[[LaunchOrder], Mishaps] = lambda order: Mishaps(),
    ) -> None:
        self._stage = stage
        self._connect = connect
        self._playbook = playbook
        self._watcher = watcher or Watcher()
        self._mishaps = mishaps
        self._changed: list[Callable[[str], None]] = []
        self._nonces = 0
        self.jobs: dict[RunnerKey, Job] = {}
        self.erased: set[RunnerKey] = set()

    # --- the port ---

    async def start(self, *orders: LaunchOrder) -> None:
        """See `ports.Launcher`."""
        for order in orders:
            self._start(order)

    def _start(self, order: LaunchOrder) -> None:
        key = RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch)
        if key in self.jobs:
            return
        job = self.jobs[key] = Job(key, order, self._mishaps(order))
        self._stage.note("job %s starts", named(key))
        self._watcher.job_started(job)
        ways = job.mishaps
        if ways.refused:
            self._notify(job)
        elif not ways.stuck:
            self._stage.after(ways.delay, lambda: self._pod(job))
            if ways.again is not None:
                job.pods_to_come += 1
                self._stage.after(ways.delay + ways.again, lambda: self._pod(job))
        if ways.dies is not None:
            fate = (
                partial(self._kill_one, job) if ways.alone else partial(self.kill, job, ways.erased)
            )
            self._stage.after(ways.dies, fate)

    async def prepare(self, *orders: LaunchOrder) -> None:
        """See the port. Nothing is started ahead."""

    async def end(self, runner: RunnerKey, grace: int, *, begun: bool = False) -> None:
        """See `ports.Launcher`."""
        job = self.jobs.get(runner)
        if job is None or not job.live or job.ending:
            return
        self._stage.note("job %s is told to end", named(runner))
        job.ending = True
        job.pods_to_come = 0
        for process in list(job.processes):
            if process.alive:
                self._terminate(process)
        self._stage.after(grace, lambda: self.kill(job))
        self._check_over(job)

    async def sight(self, run: str, runners: Collection[RunnerKey]) -> dict[Key, Sighting]:
        """See `ports.Launcher`."""
        told = {(key.ref, key.side): self._sighting(key) for key in runners}
        for key in self.jobs:
            if key.run == run and (seen := self._sighting(key)).phase is Phase.LIVE:
                told.setdefault((key.ref, key.side), seen)
        return told

    async def release(self, runner: RunnerKey) -> None:
        """See the port. Nothing is held."""

    async def forget(self, run: str) -> None:
        """See `ports.Launcher`."""
        jobs = [job for job in self.jobs.values() if job.key.run == run]
        self._watcher.run_forgotten(jobs)
        for job in jobs:
            self.kill(job)
            del self.jobs[job.key]

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """See `ports.Launcher`."""
        self._changed.append(changed)

    # --- what befalls Jobs ---

    def kill(self, job: Job, erase: bool = False) -> None:
        """SIGKILL to all processes of `job`; no other will come."""
        job.pods_to_come = 0
        for process in job.processes:
            if process.actor is not None and process.alive:
                self._stage.note("%s is killed", process.actor.name)
                self._stage.kill(process.actor)
        self._check_over(job)
        if erase and self.jobs.get(job.key) is job and not job.mishaps.refused:
            self._stage.note("job %s is deleted by hand", named(job.key))
            del self.jobs[job.key]
            self.erased.add(job.key)
            self._notify(job)

    def _kill_one(self, job: Job) -> None:
        """SIGKILL to the first process that lives."""
        process = next((each for each in job.processes if each.alive), None)
        if process is not None and process.actor is not None:
            self._stage.note("%s alone is killed", process.actor.name)
            self._stage.kill(process.actor)
            self._end_pod(process)
            self._check_over(job)

    def _terminate(self, process: Process) -> None:
        if process.stance is Stance.WAITING and process.actor is not None:
            self._stage.kill(process.actor)
        elif process.stance is not Stance.OVER:
            process.stopped = True
            if process.script is not None and not (process.act and process.act.hangs):
                script, respite = process.script, self._stage.random.randrange(RESPITE)
                self._stage.after(respite, lambda: script.settle(False))

    # --- within ---

    def _sighting(self, key: RunnerKey) -> Sighting:
        job = self.jobs.get(key)
        if job is None:
            return Sighting(key.attempt, key.launch, Phase.ABSENT)
        if job.mishaps.refused:
            text = "the backend refuses it"
            return Sighting(key.attempt, key.launch, Phase.REFUSED, Reason.INVALID_JOB, text)
        seen = job.over_since is not None and (
            self._stage.clock.now() >= job.over_since + job.mishaps.seen_after
        )
        phase = Phase.OVER if seen else Phase.LIVE
        return Sighting(key.attempt, key.launch, phase, job.mishaps.reason if seen else Reason.NONE)

    def _pod(self, job: Job) -> None:
        """Start the processes of one pod: one for all steps, or one for each."""
        if job.pods_to_come == 0:
            return
        job.pods_to_come -= 1
        steps = job.order.steps
        apart = len(steps) > 1 and self._stage.random.random() < 0.3
        for mine in [(step,) for step in steps] if apart else [steps]:
            self._nonces += 1
            process = Process(job, f"p{self._nonces}", mine, job.pods_to_come)
            job.processes.append(process)
            name = f"{process.nonce}:{named(job.key)}"
            process.actor = self._stage.spawn(
                name, self._play(process), "runners", partial(self._ended, process)
            )

    def _ended(self, process: Process, done: bool, error: Exception | None) -> None:
        if error is not None:
            raise error
        if not done:
            self._end_pod(process)
        self._check_over(process.job)

    def _end_pod(self, lost: Process) -> None:
        """The processes of a runner are one: where one is lost, the others wait in vain."""
        for process in lost.job.processes:
            if process.pod == lost.pod and process.alive:
                self._terminate(process)

    def _check_over(self, job: Job) -> None:
        alive = any(process.alive for process in job.processes)
        # A stuck Job waits for its pod until it is ended.
        waits = job.pods_to_come > 0
        if job.over_since is None and not alive and not waits:
            job.over_since = self._stage.clock.now()
            self._notify(job)

    def _notify(self, job: Job) -> None:
        def tell() -> None:
            for changed in self._changed:
                changed(job.key.run)

        self._stage.after(job.mishaps.seen_after, tell)

    async def _play(self, process: Process) -> bool:
        """Play the steps of a process; whether all were recorded as succeeded."""
        for step in process.steps:
            if not await self._step(process, step):
                return False
        return True

    async def _step(self, process: Process, step: int) -> bool:
        """Play one step; whether the next may be asked for."""
        key = process.job.key
        begin: BeginCall = {"step": step, "nonce": process.nonce, "runner": process.nonce}
        while True:
            answer = await self._ask(lambda gateway: gateway.wait(key, step))
            if answer["answer"] == "leave":
                return False
            if answer["answer"] == "wait":
                await self._sleep(POLL)
                continue
            process.stance = Stance.BEGINNING
            answer = await self._ask(lambda gateway: gateway.begin(key, begin))
            if answer["answer"] == "go":
                break
            if answer["answer"] == "leave" or process.stopped:
                return False
            process.stance = Stance.WAITING
            await self._sleep(POLL)
        call = await self._script(process, step, cast(BeginAnswer, answer))
        process.stance = Stance.OVER
        self._watcher.script_ended(process, call)
        process.playing = None
        reply = await self._ask(lambda gateway: gateway.finish(key, call))
        self._watcher.delivered(process, call, reply)
        process.stance = Stance.WAITING
        succeeded = reply["answer"] == "recorded" and call["outcome"] == "succeeded"
        return succeeded and not process.stopped

    async def _script(self, process: Process, step: int, answer: BeginAnswer) -> FinishCall:
        now = self._stage.clock.now
        began = now()
        act = process.act = self._playbook(process.job.key, step)
        stop: str | None = "Terminated" if process.stopped else None
        if stop is None:
            process.stance = Stance.RUNNING
            process.playing = step
            self._watcher.script_begins(process, step, answer)
            script = process.script = Promise(self._stage)
            budget = answer.get("budget_ms")
            if not act.hangs:
                if budget is not None and budget < act.duration:
                    self._stage.after(budget, lambda: script.settle("Timeout"))
                else:
                    self._stage.after(act.duration, lambda: script.settle(True))
            ended = await script
            if ended is not True:
                stop = ended or "Terminated"
            process.script = None
        failed = stop is not None or not act.succeeds
        return {
            "step": step,
            "nonce": process.nonce,
            "outcome": "failed" if failed else "succeeded",
            "elapsed_ms": now() - began,
            "delta": [] if stop is not None else list(act.delta),
            "error": {"type": stop or "Exception", "message": "as played"} if failed else None,
            "terminated": stop is not None,
        }

    async def _ask(self, call: Callable[[Gateway], Awaitable[Any]]) -> Any:
        """Ask until there is an answer."""
        while True:
            try:
                return await self._connect(call)
            except GatewayAway:
                await self._sleep(2_000)

    async def _sleep(self, longest: int) -> None:
        await turn(self._stage.clock.now() + self._stage.random.randint(longest // 8, longest))


def named(key: RunnerKey) -> str:
    """A runner's name in a trace."""
    return f"{key.ref}/{key.side}#{key.attempt}.{key.launch}"


class ScriptedEvaluator:
    """`ports.Evaluator` of conditions that are spelled out: see `truth`."""

    async def check(self, scripts: Sequence[Script]) -> Sequence[Finding | None]:
        """Refuses what says `refuse`."""
        return [Finding("refused", 1) if "refuse" in each.source else None for each in scripts]

    async def evaluate(
        self, condition: Script, params: Mapping[str, Any], tasks: Mapping[str, str]
    ) -> Evaluation:
        """See `truth`."""
        value = truth(condition.source, params)
        if value is None:
            return Evaluation(False, Failure(Reason.CONDITION_ERROR, "as played"))
        return Evaluation(value)


def truth(condition: str, params: Mapping[str, Any]) -> bool | None:
    """`true`, `false`, `error`, or `has <key>`: whether params have the key. None: it raises."""
    word, _, key = condition.partition(" ")
    if word == "has":
        return key in params
    return {"true": True, "false": False, "error": None}[word]
