"""The witness: sees what is written and what truly happens, and calls the oracle.

What the store holds is compared with what the scripts did, and both with the rules.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.oracle import RunOracle
from tests.simulation.rules import SLACK, Key, RunFacts, check

from xaas_core.engine.records import TaskRecord
from xaas_core.ports import Part, RunnerKey, Writes
from xaas_core.testing.memory_store import MemoryStore, Row
from xaas_core.testing.scripted import Job, Process, Watcher, named
from xaas_core.testing.stage import Promise, Stage
from xaas_runner.contract import BeginAnswer, FinishAnswer, FinishCall

OVER = ("complete", "cancelled")


class Witness(Watcher):
    """Watches one run. `jobs` is the launcher's own list."""

    def __init__(self, stage: Stage, facts: RunFacts, faults: Faults) -> None:
        self._stage = stage
        # Where two act at once, or a dead server's request arrives, a second Job may be started:
        # the gateway turns its runner away.
        self._strict = faults.strict
        self._timed = not faults.skew
        self.oracle = RunOracle(facts, self._strict, self._timed)
        self.rows: dict[str, Row] = {}
        self.jobs: dict[RunnerKey, Job] = {}
        self.erased: Collection[RunnerKey] = ()
        self.requests: dict[str, str] = {}
        self.answered: dict[str, bool] = {}
        self.suspended_since: int | None = None  # in steps of the stage
        self.removed = False
        self.plan_text = ""
        self.sequence = 0
        self._executed: set[tuple[Key, int, int]] = set()
        self._reported: dict[tuple[RunnerKey, int, str], tuple[FinishCall, int]] = {}

    # --- what is written ---

    def saw_record(
        self, row: Row, old: TaskRecord | None, new: TaskRecord, by_runner: bool
    ) -> None:
        """A record was written."""
        if self.removed:
            return  # on its way for so long that there is no run any more: it is collected
        last = new.last
        self._stage.note("  record %s/%s %s", new.ref, new.side, Shown(last))
        if by_runner and last is not None and len(last.steps) == 1:
            self._check_suspended((new.ref, str(new.side)))
        self.oracle.saved(old, new, by_runner, self._stage.clock.now())
        if last is None or old is None or old.last is None:
            return
        key = (new.ref, str(new.side))
        if last.over and not old.last.over and last.begun and last.steps[-1].finished_at is None:
            playing = [p for p in self._processes(key) if p.playing is not None]
            check(not playing, "the outcome of %s is recorded while its script runs", key)
        for step in last.steps:
            was = old.last.step(step.index)
            if step.finished_at is None or (was is not None and was.finished_at is not None):
                continue
            runner = RunnerKey(row.meta.uid, new.ref, new.side, last.number, last.launch)
            call, at = self._reported[runner, step.index, step.nonce]
            limit = self.oracle.tasks[new.ref].timeout
            since = at - last.steps[0].begun_at
            good = call["outcome"] == "succeeded"
            if limit is None or (self._timed and since <= limit):
                check(step.succeeded == good, "%s ended in time and doesn't count", key)
            elif self._timed and call["elapsed_ms"] > limit + SLACK:
                check(not step.succeeded, "%s ended late and counts", key)
            counts = not call["terminated"] and (step.succeeded or not good)
            delta = tuple(call["delta"]) if counts and str(step.reason) != "Timeout" else ()
            late = limit is not None and (
                since > limit or not self._timed
            )  # between the two clocks' verdicts
            edits = [change for each in old.last.steps for change in each.delta]
            held = [each.delta for each in last.steps if each.delta]
            left = self.oracle.left_by(key, held)
            same = left == self.oracle.left_by(key, [(*edits, *delta)])
            unchanged = left == self.oracle.left_by(key, [edits])
            check(same or (late and unchanged), "the delta of %s was changed", key)
            check(len(held) <= 1, "the steps of %s tell each for itself what they changed", key)

    def _check_suspended(self, key: Key) -> None:
        """While a run is suspended no task begins: no call of a runner that came after it."""
        actor, since = self._stage.current, self.suspended_since
        if actor is None or since is None or self.oracle.tries[key]:
            return
        check(actor.born <= since, "%s begins in a suspended run", key)

    def saw_run(self, row: Row, part: Part) -> None:
        """A run was written."""
        if part is Part.REMOVED:
            self._stage.note("  run removed")
            self.removed = True
            live = [p for job in self.jobs.values() for p in job.processes if p.alive]
            playing = [p for p in live if p.playing is not None]
            check(not playing, "the run is removed while a script runs")
            check(not (self._strict and live), "the run is removed while a runner lives")
            return
        if row.plan is not None and not self.plan_text:
            self.plan_text = repr(row.plan)
        new = row.history[self.sequence :]
        if not new and part is not Part.STATUS:
            return
        reply = row.status.reply
        answers = reply is not None and reply.id not in self.answered
        if reply is not None and answers:
            self._check_reply(row)
        for change in new:
            name = f"{change.ref}/{change.side}" if change.ref is not None else "RUN"
            self._stage.note("  ** %s %s (%s)", name, change.state, change.reason)
            asked = str(reply.operation) if answers and reply is not None else None
            self.oracle.changed(change, self._stage.clock.now(), asked)
            if change.ref is None and str(change.state) in OVER:
                self._check_over(row)
        self.sequence += len(new)

    def _check_reply(self, row: Row) -> None:
        reply = row.status.reply
        assert reply is not None
        check(reply.id in self.requests, "an operation is answered that nobody asked for")
        check(row.request is not None and row.request.id == reply.id, "an older one is answered")
        self.answered[reply.id] = reply.accepted
        if reply.accepted:
            # Refused operations change nothing about it.
            self.oracle.starts = (str(reply.operation), str(reply.state)) == ("run", "pending")
        self._stage.note("  reply %s: %s", reply.operation, reply.accepted)

    def _check_over(self, row: Row) -> None:
        """I5: no runner that could still do something outlives its run."""
        for job in self.jobs.values():
            stored = row.records.get((job.key.ref, job.key.side))
            attempts = stored.value.attempts if stored is not None else ()
            recorded = any(a.number == job.key.attempt and a.over for a in attempts)
            # One that was started ahead, and that nothing was ever intended for, waits in vain.
            harmless = recorded or not attempts
            check(
                not self._strict or harmless or not job.live,
                "I5: the run is over, %s lives",
                named(job.key),
            )
            playing = any(p.playing is not None for p in job.processes if p.alive)
            check(not playing, "I5: the run is over, a script of %s runs", named(job.key))

    def _processes(self, key: Key) -> list[Process]:
        """The live processes of a task run."""
        return [
            process
            for job in self.jobs.values()
            if (job.key.ref, str(job.key.side)) == key
            for process in job.processes
            if process.alive
        ]

    # --- Watcher ---

    def job_started(self, job: Job) -> None:
        """I1, I2: it is intended, and no other is there."""
        key = (job.key.ref, str(job.key.side))
        self.oracle.launched.add((key, job.key.attempt))
        if not self._strict:
            return
        row = self.rows.get(job.key.run)
        stored = row.records.get((job.key.ref, job.key.side)) if row is not None else None
        last = stored.value.last if stored is not None else None
        check(last is not None, "I1: %s is started without an intent", key)
        assert last is not None
        same = (last.number, last.launch) == (job.key.attempt, job.key.launch)
        check(same, "I1: %s is started, but its intent is another", key)
        check(not last.over, "I2: %s is started, but it is over", key)
        # Of a Job that was deleted by hand a last begin may be under way.
        unbegun = not last.begun or job.key in self.erased
        check(unbegun, "I2: %s is started, but it has begun", key)
        check(self.oracle.states[key] in ("pending", "running"), "I2: %s is over", key)
        for other in self.jobs.values():
            if other is not job and (other.key.ref, str(other.key.side)) == key:
                check(not other.live, "I1: two runners of %s", key)

    def script_begins(self, process: Process, step: int, answer: BeginAnswer) -> None:
        """At most once; alone; with the right params; only if that is recorded."""
        runner = process.job.key
        key = (runner.ref, str(runner.side))
        self._stage.note(">> script %s/%s#%d step %d", *key, runner.attempt, step)
        place = (key, runner.attempt, step)
        check(place not in self._executed, "I11: %s step %s runs twice in an attempt", key, step)
        self._executed.add(place)
        row = self.rows.get(runner.run)
        if row is None:
            return
        attempt = row.records[runner.ref, runner.side].value.attempts[-1]
        record = attempt.step(step) if attempt.number == runner.attempt else None
        check(record is not None and record.nonce == process.nonce, "%s runs unrecorded", key)
        for side in ("do", "undo"):
            for other in self._processes((runner.ref, side)):
                beside = other is not process and other.playing is not None
                check(not beside, "a do and its undo, or two attempts, of %s overlap", runner.ref)
        wanted = self.oracle.params_at(key, step)
        check(answer["params"] == wanted, "params of %s: %s, not %s", key, answer["params"], wanted)
        script = f"{key[1]} {runner.ref} {step}"
        task = self.oracle.tasks[runner.ref]
        if key[1] == "undo" and not task.undos[step]:
            script = ""
        check(answer["script"] == script, "%s got the script %r", key, answer["script"])
        check(answer["context"]["attempt"] == runner.attempt, "wrong context")

    def script_ended(self, process: Process, call: FinishCall) -> None:
        """Remember what will be reported."""
        runner = process.job.key
        self._stage.note("<< script %s step %d %s", named(runner), call["step"], call["outcome"])
        self._reported[runner, call["step"], process.nonce] = (call, self._stage.clock.now())

    def delivered(self, process: Process, call: FinishCall, answer: FinishAnswer) -> None:
        """Nothing to check: what was recorded is judged when it is written."""

    def run_forgotten(self, jobs: Collection[Job]) -> None:
        """I5: a run is removed when nothing of it lives."""
        for job in jobs:
            alive = any(process.alive for process in job.processes)
            check(not (self._strict and alive), "I5: %s lives as its run goes", named(job.key))


