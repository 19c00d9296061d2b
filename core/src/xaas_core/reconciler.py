"""The reconciler: gather, decide, apply, for one run at a time.

Level-triggered: every trigger (a user's write, a runner's report, a runner's end, a timer, a
restart) calls the same function with the run's uid only. A lost or doubled trigger changes nothing,
and a crash anywhere is made up for by the next call.
"""

from collections.abc import Mapping
from dataclasses import replace

from xaas_core.admission import Admission
from xaas_core.engine.decide import decide
from xaas_core.engine.facts import Decision, End, Facts, Key, Launch, Settings, Sighting
from xaas_core.engine.folds import Folds
from xaas_core.engine.history import History
from xaas_core.engine.params import MAX_BYTES, Conflict, Inputs, conflicts, encode, size
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Failure, TaskRecord, Verdict
from xaas_core.engine.states import Reason, RunState, Side, TaskState
from xaas_core.lag import behind
from xaas_core.models.fields import optional_milliseconds
from xaas_core.models.objects import Run, RunStatus, RunWarning, Summary
from xaas_core.planner import NotPlannable, make_plan
from xaas_core.ports import (
    LaunchOrder,
    NotFound,
    Ports,
    RunnerKey,
    Script,
    ScriptKind,
    Stored,
    Writes,
)
from xaas_core.tokens import Tokens

CONDITIONS_AT_ONCE = 4
"""Conditions, of up to a second each, that are evaluated before what is decided is written."""

REPLAN_AFTER = 1_000
REPLAN_AT_LEAST_EVERY = 30_000
"""Milliseconds until a run whose definitions are missing looks for them again; the longer it waits
already, the more seldom it looks."""

STARTS = {RunState.PROCESSING: Side.DO, RunState.CANCELLING: Side.UNDO}
"""What is started in which state of a run."""

MAX_WARNINGS = 100
"""Warnings that a run carries: enough to see what is wrong, not enough to be a burden."""

MAX_EARLIER = 16
"""Answers that a run keeps beside the newest: who asked has that many decisions' time to look."""

MAX_KEYS = 20
"""Keys of a path that a warning names. (An object may nest as deep as it likes.)"""

MAX_MESSAGE = 20_000
"""Characters that say why a run can't start."""


class Gathered:
    """What was read for one decision, and what was found out for it."""

    def __init__(self, run: Run, plan: Plan, history: History) -> None:
        self.run = run
        self.plan = plan
        self.history = history
        self.records: dict[Key, Stored[TaskRecord]] = {}
        self.sightings: Mapping[Key, Sighting] = {}
        self.verdicts: dict[Key, Verdict] = {}
        self.warnings = list(run.status.warnings)
        self.planned = True
        self.new_plan = False
        self.missing: NotPlannable | None = None


