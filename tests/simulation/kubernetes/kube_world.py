"""The world of a simulated run on Kubernetes: an API server, a node, our processes, users, the time.

The real KubernetesStore, informers, JobLauncher, Controller and Gateway act in it, on asyncio. The
scenario, the witness and the oracle are those of `tests.simulation`; here is the cluster around them.
After the faults have stopped the run must come to rest, and when it is over it must cost nothing.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from tests.simulation.faults import Scenario, Strike
from tests.simulation.kubernetes.api_server import ApiServer, Event
from tests.simulation.kubernetes.cluster_controllers import Controllers
from tests.simulation.kubernetes.containers import Container, KubeJob
from tests.simulation.kubernetes.judge import BY_RUNNER, Call, Judge, Trace, new_job
from tests.simulation.kubernetes.kube_weather import FROZEN_FOR, KubeFaults, KubeWeather
from tests.simulation.kubernetes.kubelet import Kubelet
from tests.simulation.kubernetes.operators import Api, Operator
from tests.simulation.kubernetes.users import Reader, Users
from tests.simulation.kubernetes.virtual_loop import (
    Chance,
    LoopClock,
    Process,
    VirtualLoop,
    current_process,
    later,
)
from tests.simulation.rules import check
from tests.simulation.witness import OVER, Witness

from xaas_core.engine.states import AT_REST
from xaas_core.gateway import Gateway
from xaas_core.ports import Conflict, RunnerKey, Unavailable
from xaas_core.testing.scripted import Act, GatewayAway, Watcher
from xaas_kube import run_objects
from xaas_kube.client import Json
from xaas_kube.words import Label

LONGEST = 6 * 3600.0
"""Virtual seconds in which a run must come to rest once faults have stopped."""

LOOK_EVERY = 0.2
IDLE_FOR = 100.0
"""Virtual seconds in which a run that is over is watched for what it costs."""


class Playbook(Protocol):
    """What the script of a runner's step does."""

    def __call__(self, world: Any, key: RunnerKey, step: int) -> Act: ...


