"""When a run on Kubernetes has come to rest, and what must hold then."""

import asyncio
from typing import Protocol

from tests.simulation.faults import Scenario
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.judge import Judge
from tests.simulation.kubernetes.kube_weather import KubeFaults, KubeWeather
from tests.simulation.kubernetes.operators import Operator
from tests.simulation.kubernetes.users import Reader, Users
from tests.simulation.kubernetes.virtual_loop import Chance, VirtualLoop
from tests.simulation.rules import check
from tests.simulation.witness import OVER, Witness

from xaas_core.engine.states import AT_REST
from xaas_kube import run_objects
from xaas_kube.client import Json
from xaas_kube.retirement import SWEEP_EVERY
from xaas_kube.words import Label

LONGEST = 6 * 3600.0
"""Virtual seconds in which a run must come to rest once faults have stopped."""

LOOK_EVERY = 0.2
IDLE_FOR = 100.0
"""Virtual seconds in which a run that is over is watched for what it costs."""


class World(Protocol):
    """The world, as far as it is looked at."""

    scenario: Scenario
    loop: VirtualLoop
    chance: Chance
    server: ApiServer
    weather: KubeWeather
    faults: KubeFaults
    judge: Judge
    witness: Witness
    operators: list[Operator]
    users: Users
    reader: Reader


READS = ("get", "list", "watch")


