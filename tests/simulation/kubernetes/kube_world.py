"""The world of a simulated run on Kubernetes: an API server, a node, our processes, users, the time.

The real KubernetesStore, informers, JobLauncher, Controller and Gateway act in it, on asyncio. The
scenario, the witness and the oracle are those of `tests.simulation`; here is the cluster around them.
After the faults have stopped the run must come to rest, and when it is over it must cost nothing.
"""

import asyncio
import gc
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from tests.simulation.faults import Scenario, Strike
from tests.simulation.kubernetes.api_server import ApiServer, Event
from tests.simulation.kubernetes.cluster_controllers import Controllers
from tests.simulation.kubernetes.containers import Container
from tests.simulation.kubernetes.judge import BY_RUNNER, Call, Judge, Trace, new_job
from tests.simulation.kubernetes.kube_guards import Defects, Guarded, settle, who
from tests.simulation.kubernetes.kube_rest import LOOK_EVERY, Rest
from tests.simulation.kubernetes.kube_weather import FROZEN_FOR, KubeFaults, KubeWeather
from tests.simulation.kubernetes.kubelet import Kubelet
from tests.simulation.kubernetes.operators import Api, Operator
from tests.simulation.kubernetes.users import Reader, Users
from tests.simulation.kubernetes.virtual_loop import (
    Chance,
    LoopClock,
    Process,
    VirtualLoop,
    later,
)
from tests.simulation.witness import Witness

from xaas_core.gateway import Gateway
from xaas_core.ports import Conflict, RunnerKey, Unavailable
from xaas_core.testing.scripted import Act, GatewayAway, Watcher


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
        self.stage.who = who
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
        self.watcher: Watcher = Guarded(self)
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
                settle(answer, GatewayAway())
            except Exception as error:  # noqa: BLE001 - a gateway answers, whatever comes
                self.fail(error)
            else:
                self.stage.note("gateway answers %s %s", who, found)
                settle(answer, found)

        task = operator.process.task(serve(), f"gw<{who}")
        task.add_done_callback(lambda _: settle(answer, GatewayAway()))  # if it was killed
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
        state, drawn = random.getstate(), uuid.uuid4
        # A generator that is collected takes a turn of the loop: it must not come when it likes.
        gc.disable()
        random.seed(repr(self.scenario))
        # Names are drawn, too: what they are decides in which order a list has them.
        uuid.uuid4 = lambda: uuid.UUID(int=random.getrandbits(128), version=4)
        handler = Defects(self.fail)
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
            uuid.uuid4 = drawn
            self._end()
            gc.enable()

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
        Process("reader").spawn(self._guarded(self.reader.follow()), "reads")
        if self.faults.api_dies:
            self._api_dies()
        created = self.created = self.loop.create_task(self.users.create())
        for at, operation in self.scenario.operations:
            later(at / 1000, partial(self._ask_if_there, operation))
        last = max((at for at, _ in self.scenario.operations), default=0) / 1000 + 0.05
        end = max(self.scenario.faults_end / 1000, last)
        rest = Rest(self)
        now = self.loop.time
        while not (created.done() and now() >= last and (now() >= end or rest.quiet())):
            await asyncio.sleep(LOOK_EVERY)
            if created.done():
                created.result()
        self._heal()
        await rest.come()
        await rest.finish()

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