class KubeWorld:
    """One run on Kubernetes, with all that may happen to it."""

    def __init__(
        self, scenario: Scenario, seed: int | str, playbook: Playbook, strike: Strike | None = None
    ) -> None:
        self.scenario = scenario
        self._playbook = playbook
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop)
        self.chance = Chance(seed)
        self.stage = Trace(self.loop, self.clock, seed)
        self.stage.who = _who
        faults = scenario.faults
        faults = faults if isinstance(faults, KubeFaults) else KubeFaults(**vars(faults))
        self.faults = faults
        self.weather = KubeWeather(self.chance, faults, strike)
        self.weather.note = self.stage.note
        self.weather.strikes = {
            "die": self._die,
            "erase": self._erase,
            "drain": self._drain,
            "relist": self._relist,
            "lag": self._lag,
        }
        self.server = ApiServer(self.clock, self.chance)
        if faults.paged:
            self.server.largest_page = 2
        self.failure: BaseException | None = None
        self.server.listeners.append(self._new_job)
        self.judge = Judge(self.server, self.stage, scenario.run, faults, self.fail)
        self.witness: Witness = self.judge.witness
        self.watcher: Watcher = _Guarded(self)
        self.kubelet = Kubelet(self.server, self.weather, self)
        self.kubelet.jobs = self.judge.jobs
        self.controllers = Controllers(self.server, self.weather, self._no_pod_to_come)
        self.operators: list[Operator] = []

    @property
    def faulty(self) -> bool:
        """Whether things still go wrong."""
        return self.weather.faulty

    def fail(self, error: BaseException) -> None:
        """A rule is broken: the play ends."""
        if self.failure is None:
            self.failure = error
            self.loop.stop()

    # --- between the parts ---

    async def connect(self, call: Callable[[Gateway], Awaitable[Any]], who: str) -> Any:
        """A runner's call to any gateway. Raises GatewayAway."""
        up = [operator for operator in self.operators if operator.up]
        if not up or self.weather.may(self.faults.away, who, "away"):
            raise GatewayAway
        operator = up[int(self.chance.of(who, "which gateway") * len(up))]
        gateway = operator.gateway
        assert gateway is not None
        answer: asyncio.Future[Any] = self.loop.create_future()
        born = self.loop.turns

        async def serve() -> None:
            BY_RUNNER.set(Call(who, born))
            try:
                found = await call(gateway)
            except (Unavailable, Conflict):
                _settle(answer, GatewayAway())
            except Exception as error:  # noqa: BLE001 - a gateway answers, whatever comes
                self.fail(error)
            else:
                self.stage.note("gateway answers %s %s", who, found)
                _settle(answer, found)

        task = operator.process.spawn(serve(), f"gw<{who}")
        task.add_done_callback(lambda _: _settle(answer, GatewayAway()))  # if it was killed
        found = await answer
        if isinstance(found, GatewayAway) or self.weather.may(self.faults.away, who, "no answer"):
            raise GatewayAway
        return found

    def act(self, container: Container, step: int) -> Act:
        """What a script does."""
        return self._playbook(self, container.job.key, step)

    def _new_job(self, event: Event) -> None:
        if event.place.resource == "jobs" and event.kind == "ADDED":
            self.judge.jobs[event.item["metadata"]["uid"]] = new_job(event.item)

    def _no_pod_to_come(self, uid: str) -> None:
        self.judge.jobs[uid].pods_to_come = 0

    # --- what may strike ---

    def _die(self) -> None:
        pod = self.kubelet.oldest()
        for run in pod.runs if pod is not None else ():
            run.kill()

    def _erase(self) -> None:
        pod = self.kubelet.oldest()
        if pod is not None:
            self.kubelet.erase(pod)

    def _drain(self) -> None:
        pod = self.kubelet.oldest()
        if pod is not None:
            self.kubelet.delete_pod(pod)

    def _relist(self) -> None:
        self.server.cut()

    def _lag(self) -> None:
        self.weather.frozen_until = self.loop.time() + FROZEN_FOR

    # --- the play ---

    def play(self) -> None:
        """Play the scenario to its end. Raises Violation, or whatever the engine raises."""
        state = random.getstate()
        random.seed(repr(self.scenario))
        handler = _Defects(self.fail)
        loggers = [logging.getLogger(name) for name in ("xaas_core", "xaas_kube")]
        for logger in loggers:
            logger.addHandler(handler)
            logger.propagate = False
        self.loop.set_exception_handler(self._unhandled)
        try:
            main = self.loop.create_task(self._play())
            try:
                self.loop.run_until_complete(main)
            except RuntimeError:
                if self.failure is None:
                    raise
            if self.failure is not None:
                raise self.failure
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
                logger.propagate = True
            random.setstate(state)
            self._end()

    def _end(self) -> None:
        """Nothing of it may go on."""
        self.failure = self.failure or AssertionError("ended")
        self.loop.most = self.loop.turns + 10_000
        for _ in range(5):
            left = asyncio.all_tasks(self.loop)
            if not left:
                break
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0.001))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.fail(error if error is not None else AssertionError(context["message"]))

    async def _play(self) -> None:
        self.api = Api(self.loop, self.server, self.weather)
        self.users = Users(self.scenario, self.witness, self.weather, self.server, self.api)
        self.reader = Reader(self.api)
        self.api.start()
        for number in range(self.faults.servers):
            self.operators.append(
                Operator(self.loop, self.server, self.weather, f"op{number}", self.fail)
            )
        reading = Process("reader").spawn(self._guarded(self.reader.follow()), "reads")
        assert not reading.done()
        if self.faults.api_dies:
            self._api_dies()
        created = self.created = self.loop.create_task(self.users.create())
        for at, operation in self.scenario.operations:
            later(at / 1000, partial(self._ask_if_there, operation))
        last = max((at for at, _ in self.scenario.operations), default=0) / 1000 + 0.05
        end = max(self.scenario.faults_end / 1000, last)
        now = self.loop.time
        while not (created.done() and now() >= last and (now() >= end or self._quiet())):
            await asyncio.sleep(LOOK_EVERY)
            if created.done():
                created.result()
        self._heal()
        await self._rest()
        await self._finish()

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is ends the play
            self.fail(error)

    def _ask_if_there(self, operation: str) -> None:
        if self.users.uid:
            self.users.ask(operation)
        else:
            later(0.2, partial(self._ask_if_there, operation))

    def _api_dies(self) -> None:
        idle = bool(self.users.uid) and not self.users.busy and self.created.done()
        if idle and self.weather.may(self.faults.api_dies, "api dies"):
            self.api.crash()
        later(1.0, self._api_dies)

    def _heal(self) -> None:
        """No more faults from here on."""
        self.stage.note("FAULTS END")
        self.weather.faulty = False
        run = self.users.run
        if run is not None and run["spec"].get("suspend"):
            self.users.ask("resume")

    async def _rest(self) -> None:
        """I7: the run comes to rest."""
        end = self.loop.time() + LONGEST
        while not self._quiet():
            run = self.users.run
            state = (run.get("status") or {}).get("state") if run is not None else "removed"
            late = self.loop.time() > end
            check(not late, "I7: no rest within %d virtual s: %s, %s", LONGEST, state, self._why)
            await asyncio.sleep(LOOK_EVERY)
        run = self.users.run
        if run is not None:
            await self._check_rest(run)
        elif self.users.uid:
            await self._check_removed()

    def _quiet(self) -> bool:
        self._why = self._unquiet()
        return not self._why

    def _unquiet(self) -> str:
        if not all(operator.idle for operator in self.operators) or self.users.busy:
            return "somebody is busy"
        if any(job.live for job in self.judge.jobs.values()):
            return "a Job lives"
        run = self.users.run
        if run is None:
            return "" if self.witness.removed else "nothing is there yet"
        if "deletionTimestamp" in run["metadata"]:
            return "it is being deleted"
        if run_objects.read(run, history=False).pending_request is not None:
            return "an operation waits"
        if "running" in self.witness.oracle.states.values():
            return "something is running"
        return self._unrested(run)

    def _unrested(self, run: Json) -> str:
        status = run.get("status") or {}
        state = status.get("state", "pending")
        if state in OVER and self.scenario.run.ttl is None:
            meta = run["metadata"]
            seen = (meta.get("labels") or {}).get(Label.OVER, "").rpartition("-")[2]
            aside = seen == str(meta["generation"])
            return "" if aside and not meta.get("finalizers") else "it isn't put aside"
        if status.get("observedGeneration") != run["metadata"]["generation"]:
            return "a wish isn't seen yet"
        missing = status.get("reason") == "DefinitionMissing"
        waits = missing and self.scenario.definitions_after is None
        if state in AT_REST or (state == "pending" and (status.get("planned") or waits)):
            return ""
        return f"it is {state}"

    # --- what must hold ---

    async def _check_rest(self, run: Json) -> None:
        asked, answered = self.witness.requests, self.witness.answered
        check(all(request in answered for request in asked), "a request is lost")
        row = self.witness.rows[self.users.uid]
        check(row.plan is None or repr(row.plan) == self.witness.plan_text, "I10: the plan changed")
        check(self.witness.sequence == len(row.history), "I8: changes are missing")
        state = str(row.status.summary.state)
        check(state == self.witness.oracle.state, "the summary says %s", state)
        if self.scenario.run.ttl is not None and state in OVER:
            return  # it may be removed at any moment
        before = self._written()
        self.weather.counting = False
        for operator in self.operators:
            if operator.controller is not None:
                operator.controller.queue.add(self.users.uid)
        await asyncio.sleep(1.0)
        check(self._written() == before, "a look at a run at rest writes")
        self.weather.counting = True

    def _written(self) -> dict[str, str]:
        items = [*self.server.all("pipelineruns"), *self.server.all("pipelinetaskruns")]
        return {i["metadata"]["uid"]: i["metadata"]["resourceVersion"] for i in items}

    async def _check_removed(self) -> None:
        """Whatever belonged to the run goes with it."""
        await asyncio.sleep(1_000.0)
        for resource in ("pipelinetaskruns", "jobs", "pods", "controllerrevisions"):
            left = [item["metadata"]["name"] for item in self.server.all(resource)]
            check(not left, "the run is removed, and left %s", left)

    async def _finish(self) -> None:
        """Go on as an operator would: as told, or by chance until the run is over."""
        if self.scenario.follow is not None:
            for operation in self.scenario.follow:
                await self._then(operation)
        else:
            await self._operate()
        run = self.users.run
        if run is None:
            return
        state = (run.get("status") or {}).get("state")
        await self._check_changes(run)
        if self.scenario.run.ttl is not None and state in OVER:
            await self._wait_removed("the run stays beyond its ttl")
        elif self.scenario.follow is None and self.chance.may(0.2, "delete at last"):
            await self._then("delete")
            check(self.witness.removed, "a deleted run stays")
        elif state in OVER:
            await self._check_idle()

    async def _then(self, operation: str) -> None:
        self.users.ask(operation)
        await asyncio.sleep(LOOK_EVERY)
        await self._rest()

    async def _operate(self) -> None:
        for round_ in range(6):
            run = self.users.run
            if run is None:
                return
            choices = {
                "pending": ("run", "cancel"),
                "aborted": ("cancel", "recovery") if round_ < 3 else ("cancel",),
                "complete": ("rollback", "", ""),
            }.get(str((run.get("status") or {}).get("state", "pending")), ("",))
            operation = choices[int(self.chance.of("operate") * len(choices))]
            if not operation:
                break
            await self._then(operation)
        run = self.users.run
        if run is not None:
            state = (run.get("status") or {}).get("state")
            check(state in OVER, "I7: the run stays %s", state)

    async def _wait_removed(self, why: str) -> None:
        end = self.loop.time() + LONGEST
        while not self.witness.removed:
            check(self.loop.time() < end, why)
            await asyncio.sleep(LOOK_EVERY)
        await self._check_removed()

    async def _check_changes(self, run: Json) -> None:
        """I8: whoever reads the changes has got every one."""
        logged = len((run.get("status") or {}).get("log") or ())
        for _ in range(1_200):
            if self.reader.read.get(self.users.uid, 0) == logged or self.witness.removed:
                return
            await asyncio.sleep(LOOK_EVERY)
        check(False, "I8: %s of %d changes came", self.reader.read, logged)

    async def _check_idle(self) -> None:
        """A run that is over is let go of, and costs nothing but renewed watches."""
        await asyncio.sleep(150.0)  # by then every watch that was dead is seen to be
        run = self.users.run
        assert run is not None
        self.judge.check_over(run)
        if self.faults.lease:
            return  # the Lease is renewed
        self.weather.counting = False
        before = [operator.client.sent.copy() for operator in self.operators if operator.client]
        await asyncio.sleep(IDLE_FOR)
        after = [operator.client.sent for operator in self.operators if operator.client]
        for was, now in zip(before, after, strict=True):
            check(now["GET"] - was["GET"] <= 15, "a run that is over keeps an operator busy")
            writes = {method for method in now if method != "GET" and now[method] != was[method]}
            check(not writes, "a run that is over is written: %s", writes)


class _Guarded(Watcher):
    """The witness, for the runners: what it raises ends the play and not the runner."""

    def __init__(self, world: KubeWorld) -> None:
        self._world = world

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name == "erased":
            return object.__getattribute__(self, name)
        world: KubeWorld = object.__getattribute__(self, "_world")
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


class _Defects(logging.Handler):
    """What our code logs as an error should never happen."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        """See Handler."""
        error = record.exc_info[1] if record.exc_info else None
        self._fail(error or AssertionError(record.getMessage()))


def _settle(answer: "asyncio.Future[Any]", value: Any) -> None:
    if not answer.done():
        answer.set_result(value)


def _who() -> str:
    process = current_process()
    return process.name if process is not None else "-"