class WatchedStore(MemoryStore):
    """A store that shows what is written to the witness."""

    def __init__(
        self, stage: Stage, witness: Witness, between: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(stage.clock)
        self._stage = stage
        self._witness = witness
        self._between = between
        self._for_runner = False
        witness.rows = self.rows
        self._committing: Promise | None = None

    async def between(self) -> None:
        """Others may read a commit that is half written, or the server dies there."""
        await self._between()

    async def commit(self, writes: Writes) -> None:
        """Write; commits of one run don't mix."""
        while self._committing is not None:
            await self._committing
        mine = self._committing = Promise(self._stage)
        try:
            await super().commit(writes)
        finally:
            self._committing = None
            mine.settle()

    def _save(self, row: Row, record: TaskRecord, version: str | None) -> None:
        old = row.records.get((record.ref, record.side))
        super()._save(row, record, version)
        by_runner = self._for_runner
        self._witness.saw_record(row, old.value if old is not None else None, record, by_runner)

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """Write for a runner."""
        self._for_runner = True
        try:
            await super().save_record(uid, record, version)
        finally:
            self._for_runner = False

    def seen(self, row: Row, part: Part) -> None:
        """Show it."""
        self._witness.saw_run(row, part)


class Shown:
    """An attempt in a line of a trace."""

    def __init__(self, attempt: Any) -> None:
        self.attempt = attempt

    def __str__(self) -> str:
        if self.attempt is None:
            return "-"
        a = self.attempt
        steps = ",".join(
            f"{s.index}{'' if s.finished_at is None else '+' if s.succeeded else '!'}"
            for s in a.steps
        )
        stop = f" stop={a.stop.reason}" if a.stop is not None else ""
        end = f" {'ok' if a.succeeded else a.reason}" if a.over else ""
        return f"#{a.number}.{a.launch} r{a.round} [{steps}]{stop}{end}"
