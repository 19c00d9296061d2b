"""What must be true of a run: the rules of docs/contract.md, written anew.

The oracle is told what is stored (each record, each change) and what truly happens (each script
that starts and ends), and raises `Violation` where one doesn't fit the other or the rules. It keeps
states as plain strings and its own tables, graph and merge (`rules`), so that a mistake of the
engine isn't made here a second time by sharing code.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.rules import (
    OPERATIONS,
    RETRIED,
    RUN_TABLE,
    SATISFIED,
    TASK_TABLE,
    Key,
    RunFacts,
    Shape,
    check,
    merge,
)

from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.testing.scripted import truth


@dataclass
class Begun:
    """An attempt of which a step began. `input` is what its first step must get."""

    key: Key
    attempt: int
    order: tuple[int, ...]
    turn: int
    input: dict[str, Any]
    begun_at: int
    counted: dict[int, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    good: set[int] = field(default_factory=set)  # steps whose success is recorded
    ended: bool = False


class RunOracle:
    """Judges one run.

    `strict` is off where two servers act at once, `timed` where their clocks aren't right.
    """

    def __init__(self, facts: RunFacts, strict: bool = True, timed: bool = True) -> None:
        self.facts = facts
        self.strict = strict
        self.timed = timed
        self.tasks = {task.ref: task for task in facts.tasks}
        self.shape = Shape(facts.tasks)
        self.state = "pending"
        self.before_that = ""
        self.states: dict[Key, str] = {
            (ref, side): "pending" for ref in self.tasks for side in ("do", "undo")
        }
        self.undone = dict.fromkeys(self.tasks, False)
        self.starts = False  # it was told that it starts once its definitions are there
        self.owed: dict[str, set[int]] = {ref: set() for ref in self.tasks}  # steps begun
        self.begun: dict[Key, list[Begun]] = {key: [] for key in self.states}
        self.undo_done: dict[str, Begun] = {}
        self.tries: dict[Key, list[int]] = {key: [] for key in self.states}  # begun, this round
        self.overtaken = dict.fromkeys(self.states, 0)
        self.processing_since = 0
        self.last_at = 0
        self.turn = 0
        self.launched: set[tuple[Key, int]] = set()
        self.verdicts: dict[tuple[Key, int], Any] = {}
        self.ended_attempts: dict[Key, list[Attempt]] = {}

    # --- the log ---

    def changed(self, change: Change, now: int, request: str | None) -> None:
        """One more change in the log; `request` is the operation that it answers, if any."""
        self.turn += 1
        check(change.at >= self.last_at, "times go backwards at %s", change)
        self.last_at = change.at
        if change.ref is None:
            self._run_changed(change, now, request)
        else:
            self._task_changed(change)

    def _run_changed(self, change: Change, now: int, request: str | None) -> None:
        old, new = self.state, str(change.state)
        check(new in RUN_TABLE[old], "I6: the run moves %s -> %s", old, new)
        do = [state for (_, side), state in self.states.items() if side == "do"]
        undo = [state for (_, side), state in self.states.items() if side == "undo"]
        running = "running" in do or "running" in undo
        asked = request is not None and OPERATIONS.get((old, request)) == new
        asked = asked or (self.starts and (old, new) == ("pending", "processing"))
        if new == "complete":
            check(all(s in SATISFIED for s in do), "complete with dos %s", do)
        elif (old, new) == ("processing", "aborted"):
            limit = self.facts.timeout
            late = limit is not None and now >= self.processing_since + limit
            check("failed" in do or late or not self.timed, "aborted though nothing failed")
        elif (old, new) == ("cancelling", "aborted"):
            check("failed" in undo, "aborted though no undo failed")
            check(not running, "aborted though something runs")
        elif (old, new) == ("aborted", "cancelling"):
            by_itself = self.facts.auto_rollback and self.before_that == "processing"
            check(by_itself or asked, "rolls back though nobody asked")
        elif (old, new) == ("cancelling", "cancelled"):
            check(not running, "cancelled though something runs")
            check(all(s in SATISFIED for s in undo), "cancelled with undos %s", undo)
            for ref in self.tasks:
                check(not self.owed_steps(ref), "I4: cancelled, %s is owed an undo", ref)
        else:
            check(asked, "%s -> %s though nobody asked", old, new)
        if (old, new) == ("aborted", "cancelling"):
            self._reset(key for key, s in self.states.items() if s == "failed" and key[1] == "undo")
        if (old, new) == ("aborted", "processing"):
            self._recover()
        if new == "processing":
            self.processing_since = change.at
        self.before_that, self.state = old, new

    def _recover(self) -> None:
        stands: set[str] = set()
        for ref in self.shape.order:
            kept = self.states[ref, "do"] in SATISFIED and not self.undone[ref]
            if kept and self.shape.needs[ref] <= stands:
                stands.add(ref)
            elif self.states[ref, "do"] != "running":
                self._reset([(ref, "do")])
            else:  # its retries count afresh, and the attempt that runs is the first
                self.tries[ref, "do"] = self.tries[ref, "do"][-1:]
                self.overtaken[ref, "do"] = 0
        self._reset([(ref, "undo") for ref in self.tasks])
        self.undo_done.clear()  # all undos are pending again: none has succeeded

    def _reset(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            self.states[key] = "pending"
            self.tries[key] = []
            self.overtaken[key] = 0

    def _task_changed(self, change: Change) -> None:
        assert change.ref is not None
        ref, side = key = (change.ref, str(change.side))
        old, new = self.states[key], str(change.state)
        check(new in TASK_TABLE[old], "I6: %s moves %s -> %s", key, old, new)
        attempts = self.begun[key]
        current = attempts[-1] if attempts and attempts[-1].attempt in self.tries[key] else None
        wanted = "processing" if side == "do" else "cancelling"
        if old == "pending":
            check(self.state == wanted, "%s becomes %s in a run that is %s", key, new, self.state)
            self._check_turn(key)
            if side == "do":
                self._check_condition(key, new, str(change.reason))
        if new == "running":
            check(current is not None, "%s is running, but no step began", key)
        elif new == "succeeded":
            self._check_success(key, old, current)
        elif new == "failed" and old == "running":
            self._check_failure(key, change, current)
        elif new == "skipped" and side == "undo":
            check(not self.owed_steps(ref), "I4: the undo of %s is owed, but skipped", ref)
        if side == "undo" and new != "skipped":
            self.undone[ref] = True
        if side == "do":
            self.undone[ref] = False
        self.states[key] = new

    def _check_condition(self, key: Key, new: str, reason: str) -> None:
        condition = self.tasks[key[0]].condition
        value = True if condition is None else truth(condition, self.input_of(key))
        holds = {
            "skipped": value is False,
            "failed": (value is None) == (reason == "ConditionError"),
        }
        check(holds.get(new, value is True), "%s is %s where its condition is %s", key, new, value)

    def _check_turn(self, key: Key) -> None:
        """I3 and I4: what must be over before it is the turn of `key`."""
        ref, side = key
        if side == "do":
            for need in self.shape.needs[ref]:
                state = self.states[need, "do"]
                check(state in SATISFIED, "I3: %s before %s, which is %s", ref, need, state)
        else:
            check(self.states[ref, "do"] != "running", "I4: undo of %s while it runs", ref)
            for user in self.shape.users[ref]:
                state = self.states[user, "undo"]
                check(state in SATISFIED, "I4: undo of %s before that of %s (%s)", ref, user, state)

    def _check_success(self, key: Key, old: str, current: Begun | None) -> None:
        ref, side = key
        if old == "pending":
            check(side == "do" and not self.tasks[ref].undos, "%s succeeded without a runner", key)
            return
        assert current is not None
        check(current.good == set(current.order), "%s succeeded with steps %s", key, current.good)
        current.ended = True
        if side == "undo":
            check(
                current.order == self.owed_steps(ref), "I4: undo of %s did %s", ref, current.order
            )
            self.owed[ref] = set()
            self.undo_done[ref] = current

    def _check_failure(self, key: Key, change: Change, current: Begun | None) -> None:
        assert current is not None
        check(current.good != set(current.order), "%s failed, but all its steps succeeded", key)
        current.ended = True
        wanted = "processing" if key[1] == "do" else "cancelling"
        if self.state == wanted and str(change.reason) in RETRIED:
            limit = self.tasks[key[0]].retries + 1
            tried = len(self.tries[key])
            check(tried >= limit, "%s failed after %d of %d attempts", key, tried, limit)

    def owed_steps(self, ref: str) -> tuple[int, ...]:
        """The steps whose undoScript is owed, in the order to run them."""
        undos = self.tasks[ref].undos
        return tuple(step for step in sorted(self.owed[ref], reverse=True) if undos[step])

    # --- records ---

    def saved(self, old: TaskRecord | None, new: TaskRecord, by_runner: bool, now: int) -> None:
        """A record was written."""
        self.turn += 1
        key = (new.ref, str(new.side))
        if new.verdict is not None:
            place = (key, new.verdict.round)
            known = self.verdicts.setdefault(place, new.verdict)
            check(known == new.verdict, "the verdict of %s changed", key)
        was = old.attempts if old is not None else ()
        check(len(new.attempts) - len(was) in (0, 1), "attempts of %s were dropped", key)
        kept = max(len(was) - 1, 0)
        for one, now_it_is in zip(was[:kept], new.attempts[:kept], strict=True):
            # What it changed in params may be dropped when the next one has begun.
            same = now_it_is == one or now_it_is == one.without_delta()
            check(same, "an old attempt of %s was changed", key)
        if was:
            self._attempt_changed(key, was[-1], new.attempts[kept], by_runner, now)
        if len(new.attempts) > len(was):
            check(not by_runner, "a runner made an attempt")
            number = was[-1].number + 1 if was else 1
            check(new.attempts[-1].number == number, "attempt %s skips a number", key)
            before = new.attempts[kept] if was else None
            gone = before is None or before.over or not before.begun
            check(gone, "a second attempt of %s beside", key)

    def _attempt_changed(
        self, key: Key, old: Attempt, new: Attempt, by_runner: bool, now: int
    ) -> None:
        if old.round > new.round or (old.round == new.round and old.decided_at != new.decided_at):
            # Written ahead by a decision that was lost: decided again. Where two act at once, one may
            # have launched it just now: it stays the same attempt, of the same name.
            launched = self.strict and (key, old.number) in self.launched
            check(not launched and not old.begun, "%s is decided again", key)
            return
        fixed = ("number", "round", "decided_at", "order", "undoes")
        same = all(getattr(old, name) == getattr(new, name) for name in fixed)
        check(same, "what is fixed of an attempt of %s was changed", key)
        check(not old.over or old == new, "the outcome of %s was recorded twice", key)
        again = new.launch == old.launch + 1 and not old.begun and not by_runner
        check(new.launch == old.launch or again, "%s was launched again wrongly", key)
        check(old.stop is None or new.stop == old.stop or again, "the stop of %s changed", key)
        check(not (by_runner and new.over and not new.succeeded), "a runner made %s fail", key)
        check(len(new.steps) - len(old.steps) in (0, 1), "steps of %s were dropped", key)
        for was, step in zip(old.steps, new.steps, strict=False):
            same = (was.index, was.begun_at, was.nonce) == (step.index, step.begun_at, step.nonce)
            check(same, "the begin of a step of %s was changed", key)
            # What it changed may be told by the one after it, together with what that changed.
            bare = replace(was, delta=())
            next_ends = old.steps[-1].finished_at is None and new.steps[-1].finished_at is not None
            same = was == step or (by_runner and next_ends and bare == step)
            check(was.finished_at is None or same, "a step of %s ended twice", key)
            if was.finished_at is None and step.finished_at is not None:
                check(by_runner, "a step of %s ended without its runner", key)
                self._step_ended(key, new, step)
        if new.over and not old.over:
            self.ended_attempts.setdefault(key, []).append(new)
            self.overtaken[key] += str(new.reason) == "Terminated"
        if len(new.steps) > len(old.steps):
            check(by_runner and old.stop is None, "%s began though it is stopped", key)
            self._step_begun(key, new, new.steps[-1], now)

    def _step_begun(self, key: Key, attempt: Attempt, step: StepRecord, now: int) -> None:
        ref, side = key
        place = len(attempt.steps) - 1
        check(step.index == attempt.order[place], "steps of %s out of order", key)
        if place == 0:
            self._attempt_begun(key, attempt, now)
        else:
            good = self.begun[key][-1].good
            check(attempt.order[place - 1] in good, "a step of %s began too early", key)
        if side == "do":
            self.owed[ref].add(step.index)

    def _attempt_begun(self, key: Key, attempt: Attempt, now: int) -> None:
        ref, side = key
        first = not self.tries[key]
        wanted = "processing" if side == "do" else "cancelling"
        check(self.state == wanted, "%s begins in a run that is %s", key, self.state)
        if first:
            self._check_turn(key)
        other = (ref, "undo" if side == "do" else "do")
        check(self.states[other] != "running", "%s begins while %s runs", key, other)
        if side == "undo":
            check(attempt.order == self.owed_steps(ref), "I4: undo of %s: %s", ref, attempt.order)
            failed = [r for r in self.tasks if self.states[r, "undo"] == "failed"]
            check(not (failed and first), "undo of %s begins after one failed", ref)
        else:
            check(attempt.order == tuple(range(len(self.tasks[ref].undos))), "order of %s", ref)
        self.tries[key].append(attempt.number)
        allowed = self.tasks[ref].retries + 1 + self.overtaken[key]
        check(len(self.tries[key]) <= allowed, "%s has too many attempts", key)
        if self.strict and self.timed and len(self.tries[key]) > 1:
            ended = next(a for a in self.ended_attempts[key] if a.number == self.tries[key][-2])
            due = (ended.ended_at or 0) + self.tasks[ref].delay
            early = now < due and str(ended.reason) != "Terminated"
            check(not early, "%s is tried again too early", key)
        self.begun[key].append(
            Begun(key, attempt.number, attempt.order, self.turn, self.input_of(key), now)
        )

    def _step_ended(self, key: Key, attempt: Attempt, step: StepRecord) -> None:
        begun = self.begun[key][-1]
        begun.counted = {each.index: each.delta for each in attempt.steps}
        if step.succeeded:
            begun.good.add(step.index)

    # --- params ---

    def input_of(self, key: Key) -> dict[str, Any]:
        """What the first step of a new attempt of `key` must be given."""
        ref, side = key
        if side == "do":
            params: dict[str, Any] = copy.deepcopy(dict(self.facts.parameters))
            for other in self.shape.order:
                done = self.begun[other, "do"]
                counts = self.states[other, "do"] == "succeeded" and other in self.shape.before[ref]
                if done and counts:
                    self._add(params, done[-1])
            return params
        do = self.begun[ref, "do"][-1]
        params = copy.deepcopy(do.input)
        self._add(params, do)
        for other in reversed(self.shape.order):
            if other in self.shape.after[ref]:
                undone = self.undo_done.get(other)
                if undone is not None and undone.turn > do.turn:
                    self._add(params, undone)
        return params

    def params_at(self, key: Key, step: int) -> dict[str, Any]:
        """What `step` of the newest attempt of `key` must be given."""
        begun = self.begun[key][-1]
        params = copy.deepcopy(begun.input)
        for index in begun.order[: begun.order.index(step)]:
            merge(params, begun.counted.get(index, ()))
        return params

    def left_by(self, key: Key, deltas: Iterable[Iterable[Mapping[str, Any]]]) -> dict[str, Any]:
        """The params as these changes leave them, of the newest attempt of `key`."""
        params = copy.deepcopy(self.begun[key][-1].input)
        for delta in deltas:
            merge(params, delta)
        return params

    @staticmethod
    def _add(params: dict[str, Any], begun: Begun) -> None:
        for index in begun.order:
            merge(params, begun.counted.get(index, ()))
