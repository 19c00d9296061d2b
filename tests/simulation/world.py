"""The world of a simulated run: a store, servers, runners, users, and the time.

The real Reconciler and Gateway act in it (`server`), through doors where others may go first and
things go wrong (`weather`); what is written and what happens is seen (`witness`) and judged
(`oracle`). After the faults have stopped the run must come to rest.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

from tests.simulation.faults import Scenario, Strike
from tests.simulation.rules import RunFacts, TaskFacts, check
from tests.simulation.server import Server, Surroundings
from tests.simulation.weather import Weather
from tests.simulation.witness import OVER, WatchedStore, Witness

from xaas_core.engine.facts import Request
from xaas_core.engine.history import History
from xaas_core.engine.states import AT_REST, Operation, Reason
from xaas_core.gateway import Gateway
from xaas_core.models.objects import RunStatus
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec, RetriesSpec
from xaas_core.ports import (
    Conflict,
    Idempotency,
    Kind,
    NotFound,
    OperationPending,
    Part,
    RunnerKey,
    Touch,
    Unavailable,
)
from xaas_core.testing import builders
from xaas_core.testing.memory_store import Row
from xaas_core.testing.scripted import Act, GatewayAway, ScriptedEvaluator, ScriptedLauncher
from xaas_core.testing.stage import Promise, Stage, turn

NAME = "pipeline"
RESYNC = 30_000
MOST_STEPS = 60_000
LONGEST = 6 * 3_600_000
"""Virtual milliseconds in which a run must come to rest once faults have stopped."""

Playbook = Callable[["World", RunnerKey, int], Act]
"""What the script of a runner's step does."""