class Rest:
    """Waits for rest, and judges it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._why = ""

    async def come(self) -> None:
        """I7: the run comes to rest."""
        end = self._world.loop.time() + LONGEST
        while not self.quiet():
            run = self._world.users.run
            state = (run.get("status") or {}).get("state") if run is not None else "removed"
            late = self._world.loop.time() > end
            check(not late, "I7: no rest within %d virtual s: %s, %s", LONGEST, state, self._why)
            await asyncio.sleep(LOOK_EVERY)
        run = self._world.users.run
        if run is not None:
            await self._check_rest(run)
        elif self._world.users.uid:
            await self._check_removed()

    def quiet(self) -> bool:
        self._why = self._unquiet()
        return not self._why

    def _unquiet(self) -> str:
        if not all(operator.idle for operator in self._world.operators) or self._world.users.busy:
            return "somebody is busy"
        if any(job.live for job in self._world.judge.jobs.values()):
            return "a Job lives"
        run = self._world.users.run
        if run is None:
            return "" if self._world.witness.removed else "nothing is there yet"
        if "deletionTimestamp" in run["metadata"]:
            return "it is being deleted"
        if run_objects.read(run, history=False).pending_request is not None:
            return "an operation waits"
        if "running" in self._world.witness.oracle.states.values():
            return "something is running"
        return self._unrested(run)

    def _unrested(self, run: Json) -> str:
        status = run.get("status") or {}
        state = status.get("state", "pending")
        if state in OVER and self._world.scenario.run.ttl is None:
            meta = run["metadata"]
            seen = (meta.get("labels") or {}).get(Label.OVER, "").rpartition("-")[2]
            aside = seen == str(meta["generation"])
            return "" if aside and not meta.get("finalizers") else "not put aside"
        if status.get("observedGeneration") != run["metadata"]["generation"]:
            return "a wish isn't seen yet"
        missing = status.get("reason") == "DefinitionMissing"
        waits = missing and self._world.scenario.definitions_after is None
        if state in AT_REST or (state == "pending" and (status.get("planned") or waits)):
            return ""
        return f"it is {state}"

    # --- what must hold ---

    async def _check_rest(self, run: Json) -> None:
        asked, answered = self._world.witness.requests, self._world.witness.answered
        check(all(request in answered for request in asked), "a request is lost")
        row = self._world.witness.rows[self._world.users.uid]
        check(
            row.plan is None or repr(row.plan) == self._world.witness.plan_text,
            "I10: the plan changed",
        )
        check(self._world.witness.sequence == len(row.history), "I8: changes are missing")
        state = str(row.status.summary.state)
        check(state == self._world.witness.oracle.state, "the summary says %s", state)
        if self._world.scenario.run.ttl is not None and state in OVER:
            return  # it may be removed at any moment
        if not self._world.faults.strict and not self._world.faults.lease:
            return  # what one has decided the other may still write
        before, wished = self._written(), self._wished()
        self._world.weather.counting = False
        for operator in self._world.operators:
            if operator.controller is not None:
                operator.controller.queue.add(self._world.users.uid)
        await asyncio.sleep(1.0)
        same = self._written() == before or self._wished() != wished
        check(same, "a look at a run at rest writes")
        self._world.weather.counting = True

    def _wished(self) -> object:
        """What changes with everything that a user wants of the run."""
        run = self._world.users.run
        return run["metadata"]["generation"] if run is not None else None

    def _written(self) -> dict[str, str]:
        items = [
            *self._world.server.all("pipelineruns"),
            *self._world.server.all("pipelinetaskruns"),
        ]
        return {i["metadata"]["uid"]: i["metadata"]["resourceVersion"] for i in items}

    async def _check_removed(self) -> None:
        """Whatever belonged to the run goes with it."""
        await asyncio.sleep(1_000.0)
        for resource in ("pipelinetaskruns", "jobs", "pods", "controllerrevisions"):
            left = [item["metadata"]["name"] for item in self._world.server.all(resource)]
            check(not left, "the run is removed, and left %s", left)

    async def finish(self) -> None:
        """Go on as an operator would: as told, or by chance until the run is over."""
        if self._world.scenario.follow is not None:
            for operation in self._world.scenario.follow:
                await self._then(operation)
        else:
            await self._operate()
        run = self._world.users.run
        if run is None:
            return
        state = (run.get("status") or {}).get("state")
        await self._check_changes(run)
        if self._world.scenario.run.ttl is not None and state in OVER:
            await self._wait_removed("the run stays beyond its ttl")
        elif self._world.scenario.follow is None and self._world.chance.may(0.2, "delete at last"):
            await self._then("delete")
            check(self._world.witness.removed, "a deleted run stays")
        elif state in OVER:
            await self._check_idle()

    async def _then(self, operation: str) -> None:
        self._world.users.ask(operation)
        await asyncio.sleep(LOOK_EVERY)
        await self.come()

    async def _operate(self) -> None:
        for round_ in range(6):
            run = self._world.users.run
            if run is None:
                return
            choices = {
                "pending": ("run", "cancel"),
                "aborted": ("cancel", "recovery") if round_ < 3 else ("cancel",),
                "complete": ("rollback", "", ""),
            }.get(str((run.get("status") or {}).get("state", "pending")), ("",))
            operation = choices[int(self._world.chance.of("operate") * len(choices))]
            if not operation:
                break
            await self._then(operation)
        run = self._world.users.run
        if run is not None:
            state = (run.get("status") or {}).get("state")
            check(state in OVER, "I7: the run stays %s", state)

    async def _wait_removed(self, why: str) -> None:
        end = self._world.loop.time() + LONGEST
        while not self._world.witness.removed:
            check(self._world.loop.time() < end, why)
            await asyncio.sleep(LOOK_EVERY)
        await self._check_removed()

    async def _check_changes(self, run: Json) -> None:
        """I8: whoever reads the changes has got every one."""
        logged = len((run.get("status") or {}).get("log") or ())
        for _ in range(1_200):
            if (
                self._world.reader.read.get(self._world.users.uid, 0) == logged
                or self._world.witness.removed
            ):
                return
            await asyncio.sleep(LOOK_EVERY)
        check(False, "I8: %s of %d changes came", self._world.reader.read, logged)

    async def _check_idle(self) -> None:
        """A run that is over is let go of, and costs nothing but renewed watches."""
        await asyncio.sleep(150.0)  # by then every watch that was dead is seen to be
        run = self._world.users.run
        assert run is not None
        self._world.judge.check_over(run)
        await asyncio.sleep(2 * SWEEP_EVERY)
        for operator in self._world.operators:
            kept = operator.store is not None and operator.store._records.cache.runs()
            check(not kept, "records of a run that is over are kept in memory")
        if self._world.faults.lease:
            return  # the Lease is renewed
        self._world.weather.counting = False
        before = [
            operator.client.sent.copy() for operator in self._world.operators if operator.client
        ]
        await asyncio.sleep(IDLE_FOR)
        after = [operator.client.sent for operator in self._world.operators if operator.client]
        for was, now in zip(before, after, strict=True):
            reads = sum(now[each] - was[each] for each in now if each[0] in READS)
            check(reads <= 15, "a run that is over keeps an operator busy")
            writes = {each for each in now if each[0] not in READS and now[each] != was[each]}
            check(not writes, "a run that is over is written: %s", writes)
