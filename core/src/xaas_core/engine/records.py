"""What is recorded of a task run: the facts that runners and launchers left behind.

A record holds no state: the state is in the run's history. It holds what the engine derives the
next changes from: the stored condition, the attempts, the steps that began and how they ended.
Times are milliseconds since 1970 (UTC) by the server's clock.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from xaas_core.engine.states import Reason, Side

WHOLE = 10
"""Attempts before the newest one that are kept whole, but for their deltas."""

OUTLINED = 200
"""Characters that are kept of why an older one failed."""


@dataclass(frozen=True)
class Failure:
    """An error as the user sees it; `line` counts from 1 in the script of step `step`."""

    type: str
    message: str
    step: int | None = None
    line: int | None = None
    traceback: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepRecord:
    """A step that began. `nonce` is the process that began it; no other can finish it."""

    index: int
    begun_at: int
    nonce: str
    runner: str = ""
    finished_at: int | None = None
    succeeded: bool = False
    delta: tuple[dict[str, Any], ...] = ()
    failure: Failure | None = None
    reason: Reason = Reason.NONE


@dataclass(frozen=True)
class Stop:
    """A stop that was decided: `begin` is refused from here on, the runner is being ended."""

    reason: Reason
    at: int


@dataclass(frozen=True)
class Attempt:
    """One attempt: an intent when it is written, then what became of it.

    `number` goes up with every retry, recovery and renewed undo; `round` counts the times that the
    task run returned to pending; `launch` the runners that were started for it, of which at most
    one ever begins a step; `lost` those that vanished before that. `order` lists the steps to run.
    `undoes` (undo side) is the number of the do attempt up to which this one takes things back.
    `recoveries` counts those of the run that found the task run running before it was intended.
    `trouble` is why its runner can't start yet, in the backend's words.
    """

    number: int
    round: int
    decided_at: int
    order: tuple[int, ...]
    launch: int = 1
    launched_at: int = 0
    lost: int = 0
    undoes: int = 0
    recoveries: int = 0
    steps: tuple[StepRecord, ...] = ()
    stop: Stop | None = None
    ended_at: int | None = None
    succeeded: bool = False
    reason: Reason = Reason.NONE
    failure: Failure | None = None
    trouble: str = ""

    @property
    def begun(self) -> bool:
        """Whether any step began."""
        return bool(self.steps)

    @property
    def runs(self) -> bool:
        """Whether a step of it runs, as far as is reported."""
        return bool(self.steps) and self.steps[-1].finished_at is None

    @property
    def over(self) -> bool:
        """Whether its outcome is recorded."""
        return self.ended_at is not None

    def step(self, index: int) -> StepRecord | None:
        """The record of step `index`, if it began."""
        return next((step for step in self.steps if step.index == index), None)

    def with_step(self, record: StepRecord) -> "Attempt":
        """This attempt with `record` added, or in place of the one of the same step."""
        kept = tuple(record if step.index == record.index else step for step in self.steps)
        if self.step(record.index) is None:
            kept = (*self.steps, record)
        return replace(self, steps=kept)

    def delta(self) -> tuple[dict[str, Any], ...]:
        """What the attempt changed in params: the steps' deltas, one after the other."""
        return tuple(op for step in self.steps for op in step.delta)

    def without_delta(self) -> "Attempt":
        """This attempt without what it changed in params, once that counts no more."""
        if not any(step.delta for step in self.steps):
            return self
        return replace(self, steps=tuple(replace(step, delta=()) for step in self.steps))

    def outlined(self) -> "Attempt":
        """This attempt with what still counts of it long after: which steps began, when each ended,
        and in short why it failed."""
        steps = tuple(replace(step, nonce="", delta=(), failure=None) for step in self.steps)
        failure = self.failure
        if failure is not None:
            message = failure.message
            if len(message) > OUTLINED:
                message = message[:OUTLINED] + " …"
            failure = replace(failure, message=message, traceback=())
        return replace(self, steps=steps, failure=failure, trouble="")


@dataclass(frozen=True)
class Verdict:
    """Whether a task runs, found out once per round and stored.

    `value` is what its condition gave (True without one); `failure` why it can't be said.
    """

    round: int
    value: bool
    reason: Reason = Reason.NONE
    failure: Failure | None = None


@dataclass(frozen=True)
class TaskRecord:
    """All that is recorded of one task run."""

    ref: str
    side: Side
    verdict: Verdict | None = None
    attempts: tuple[Attempt, ...] = ()

    @cached_property  # an input follows from those of all ancestors, again and again
    def delta(self) -> tuple[dict[str, Any], ...]:
        """What the task run changed: the delta of the last attempt of which a step began."""
        return next((each.delta() for each in reversed(self.attempts) if each.begun), ())

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    def with_last(self, attempt: Attempt) -> "TaskRecord":
        """This record with its newest attempt replaced.

        Once that has begun, what those before it changed doesn't count any more, and of those long
        before only an outline is kept: a thousand of them whole would take more room than a store
        has for one record.
        """
        before = self.attempts[:-1]
        if attempt.begun:
            whole = [each.without_delta() for each in before[-WHOLE:]]
            before = (*(each.outlined() for each in before[:-WHOLE]), *whole)
        return replace(self, attempts=(*before, attempt))

    def current(self, round_: int) -> Attempt | None:
        """The newest attempt if it belongs to round `round_`."""
        last = self.last
        return last if last is not None and last.round == round_ else None