class Reconciler:
    """Moves runs on. One call at a time per run; different runs may overlap.

    `admission` judges what a run is planned from.
    """

    def __init__(self, ports: Ports, tokens: Tokens, admission: Admission | None = None) -> None:
        self._ports = ports
        self._tokens = tokens
        self._admission = admission or Admission(ports.store, ports.evaluator)
        self._folds = Folds()

    async def reconcile(self, uid: str, *, fresh: bool = False) -> int | None:
        """Do what the run needs now; the answer is when to look again, if nothing happens before.

        It is decided from what was last seen; `fresh`: from what is read now. Raises Conflict if
        something was written meanwhile (call again at once, for a fresh look), and Unavailable.
        """
        try:
            gathered = await self._gather(uid, fresh)
            if gathered.run.meta.deleting and not gathered.plan.tasks:
                # Never planned; or its plan, and its records, were removed before it was.
                await self._remove(gathered.run)
                return None
            decision = await self._decide(gathered)
            if not fresh and not await self._knows_all(gathered, decision):
                gathered = await self._gather(uid, fresh=True)
                decision = await self._decide(gathered)
            await self._write(gathered, decision)
        except NotFound:
            return None  # removed, be it while this was under way
        await self._act(gathered, decision)
        if decision.questions:
            decision.wake(self._ports.clock.now())
        if gathered.missing is not None and _is_pending(decision) and not decision.remove:
            now = self._ports.clock.now()
            age = now - gathered.run.meta.created_at
            decision.wake(now + min(max(age // 10, REPLAN_AFTER), REPLAN_AT_LEAST_EVERY))
        return decision.wake_at

    async def _knows_all(self, gathered: Gathered, decision: Decision) -> bool:
        """Whether no record is newer than those that were decided on, where that matters.

        Their own writes are guarded. But a run must not leave a state while an intent stands unfenced
        that we haven't seen, for another one may have written it, who led before us; nor may a runner
        be ended as one that was started ahead, and in vain, if there is an intent for it.
        """
        assert decision.after is not None
        side = STARTS.get(gathered.history.state) if _moves_run(decision) else None
        keys = [] if side is None else [(ref, side) for ref in _open(decision.after, side)]
        keys += [(end.ref, end.side) for end in decision.ends if not _intended(gathered, end)]
        if not keys:
            return True
        live = await self._ports.store.records(gathered.run.meta.uid, keys)
        return all(_version(live, key) == _version(gathered.records, key) for key in keys)

    async def _gather(self, uid: str, fresh: bool) -> Gathered:
        store = self._ports.store
        run = await (store.get_run(uid) if fresh else store.seen_run(uid))
        plan = await store.plan(uid)
        if plan is None:
            none = Plan(run.spec.name, ())
            gathered = Gathered(run, none, History(none.graph))
            # One that was cancelled before it was planned needs no plan any more.
            wanted = not run.history and not run.meta.deleting
            gathered.planned = wanted and await self._make_plan(gathered)
            if not run.meta.deleting:
                gathered.history = History(gathered.plan.graph, run.history)
            return gathered
        gathered = Gathered(run, plan, self._folds.of(uid, plan.graph, run.history))
        gathered.records = await store.records(uid)
        missing = set(behind(gathered.history, gathered.records))
        if fresh:
            missing |= _doubtful(gathered)
        if missing:
            gathered.records |= await store.records(uid, missing)
        if not gathered.records:
            return gathered
        # Runners are looked at after the records were read: whatever a runner reports before it is
        # seen to be gone is either in the records or makes the guarded write fail.
        runners = [
            RunnerKey(uid, *key, last.number, last.launch)
            for key in gathered.history.index.open & gathered.records.keys()
            if (last := gathered.records[key].value.last) is not None
        ]
        gathered.sightings = await self._ports.launcher.sight(uid, runners)
        return gathered

    async def _make_plan(self, gathered: Gathered) -> bool:
        try:
            gathered.plan = await make_plan(self._ports.store, self._admission, gathered.run)
            gathered.new_plan = True
        except NotPlannable as missing:
            gathered.missing = missing
        return gathered.new_plan

    async def _decide(self, gathered: Gathered) -> Decision:
        """Decide; as long as the engine has questions, answer them and decide again.

        Conditions take time. So that no operation waits long for its answer, an answer is written
        before any of them is evaluated, and only some are evaluated at a time: the decision then
        keeps questions, which the next call answers.
        """
        conditions = CONDITIONS_AT_ONCE
        while True:
            decision = decide(self._facts(gathered))
            assert decision.after is not None
            slow = [key for key in decision.questions if _has_condition(gathered.plan, key)]
            if decision.reply is not None:
                conditions = 0
            held = slow[conditions:]
            answered = [key for key in decision.questions if key not in held]
            if not answered:
                return decision
            conditions -= len(slow) - len(held)
            for key in answered:
                gathered.verdicts[key] = await self._verdict(gathered, decision, key)

    def _facts(self, gathered: Gathered) -> Facts:
        run, spec = gathered.run, gathered.run.spec
        return Facts(
            now=self._ports.clock.now(),
            plan=gathered.plan,
            history=run.history,
            folded=gathered.history,
            records={key: stored.value for key, stored in gathered.records.items()},
            sightings=gathered.sightings,
            settings=Settings(
                auto_rollback=spec.auto_rollback,
                on_abort=spec.on_abort,
                suspend=spec.suspend,
                timeout=optional_milliseconds(spec.timeout),
                ttl_after_finished=optional_milliseconds(spec.ttl_after_finished),
            ),
            request=run.pending_request,
            deleting=run.meta.deleting,
            starts=run.status.reply is not None and run.status.reply.starts,
            verdicts=gathered.verdicts,
        )

    async def _verdict(self, gathered: Gathered, decision: Decision, key: Key) -> Verdict:
        """Whether a task run may start: its input fits, and its condition holds."""
        ref, side = key
        history = decision.after
        assert history is not None
        round_ = history.cell(ref, side).round
        records = {k: stored.value for k, stored in gathered.records.items()} | decision.records
        inputs = Inputs(encode(gathered.run.spec.parameters), gathered.plan.graph, history, records)
        params = inputs.of(ref, side)
        if (length := size(params)) > MAX_BYTES:
            text = f"the merged params take {length} bytes as JSON; at most {MAX_BYTES} are allowed"
            failure = Failure(Reason.PARAMS_TOO_LARGE, text)
            return Verdict(round_, False, Reason.PARAMS_TOO_LARGE, failure)
        if side is Side.DO:
            _warn(gathered, conflicts(gathered.plan.graph, inputs.deltas(ref)))
        condition = gathered.plan.by_ref[ref].condition
        if side is Side.UNDO or condition is None:
            return Verdict(round_, True)
        graph = gathered.plan.graph
        ancestors = graph.ancestors(ref)
        states = {r: history.do(r).state.value for r in graph.order if r in ancestors}
        script = Script(condition, ScriptKind.CONDITION)
        found = await self._ports.evaluator.evaluate(script, params, states)
        reason = Reason.CONDITION_ERROR if found.failure is not None else Reason.NONE
        return Verdict(round_, found.value, reason, found.failure)

    async def _write(self, gathered: Gathered, decision: Decision) -> None:
        """The one place where a decision becomes durable."""
        run = gathered.run
        status = _status(gathered, decision)
        records = [
            (record, stored.version if (stored := gathered.records.get(key)) is not None else None)
            for key, record in decision.records.items()
        ]
        plan = gathered.plan if gathered.new_plan else None
        is_new = status != run.status or run.unseen
        if plan is None and not records and not is_new and not decision.changes:
            return
        # The status goes with every commit: it moves the run's version, so that of two servers
        # that decide at once one meets a Conflict, even where only records are written.
        writes = Writes(run, plan, records, status, decision.changes)
        await self._ports.store.commit(writes)

    async def _act(self, gathered: Gathered, decision: Decision) -> None:
        """Effects, after everything they follow from is durable."""
        run, launcher = gathered.run, self._ports.launcher
        uid = run.meta.uid
        for end in decision.ends:
            runner = RunnerKey(uid, end.ref, end.side, end.attempt, end.launch)
            await launcher.end(runner, end.grace, begun=end.begun)
        if decision.launches:
            await launcher.start(*(self._order(gathered, each) for each in decision.launches))
        if decision.ahead:
            await launcher.prepare(*(self._order(gathered, each) for each in decision.ahead))
        for release in decision.releases:
            runner = RunnerKey(uid, release.ref, release.side, release.attempt, release.launch)
            await launcher.release(runner)
        if decision.remove:
            await self._remove(run)
        elif decision.retire:
            await self._ports.store.retire_run(run)

    def _order(self, gathered: Gathered, launch: Launch) -> LaunchOrder:
        meta = gathered.run.meta
        runner = RunnerKey(meta.uid, launch.ref, launch.side, launch.attempt, launch.launch)
        return LaunchOrder(
            run=meta.uid,
            namespace=meta.namespace,
            ref=launch.ref,
            side=launch.side,
            attempt=launch.attempt,
            launch=launch.launch,
            steps=launch.steps,
            task=gathered.plan.by_ref[launch.ref],
            token=self._tokens.issue(runner),
        )

    async def _remove(self, run: Run) -> None:
        await self._ports.launcher.forget(run.meta.uid)
        await self._ports.store.remove_run(run.meta.uid, run.meta.resource_version)


def _intended(gathered: Gathered, end: End) -> bool:
    """Whether an intent is known of the task run whose runner is to be ended."""
    stored = gathered.records.get((end.ref, end.side))
    return stored is not None and stored.value.last is not None


def _open(history: History, side: Side) -> list[str]:
    """The refs of which a runner may have been intended, and hasn't ended."""
    return [
        ref
        for state in (TaskState.PENDING, TaskState.RUNNING)
        for ref in history.index.free(side, state)
    ]


def _doubtful(gathered: Gathered) -> set[Key]:
    """The task runs of which a record may be newer than the one that was seen: those that are under
    way, and those that may have been started."""
    side = STARTS.get(gathered.history.state)
    found = {(ref, side) for ref in _open(gathered.history, side)} if side is not None else set()
    for key, stored in gathered.records.items():
        last = stored.value.last
        if last is None or not last.over:
            found.add(key)
    return found


def _version(records: Mapping[Key, Stored[TaskRecord]], key: Key) -> str | None:
    stored = records.get(key)
    return stored.version if stored is not None else None


def _has_condition(plan: Plan, key: Key) -> bool:
    ref, side = key
    return side is Side.DO and plan.by_ref[ref].condition is not None


def _moves_run(decision: Decision) -> bool:
    """Whether the run itself leaves a state in which something may have been started."""
    moves = [change.state for change in decision.changes if change.ref is None]
    return any(state is not RunState.PROCESSING for state in moves)


def _is_pending(decision: Decision) -> bool:
    return decision.after is not None and decision.after.state is RunState.PENDING


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else text[:length] + " …"


def _warn(gathered: Gathered, found: list[Conflict]) -> None:
    for conflict in found[:MAX_WARNINGS]:
        if len(gathered.warnings) >= MAX_WARNINGS:
            return
        path = tuple(_short(key) for key in conflict.path[:MAX_KEYS])
        shown = replace(conflict, path=path)
        warning = RunWarning("ParamsConflict", shown.message(), path, conflict.refs)
        if warning not in gathered.warnings:
            gathered.warnings.append(warning)


def _status(gathered: Gathered, decision: Decision) -> RunStatus:
    history = decision.after
    assert history is not None
    before = gathered.run.status
    summary = _summary(history)
    if gathered.missing is not None and _is_pending(decision):
        missing = gathered.missing
        message = _short(str(missing), MAX_MESSAGE)
        summary = replace(summary, reason=missing.reason, message=message)
    earlier, reply = before.earlier, before.reply
    if decision.reply is not None:
        earlier = (earlier if reply is None else (*earlier, reply))[-MAX_EARLIER:]
        reply = decision.reply
    return RunStatus(
        summary=summary,
        warnings=tuple(gathered.warnings),
        reply=reply,
        planned=gathered.planned,
        earlier=earlier,
    )


def _summary(history: History) -> Summary:
    return Summary(
        state=history.state,
        reason=history.reason,
        message=history.message,
        started_at=history.started_at,
        finished_at=history.finished_at,
        counts=history.counts(),
    )