class World:
    """One run, with all that may happen to it."""

    def __init__(
        self, scenario: Scenario, seed: int | str, playbook: Playbook, strike: Strike | None = None
    ) -> None:
        self.scenario = scenario
        self.stage = Stage(seed)
        self.weather = Weather(self.stage, scenario.faults, strike)
        self.witness = Witness(self.stage, scenario.run, scenario.faults)
        self.store = WatchedStore(
            self.stage, self.witness, lambda: self.weather.between(self.servers)
        )
        self.launcher = ScriptedLauncher(
            self.stage,
            self.connect,
            lambda key, step: playbook(self, key, step),
            watcher=self.witness,
            mishaps=lambda order: self.weather.mishaps(order, self.launcher.erased),
        )
        self.witness.jobs = self.launcher.jobs
        self.witness.erased = self.launcher.erased
        self.weather.kill_oldest_job = self._kill_oldest_job
        self.servers: list[Server] = []
        self.uid = ""

    @property
    def faulty(self) -> bool:
        """Whether things still go wrong."""
        return self.weather.faulty

    # --- between the parts ---

    def connect(self, call: Callable[[Gateway], Awaitable[Any]]) -> Promise:
        """A runner's call to any gateway."""
        up = [server for server in self.servers if server.up]
        if not up or self.weather.may(self.scenario.faults.away):
            promise = Promise(self.stage)
            promise.settle(error=GatewayAway())
            return promise
        server = self.stage.random.choice(up)
        caller = self.stage.current.name if self.stage.current is not None else "?"

        async def serve() -> Any:
            try:
                answer = await call(server.gateway)
            except (Unavailable, Conflict):
                raise GatewayAway from None
            self.stage.note("gateway answers %s", answer.get("answer"))
            if self.weather.may(self.scenario.faults.away):
                raise GatewayAway
            return answer

        return self.stage.call(f"gw<{caller}", serve(), server.name, GatewayAway())

    def _kill_oldest_job(self) -> None:
        live = [job for job in self.launcher.jobs.values() if job.live]
        if live:
            self.launcher.kill(live[0])

    def touched(self, touch: Touch) -> None:
        """Tell the servers."""
        if touch.part in (Part.STATUS, Part.REMOVED):
            return
        for server in self.servers:
            if not self.weather.may(self.scenario.faults.deaf):
                server.touch(touch.run)
            elif self.stage.random.random() < 0.5:
                delay = self.stage.random.randint(1, 5_000)
                self.stage.after(delay, partial(server.touch, touch.run))

    def _resync(self) -> None:
        for server in self.servers:
            for uid in self.store.rows:
                server.touch(uid)
        self.stage.after(RESYNC, self._resync)

    def _runner_changed(self, run: str) -> None:
        for server in self.servers:
            server.touch(run)

    # --- users ---

    def ask(self, operation: str, tries: int = 40) -> None:
        """A user asks for something."""
        self.stage.note("USER asks for %s", operation)
        self.stage.spawn("user", self._ask(operation, tries), "user")

    async def _ask(self, operation: str, tries: int) -> None:
        try:
            if operation in ("suspend", "resume"):
                await self.store.suspend(self.uid, operation == "suspend")
                self.witness.suspended_since = self.stage.steps if operation == "suspend" else None
            elif operation == "delete":
                await self.store.mark_deleting(self.uid)
            elif operation == "redefine":
                if await self.store.plan(self.uid) is not None:
                    await self._define(changed=True)
            else:
                request = Request(f"r{len(self.witness.requests)}", Operation(operation))
                await self.store.request(self.uid, request)
                self.witness.requests[request.id] = operation
        except NotFound:
            check(self.witness.removed, "the run is gone")
        except OperationPending:
            if tries:
                await turn(self.stage.clock.now() + 500)
                await self._ask(operation, tries - 1)

    # --- the play ---

    async def _define(self, changed: bool = False) -> None:
        tasks, pipeline = definitions(self.scenario.run, changed)
        for spec in tasks:
            if changed:
                await self.store.replace_definition(Kind.TASK, "default", spec, None)
            else:
                await self.store.create_definition(Kind.TASK, "default", spec, None)
        if changed:
            await self.store.delete_definition(Kind.PIPELINE, "default", NAME, None)
        await self.store.create_definition(Kind.PIPELINE, "default", pipeline, None)

    async def _create(self) -> None:
        after = self.scenario.definitions_after
        if after == 0:
            await self._define()
        spec = run_of(self.scenario.run)
        request = Request("first", Operation.RUN) if self.scenario.begin else None
        if request is not None:
            self.witness.requests[request.id] = "run"
        key = Idempotency("key", "digest")
        made = await self.store.create_run("default", spec, Target.PIPELINE, request, key)
        again = await self.store.create_run("default", spec, Target.PIPELINE, request, key)
        check(made.meta.uid == again.meta.uid, "I9: one key, two runs")
        self.uid = made.meta.uid
        if after:
            await turn(self.stage.clock.now() + after)
            await self._define()

    def play(self) -> None:
        """Play the scenario to its end. Raises Violation, or whatever the engine raises."""
        self.stage.spawn("user", self._create(), "user")
        around = Surroundings(
            self.stage,
            self.weather,
            self.store,
            self.launcher,
            ScriptedEvaluator(),
            lambda: list(self.store.rows),
        )
        for number in range(self.scenario.faults.servers):
            self.servers.append(Server(around, f"s{number}"))
        self.store.on_touch(self.touched)
        self.launcher.subscribe(self._runner_changed)
        if not self.scenario.faults.none:
            self._resync()  # without faults every trigger and every wake must suffice
        for at, operation in self.scenario.operations:
            self.stage.after(at, partial(self.ask, operation))
        last = max((at for at, _ in self.scenario.operations), default=0) + 1
        asked = self.stage.clock.now() + last
        end = self.stage.clock.now() + max(self.scenario.faults_end, last)
        now = self.stage.clock.now
        for moment in (asked, end):
            self.stage.at(moment, lambda: None)  # there is something to come until then
        self._until(lambda: now() >= end or (now() >= asked and self._quiet()))
        self._heal()
        self._rest()
        self._finish()

    def _heal(self) -> None:
        """No more faults from here on."""
        self.stage.note("FAULTS END")
        self.weather.faulty = False
        row = self.store.rows.get(self.uid)
        if row is not None and row.spec.suspend:
            self.ask("resume")

    def _rest(self) -> None:
        """I7: the run comes to rest."""
        end = self.stage.clock.now() + LONGEST
        self._until(lambda: self._quiet() or self.stage.clock.now() > end)
        row = self.store.rows.get(self.uid)
        state = row.status.summary.state if row is not None else "removed"
        check(self._quiet(), "I7: no rest within %d virtual hours; %s", LONGEST // 3_600_000, state)
        if row is not None:
            self._check_rest(row)

    def _until(self, done: Callable[[], bool]) -> None:
        check(self.stage.play(done, MOST_STEPS), "I7: no rest, be it that nothing is left to come")

    def _quiet(self) -> bool:
        stage = self.stage
        if stage.ready or not all(server.up and not server.active for server in self.servers):
            return False
        row = self.store.rows.get(self.uid)
        if row is None:
            return self.witness.removed
        if row.meta.deleting or row.run(history=False).pending_request is not None:
            return False
        if any(job.live for job in self.launcher.jobs.values()):
            return False
        if "running" in self.witness.oracle.states.values():
            return False
        summary = row.status.summary
        missing = summary.reason is Reason.DEFINITION_MISSING
        waits = missing and self.scenario.definitions_after is None
        return summary.state in AT_REST or (
            summary.state == "pending" and (row.status.planned or waits)
        )

    def _check_rest(self, row: Row) -> None:
        """What must hold of a run at rest, and that another look changes nothing."""
        check(
            all(request in self.witness.answered for request in self.witness.requests),
            "a request is lost",
        )
        check(row.plan is None or repr(row.plan) == self.witness.plan_text, "I10: the plan changed")
        history = History(row.plan.graph, row.history) if row.plan is not None else None
        check(self.witness.sequence == len(row.history), "I8: changes are missing")
        summary = row.status.summary
        check(str(summary.state) == self.witness.oracle.state, "the summary says %s", summary.state)
        # Drop what is derived: the same must come back.
        before = (row.status, row.history, {key: s.value for key, s in row.records.items()})
        kept = row.status
        row.status = RunStatus(reply=kept.reply, warnings=kept.warnings, earlier=kept.earlier)
        self._look_again()
        now = (row.status, row.history, {key: s.value for key, s in row.records.items()})
        for was, found in zip(before, now, strict=True):
            check(was == found, "another look changes %s to %s", was, found)
        version = row.meta.resource_version
        self._look_again()
        check(row.meta.resource_version == version, "a look at a run at rest writes")
        assert history is None or history.state == summary.state

    def _look_again(self) -> None:
        self.weather.counting = False
        self.servers[0].touch(self.uid)
        self._until(lambda: not self.stage.ready and not self.servers[0].active)
        self.weather.counting = True

    def _finish(self) -> None:
        """Go on as an operator would: as told, or by chance until the run is over."""
        random = self.stage.random
        if self.scenario.follow is not None:
            for operation in self.scenario.follow:
                self._then(operation)
        else:
            self._operate(random)
        row = self.store.rows.get(self.uid)
        if row is None:
            return
        self._check_log(row)
        if self.scenario.run.ttl is not None and str(row.status.summary.state) in OVER:
            end = self.stage.clock.now() + LONGEST
            self._until(lambda: self.witness.removed or self.stage.clock.now() > end)
            check(self.witness.removed, "the run stays beyond its ttl")
        elif self.scenario.follow is not None:
            self._check_idle()
        elif random.random() < 0.2:
            self._then("delete")
            check(self.witness.removed and not self.launcher.jobs, "a deleted run stays")

    def _operate(self, random: Random) -> None:
        for round_ in range(6):
            row = self.store.rows.get(self.uid)
            if row is None:
                return
            choices = {
                "pending": ("run", "cancel"),
                "aborted": ("cancel", "recovery") if round_ < 3 else ("cancel",),
                "complete": ("rollback", "", ""),
            }.get(str(row.status.summary.state), ("",))
            operation = random.choice(choices)
            if not operation:
                break
            self._then(operation)
        row = self.store.rows.get(self.uid)
        if row is None:
            return
        state = str(row.status.summary.state)
        check(state in OVER, "I7: the run stays %s", state)

    def _check_idle(self) -> None:
        """A run that is over costs nothing: nobody looks at it but the resync."""
        before, minutes = self._reconciles(), 10
        end = self.stage.clock.now() + minutes * 60_000
        self.stage.at(end, lambda: None)
        self._until(lambda: self.stage.clock.now() >= end)
        most = (minutes * 60_000 // RESYNC + 3) * len(self.servers)
        check(self._reconciles() - before <= most, "a run that is over keeps its servers busy")

    def _reconciles(self) -> int:
        return sum(server.reconciles for server in self.servers)

    def _then(self, operation: str) -> None:
        self.ask(operation)
        self._until(lambda: not self.stage.ready)
        self._rest()

    def _check_log(self, row: Row) -> None:
        """I8: the log that notifications are read from has every change once, numbered."""
        logged = self.stage.call("log", self.store.changes(None, 100_000), "user", GatewayAway())
        self._until(lambda: logged.settled)
        mine = [each for each in logged.value if each.run == self.uid]
        check([each.sequence for each in mine] == list(range(1, len(mine) + 1)), "I8: gaps")
        check(tuple(each.change for each in mine) == row.history, "I8: the log differs")


def definitions(
    facts: RunFacts, changed: bool = False
) -> tuple[list[PipelineTaskSpec], PipelineSpec]:
    """The definitions of a run; `changed`: as somebody edits them when it is under way."""
    tasks = [
        builders.task_spec(
            task.ref,
            (True, True, True, True) if changed else task.undos,
            start_timeout=f"{task.start_timeout}ms",
            grace_period=f"{task.grace}ms",
        )
        for task in facts.tasks
    ]
    return tasks, builders.pipeline_spec(NAME, *(_entry(task) for task in facts.tasks))


def run_of(facts: RunFacts) -> PipelineRunSpec:
    """The run as its author writes it."""
    return builders.run_spec(
        NAME,
        dict(facts.parameters),
        auto_rollback=facts.auto_rollback,
        on_abort=facts.on_abort,
        timeout=f"{facts.timeout}ms" if facts.timeout is not None else None,
        ttl_after_finished=f"{facts.ttl}ms" if facts.ttl is not None else None,
    )


def _entry(task: TaskFacts) -> Any:
    retries = None
    if task.retries:
        retries = RetriesSpec(limit=task.retries, delay=f"{task.delay}ms")
    return builders.entry(
        task.ref,
        task.needs,
        condition=task.condition,
        timeout=f"{task.timeout}ms" if task.timeout is not None else None,
        retries=retries,
    )
