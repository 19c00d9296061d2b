"""Plays a run by hand: the store, the runners, the launcher and the clock around `decide`.

No ports, no I/O: every event writes what the gateway or a launcher would have left behind, and
`decide` is asked. Each outcome is checked on the way: by the independent `Rules`, by asking again,
which must add nothing, and by asking with the facts listed the other way round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from tests.core.kit.rules import Rules

from xaas_core.engine.decide import decide
from xaas_core.engine.draft import Draft
from xaas_core.engine.facts import (
    Decision,
    Facts,
    Key,
    Phase,
    Reply,
    Request,
    Settings,
    Sighting,
)
from xaas_core.engine.history import Change, History
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Attempt, Failure, StepRecord, TaskRecord, Verdict
from xaas_core.engine.states import (
    ENDED,
    SATISFIED,
    Operation,
    Reason,
    RunState,
    Side,
    TaskState,
)

START = 1_000_000
Judge = Callable[[Key, int], Verdict]


def holds(_: Key, round_: int) -> Verdict:
    """Every condition holds."""
    return Verdict(round_, True)


def conditions(values: Mapping[str, bool | str]) -> Judge:
    """Conditions by ref: True, False, or the text of an exception; True for others and undos."""

    def judge(key: Key, round_: int) -> Verdict:
        value = values.get(key[0], True) if key[1] is Side.DO else True
        if isinstance(value, str):
            failure = Failure("ValueError", value)
            return Verdict(round_, False, Reason.CONDITION_ERROR, failure)
        return Verdict(round_, value)

    return judge


@dataclass
class Play:
    """One run. Times are milliseconds; each event takes one.

    `crash`: every decision is lost after so many of its records were written, and made again.
    `thorough`: each decision is made three times to be compared.
    """

    plan: Plan
    settings: Settings = field(default_factory=Settings)
    judge: Judge = holds
    now: int = START
    history: list[Change] = field(default_factory=list)
    records: dict[Key, TaskRecord] = field(default_factory=dict)
    sightings: dict[Key, Sighting] = field(default_factory=dict)
    ending: set[Key] = field(default_factory=set)
    wake_at: int | None = None
    removed: bool = False
    deleting: bool = False
    replies: list[Reply] = field(default_factory=list)
    asked: list[Key] = field(default_factory=list)
    launched: list[tuple[str, Side, int, int]] = field(default_factory=list)
    crash: int | None = None
    thorough: bool = True
    _fold: History | None = None

    def __post_init__(self) -> None:
        self.rules = Rules(self.plan)

    # --- what a test reads ---

    @property
    def fold(self) -> History:
        """The states as they are."""
        if self._fold is None or self._fold.length != len(self.history):
            self._fold = History(self.plan.graph, self.history)
        return self._fold

    @property
    def state(self) -> RunState:
        """The run's state."""
        return self.fold.state

    def do(self, ref: str) -> TaskState:
        """State of the do of `ref`."""
        return self.fold.do(ref).state

    def undo(self, ref: str) -> TaskState:
        """State of the undo of `ref`."""
        return self.fold.undo(ref).state

    def dos(self) -> str:
        """The do side in short: `a:succeeded b:pending`."""
        return self._side(Side.DO)

    def undos(self) -> str:
        """The undo side in short."""
        return self._side(Side.UNDO)

    def _side(self, side: Side) -> str:
        cells = self.fold.cells[side]
        return " ".join(f"{task.ref}:{cells[task.ref].state}" for task in self.plan.tasks)

    def log(self, since: int = 0) -> list[str]:
        """The changes in short: `processing`, `a/do:running`."""
        return [
            str(c.state) if c.ref is None else f"{c.ref}/{c.side}:{c.state}"
            for c in self.history[since:]
        ]

    def reasons(self) -> dict[str, Reason]:
        """The last reason of each task run that has one, by `a/do`."""
        return {f"{c.ref}/{c.side}": c.reason for c in self.history if c.ref and c.reason}

    def attempts(self, ref: str, side: Side = Side.DO) -> tuple[Attempt, ...]:
        """The attempts of a task run."""
        record = self.records.get((ref, side))
        return record.attempts if record is not None else ()

    def live(self) -> list[Key]:
        """Task runs whose runner is there."""
        return [k for k, seen in sorted(self.sightings.items()) if seen.phase is Phase.LIVE]

    # --- deciding ---

    def facts(self, request: Request | None = None, verdicts: Mapping[Key, Verdict] = {}) -> Facts:
        """What `decide` is told now."""
        return Facts(
            now=self.now,
            plan=self.plan,
            history=tuple(self.history),
            records=dict(self.records),
            sightings=dict(self.sightings),
            settings=self.settings,
            request=request,
            deleting=self.deleting,
            verdicts=verdicts,
        )

    def reconcile(self, request: Request | None = None) -> Decision:
        """Decide and apply, answering the engine's questions."""
        decision = self._decided(request)
        if self.crash is not None:
            # The process dies after it has written so many of the records, and comes back.
            written = dict(list(decision.records.items())[: self.crash])
            self.records |= written
            self.rules.intended(written)
            decision = self._decided(request)
            if self.crash > len(decision.records):
                # It dies again, after all was written and before anything was done about it.
                self._write(decision)
                decision = self._decided(None)
        self._write(decision)
        self._act(decision)
        if self.thorough:
            self._check_quiet()
        return decision

    def _decided(self, request: Request | None) -> Decision:
        verdicts: dict[Key, Verdict] = {}
        decision = decide(self.facts(request, verdicts))
        while decision.questions:
            assert decision.after is not None
            self.asked += decision.questions
            for key in decision.questions:
                assert key not in verdicts, "asked twice"
                verdicts[key] = self.judge(key, decision.after.cell(*key).round)
            decision = decide(self.facts(request, verdicts))
        if not self.thorough:
            return decision
        facts = self.facts(request, verdicts)
        turned = replace(
            facts,
            records=dict(reversed(list(facts.records.items()))),
            sightings=dict(reversed(list(facts.sightings.items()))),
            verdicts=dict(reversed(list(verdicts.items()))),
        )
        assert replace(decide(turned), after=None) == replace(decision, after=None)
        self._check_narrow(facts, decision)
        return decision

    def _check_narrow(self, facts: Facts, decision: Decision) -> None:
        """What a decision doesn't look at would have changed nothing; what it is told of by its
        history's index is what there is."""
        with patch.object(Draft, "under_way", lambda draft: draft.in_order(_recorded(draft))):
            assert replace(decide(facts), after=None) == replace(decision, after=None)
        history = History(facts.plan.graph, facts.history)
        kept = {
            key: seen
            for key, seen in facts.sightings.items()
            if key in history.index.open or seen.held or seen.phase is Phase.LIVE
        }
        narrow = replace(facts, sightings=kept)
        assert replace(decide(narrow), after=None) == replace(decision, after=None)
        assert decision.after is not None
        check_index(decision.after)

    def _write(self, decision: Decision) -> None:
        self.records |= decision.records
        for change in decision.changes:
            self.history.append(change)
            self.rules.heard(change)
        self.rules.intended(decision.records)
        if decision.reply is not None:
            self.replies.append(decision.reply)

    def _act(self, decision: Decision) -> None:
        for end in decision.ends:
            seen = self.sightings[end.ref, end.side]
            assert (seen.attempt, seen.launch) == (end.attempt, end.launch)
            self.ending.add((end.ref, end.side))
        for launch in decision.launches:
            key = (launch.ref, launch.side)
            assert key not in self.live(), "one runner at a time"
            self.sightings[key] = Sighting(launch.attempt, launch.launch, Phase.LIVE)
            self.launched.append((*key, launch.attempt, launch.launch))
            self.ending.discard(key)
        self.removed = self.removed or decision.remove
        self.wake_at = decision.wake_at

    def _check_quiet(self) -> None:
        """Asked again, `decide` adds nothing."""
        again = decide(self.facts())
        added = (again.changes, again.records, again.questions, again.reply, again.launches)
        assert added == ([], {}, [], None, []), added

    # --- what users do ---

    def ask(self, operation: Operation, id_: str = "") -> Reply:
        """Ask for an operation; the answer."""
        self.now += 1
        count = len(self.replies)
        self.reconcile(Request(id_ or f"request-{count}", operation))
        assert len(self.replies) == count + 1, "every request is answered at once"
        return self.replies[-1]

    def suspend(self, suspend: bool) -> None:
        """Set `suspend`."""
        self.settings = replace(self.settings, suspend=suspend)
        self.tick()

    def delete(self) -> None:
        """Delete the run by force."""
        self.deleting = True
        self.tick()

    # --- what the clock and the launcher do ---

    def tick(self, milliseconds: int = 1) -> None:
        """Let time pass."""
        self.now += milliseconds
        self.reconcile()

    def lose(self, ref: str, side: Side = Side.DO, phase: Phase = Phase.OVER, **more: Any) -> None:
        """The runner is gone (or, with `phase`, refused, or without a trace)."""
        self.now += 1
        seen = self.sightings[ref, side]
        self.sightings[ref, side] = replace(seen, phase=phase, **more)
        self.ending.discard((ref, side))
        self.reconcile()

    # --- what runners do ---

    def may_begin(self, ref: str, side: Side = Side.DO) -> int | None:
        """The step that the gateway would let begin now."""
        seen = self.sightings.get((ref, side))
        attempts = self.attempts(ref, side)
        if seen is None or seen.phase is not Phase.LIVE or not attempts:
            return None
        attempt = attempts[-1]
        if attempt.over or (attempt.number, attempt.launch) != (seen.attempt, seen.launch):
            return None
        if attempt.stop is not None or any(not step.succeeded for step in attempt.steps):
            return None
        wanted = RunState.PROCESSING if side is Side.DO else RunState.CANCELLING
        if not attempt.begun and self.state is not wanted:
            return None
        left = [index for index in attempt.order if attempt.step(index) is None]
        return left[0] if left else None

    def running(self, ref: str, side: Side = Side.DO) -> StepRecord | None:
        """The step that runs now, if its runner is there."""
        attempts = self.attempts(ref, side)
        if (ref, side) not in self.live() or not attempts or attempts[-1].over:
            return None
        open_ = [step for step in attempts[-1].steps if step.finished_at is None]
        return open_[0] if open_ else None

    def begin(self, ref: str, side: Side = Side.DO) -> None:
        """The next step begins."""
        self.now += 1
        index = self.may_begin(ref, side)
        assert index is not None, f"{ref} {side}: nothing may begin"
        attempt = self.attempts(ref, side)[-1]
        nonce = f"{attempt.number}.{attempt.launch}"
        step = StepRecord(index, self.now, nonce)
        self._save((ref, side), attempt.with_step(step))
        self.rules.begun(ref, side, index)
        self.reconcile()

    def finish(
        self,
        ref: str,
        side: Side = Side.DO,
        reason: Reason = Reason.NONE,
        elapsed: int | None = None,
    ) -> None:
        """The running step ends: well, or with `reason`. Its runner goes with the last one."""
        self.now += 1
        step = self.running(ref, side)
        assert step is not None, f"{ref} {side}: nothing runs"
        attempt = self.attempts(ref, side)[-1]
        at = self.now if elapsed is None else step.begun_at + elapsed
        failure = Failure(reason, "it failed", step.index) if reason else None
        ended = replace(step, finished_at=at, succeeded=not reason, reason=reason, failure=failure)
        self._save((ref, side), attempt.with_step(ended))
        if reason or step.index == attempt.order[-1]:
            self.sightings[ref, side] = replace(self.sightings[ref, side], phase=Phase.OVER)
            self.ending.discard((ref, side))
        self.reconcile()

    def _save(self, key: Key, attempt: Attempt) -> None:
        self.records[key] = self.records[key].with_last(attempt)

    def work(self, ref: str, side: Side = Side.DO) -> None:
        """All steps that are left of `ref` succeed."""
        if self.running(ref, side) is not None:
            self.finish(ref, side)
        while self.may_begin(ref, side) is not None:
            self.begin(ref, side)
            self.finish(ref, side)

    def fail(self, ref: str, side: Side = Side.DO) -> None:
        """The next step of `ref` raises."""
        if self.running(ref, side) is None:
            self.begin(ref, side)
        self.finish(ref, side, Reason.SCRIPT_ERROR)

    # --- a scenario as a line of text ---

    def play(self, script: str) -> "Play":
        """Play events, separated by blanks. `-a` is the undo of a.

        a+ works to its end · a> its next step begins · a. that step succeeds · a! it raises ·
        a? its runner is lost · a~ its runner, which is being ended, is gone ·
        +500 milliseconds pass · run, cancel, recovery, rollback, suspend, resume.
        """
        for word in script.split():
            if word in list(Operation):
                assert self.ask(Operation(word)).accepted, self.replies[-1].message
            elif word in ("suspend", "resume"):
                self.suspend(word == "suspend")
            elif word.startswith("+"):
                self.tick(int(word))
            else:
                side = Side.UNDO if word.startswith("-") else Side.DO
                self._play(word.lstrip("-")[:-1], side, word[-1])
        return self

    def _play(self, ref: str, side: Side, what: str) -> None:
        if what == "+":
            ready = self.may_begin(ref, side), self.running(ref, side)
            assert ready != (None, None), f"{ref} {side}: nothing may begin"
            self.work(ref, side)
        elif what == "~":
            assert (ref, side) in self.ending, f"{ref} {side} isn't being ended"
            self.lose(ref, side)
        else:
            {">": self.begin, ".": self.finish, "!": self.fail, "?": self.lose}[what](ref, side)

    # --- everything by itself ---

    def goes_on(self, limit: int = 400) -> None:
        """All that can happen without a user happens, and happens well, until nothing does."""
        for _ in range(limit):
            if not self._one_event():
                return
        raise AssertionError(f"it never comes to rest: {self.log()[-20:]}")

    def _one_event(self) -> bool:
        for key in self.live():
            if key in self.ending:
                self.lose(*key)
            elif self.running(*key) is not None:
                self.finish(*key)
            elif self.may_begin(*key) is not None:
                self.begin(*key)
            else:
                continue
            return True
        if self.wake_at is not None:
            self.tick(max(self.wake_at - self.now, 0))
            return True
        return False


def _recorded(draft: Draft) -> set[Key]:
    return {*draft.facts.records, *draft.decision.records}


def check_index(history: History) -> None:
    """What a history keeps beside its cells is what follows from them."""
    graph, cells = history.graph, history.cells
    for side in Side:
        before = graph.dependencies if side is Side.DO else graph.dependants
        free = {
            ref
            for ref in graph.order
            if all(cells[side][other].state in SATISFIED for other in before[ref])
        }
        for state in TaskState:
            refs = {ref for ref, cell in cells[side].items() if cell.state is state}
            assert history.index.refs(side, state) == refs
            assert history.index.free(side, state) == refs & free
        assert {ref for ref in graph.order if history.index.is_free(ref, side)} == free
        satisfied = all(cell.state in SATISFIED for cell in cells[side].values())
        assert history.index.all_satisfied(side) == satisfied
        unended = {(ref, side) for ref, cell in cells[side].items() if cell.state not in ENDED}
        assert {key for key in history.index.open if key[1] is side} == unended
