"""A bench for what surrounds the engine: the store in memory, a launcher that is moved by hand.

The reconciler, the gateway, admission and the rest are the product's own.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from xaas_core.admission import Admission
from xaas_core.children import Children
from xaas_core.engine.facts import Key, Phase, Request, Sighting
from xaas_core.engine.history import History
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Operation, Reason, RunState, Side
from xaas_core.gateway import Gateway
from xaas_core.models.objects import Run
from xaas_core.models.pipeline import PipelineSpec, PipelineTaskRef
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import Kind, LaunchOrder, LogGone, Ports, RunnerKey
from xaas_core.reconciler import Reconciler
from xaas_core.testing.builders import NAMESPACE, entry, pipeline_spec
from xaas_core.testing.clock import VirtualClock
from xaas_core.testing.memory_store import MemoryStore
from xaas_core.testing.scripted import ScriptedEvaluator
from xaas_core.tokens import Tokens
from xaas_runner.contract import BeginAnswer, DeltaOp, ErrorInfo, FinishAnswer, FinishCall


class HandLauncher:
    """`ports.Launcher`: a runner is there from its start until a test says otherwise."""

    def __init__(self) -> None:
        self.orders: list[LaunchOrder] = []
        self.ended: list[tuple[RunnerKey, int]] = []
        self.released: list[RunnerKey] = []
        self.prepared: list[LaunchOrder] = []
        self.forgotten: list[str] = []
        self.seen: dict[RunnerKey, Sighting] = {}

    async def start(self, *orders: LaunchOrder) -> None:
        """See `ports.Launcher`."""
        for order in orders:
            key = RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch)
            if key not in self.seen:
                self.orders.append(order)
                self.seen[key] = Sighting(order.attempt, order.launch, Phase.LIVE)

    async def prepare(self, *orders: LaunchOrder) -> None:
        """See `ports.Launcher`."""
        self.prepared += orders

    async def end(self, runner: RunnerKey, grace: int, *, begun: bool = False) -> None:
        """See `ports.Launcher`."""
        self.ended.append((runner, grace))

    async def sight(self, run: str, runners: Collection[RunnerKey]) -> dict[Key, Sighting]:
        """See `ports.Launcher`."""
        gone = {key: Sighting(key.attempt, key.launch, Phase.ABSENT) for key in runners}
        told = {(key.ref, key.side): self.seen.get(key, gone[key]) for key in runners}
        for key, seen in self.seen.items():
            if key.run == run and seen.phase is Phase.LIVE:
                told.setdefault((key.ref, key.side), seen)
        return told

    async def release(self, runner: RunnerKey) -> None:
        """See `ports.Launcher`."""
        self.released.append(runner)

    async def forget(self, run: str) -> None:
        """See `ports.Launcher`."""
        self.forgotten.append(run)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """See `ports.Launcher`."""


class KeptLogs:
    """`ports.Logs`: what a test put there."""

    def __init__(self) -> None:
        self.texts: dict[tuple[RunnerKey, int], bytes] = {}
        self.gone: set[tuple[RunnerKey, int]] = set()

    async def read(
        self, runner: RunnerKey, step: int, offset: int, *, ended: bool = False
    ) -> AsyncIterator[bytes]:
        """See `ports.Logs`."""
        if (runner, step) in self.gone:
            raise LogGone(f"the log of attempt {runner.attempt}, step {step} isn't kept any more")
        text = self.texts.get((runner, step), b"")[offset:]
        for start in range(0, len(text), 7):
            yield text[start : start + 7]


class Bench:
    """Everything of one server, and what a user and a runner do."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.launcher = HandLauncher()
        self.logs = KeptLogs()
        self.evaluator = ScriptedEvaluator()
        ports = Ports(self.store, self.launcher, self.evaluator, self.logs, self.clock)
        self.tokens = Tokens(b"a key of thirty-two bytes, or so")
        self.reconciler = Reconciler(ports, self.tokens)
        self.gateway = Gateway(self.store, self.clock)
        self.admission = Admission(self.store, self.evaluator)
        self.children = Children(self.gateway, self.store, self.admission, self.logs)
        self.uid = ""

    # --- what a user does ---

    async def define(self, *specs: PipelineTaskSpec | PipelineSpec) -> None:
        """Create definitions."""
        for spec in specs:
            kind = Kind.TASK if isinstance(spec, PipelineTaskSpec) else Kind.PIPELINE
            await self.store.create_definition(kind, NAMESPACE, spec, None)

    async def start(
        self,
        *tasks: PipelineTaskSpec,
        edges: Mapping[str, str] | None = None,
        conditions: Mapping[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
        **more: Any,
    ) -> str:
        """A run of a pipeline of `tasks`; `edges` say what each ref needs, a letter each; `conditions`
        are `scripted.truth`'s."""
        needs, when = edges or {}, conditions or {}
        entries: list[PipelineTaskRef] = [
            entry(t.name, needs.get(t.name, ""), condition=when.get(t.name)) for t in tasks
        ]
        await self.define(*tasks, pipeline_spec("pipe", *entries))
        spec = PipelineRunSpec(name="pipe", parameters=parameters or {}, **more)
        request = Request("first", Operation.RUN)
        made = await self.store.create_run(NAMESPACE, spec, Target.PIPELINE, request, None)
        self.uid = made.meta.uid
        await self.reconcile()
        return self.uid

    async def ask(self, operation: Operation) -> Run:
        """Ask for an operation and let it be decided."""
        await self.store.request(self.uid, Request(f"{operation} {self.clock.now()}", operation))
        await self.reconcile()
        return await self.run()

    async def reconcile(self) -> int | None:
        """One reconcile of the run."""
        return await self.reconciler.reconcile(self.uid)

    # --- what there is ---

    async def run(self) -> Run:
        """The run."""
        return await self.store.get_run(self.uid)

    async def state(self) -> RunState:
        """Its state."""
        return (await self.run()).status.summary.state

    async def record(self, ref: str, side: Side = Side.DO) -> TaskRecord:
        """The record of a task run."""
        return (await self.store.records(self.uid))[ref, side].value

    async def history(self) -> History:
        """The states."""
        planned = await self.store.plan(self.uid)
        assert planned is not None
        return History(planned.graph, (await self.run()).history)

    async def runner(self, ref: str, side: Side = Side.DO) -> RunnerKey:
        """The newest runner of a task run."""
        last = (await self.record(ref, side)).last
        assert last is not None
        return RunnerKey(self.uid, ref, side, last.number, last.launch)

    # --- what a runner does ---

    async def begin(
        self, ref: str, step: int = 0, side: Side = Side.DO, nonce: str = "n"
    ) -> BeginAnswer:
        """Ask to begin a step."""
        runner = await self.runner(ref, side)
        call = {"step": step, "nonce": nonce, "runner": "pid-1"}
        return await self.gateway.begin(runner, call)  # type: ignore[arg-type]

    async def finish(self, ref: str, side: Side = Side.DO, **said: Any) -> FinishAnswer:
        """Report a step's end; well, unless `said` otherwise."""
        return await self.gateway.finish(await self.runner(ref, side), finished(**said))

    async def work(
        self, ref: str, *delta: DeltaOp, side: Side = Side.DO, raises: str = ""
    ) -> BeginAnswer:
        """A task of one step begins and ends; the answer to its begin."""
        runner = await self.runner(ref, side)
        answer = await self.begin(ref, (await self.record(ref, side)).attempts[-1].order[0], side)
        error: ErrorInfo | None = {"type": "ValueError", "message": raises} if raises else None
        outcome = "failed" if raises else "succeeded"
        await self.finish(ref, side, delta=list(delta), outcome=outcome, error=error)
        self.gone(runner)
        await self.reconcile()
        return answer

    def gone(self, runner: RunnerKey, reason: Reason = Reason.NONE) -> None:
        """All processes of a runner are gone."""
        seen = self.launcher.seen[runner]
        self.launcher.seen[runner] = replace(seen, phase=Phase.OVER, reason=reason)


def finished(**said: Any) -> FinishCall:
    """A finish message: of step 0, well, after 5 ms, unless `said` otherwise."""
    call: FinishCall = {
        "step": 0,
        "nonce": "n",
        "outcome": "succeeded",
        "elapsed_ms": 5,
        "delta": [],
        "error": None,
        "terminated": False,
    }
    return {**call, **said}  # type: ignore[typeddict-item]
