"""A decision in the making: the facts, and what the decision has added to them so far."""

from collections.abc import Iterable
from dataclasses import replace

from xaas_core.engine.facts import Decision, Facts, Key, Phase, Sighting
from xaas_core.engine.history import Cell, Change, History
from xaas_core.engine.plan import TaskPlan
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import Reason, RunState, Side, TaskState


class Draft:
    """Facts plus the decision so far, so that each rule sees the consequences of those before."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.now = facts.now
        self._before = facts.folded or History(facts.plan.graph, facts.history)
        self.history = self._before.copy()
        self.decision = Decision()
        seen = facts.sightings.items()
        self._live = {key for key, each in seen if each.phase is Phase.LIVE}
        self.held = {key for key, each in seen if each.held and each.phase is not Phase.LIVE}
        """The task runs of which a runner that is no more has left traces."""

    def _told(self, record: TaskRecord) -> TaskRecord:
        """A record without the attempts of a round that the history doesn't know yet.

        They were written by a decision whose changes were not: none of them was ever launched.
        """
        last, round_ = record.last, self._before.cell(record.ref, record.side).round
        if last is None or last.round <= round_:
            return record
        kept = tuple(attempt for attempt in record.attempts if attempt.round <= round_)
        return replace(record, attempts=kept)

    def under_way(self) -> list[Key]:
        """The task runs with a record of which something may still become: they haven't ended, or a
        runner of theirs lives. The others, in time most of a run's, no rule has to look at, but for
        the traces that they leave.

        In the order of the plan: what a decision says must not depend on how a store lists records.
        """
        found: set[Key] = set()
        for recorded in (self.facts.records.keys(), self.decision.records.keys()):
            found |= (recorded & self.history.index.open) | (recorded & self._live)
        return self.in_order(found)

    def in_order(self, keys: Iterable[Key]) -> list[Key]:
        """Those of `keys` that are task runs of the plan, in its order."""
        places = self.history.graph.places
        found = [key for key in keys if key[0] in places]
        return sorted(found, key=lambda key: (places[key[0]], key[1] is Side.UNDO))

    @property
    def state(self) -> RunState:
        """The run's state so far."""
        return self.history.state

    def task(self, key: Key) -> TaskPlan:
        """The plan of a task run's task."""
        return self.facts.plan.by_ref[key[0]]

    def cell(self, key: Key) -> Cell:
        """The state of a task run so far."""
        return self.history.cell(*key)

    def known(self, key: Key) -> TaskRecord | None:
        """The record of a task run so far; None if there is none."""
        saved = self.decision.records.get(key)
        if saved is not None:
            return saved
        record = self.facts.records.get(key)
        return None if record is None else self._told(record)

    def record(self, key: Key) -> TaskRecord:
        """The record of a task run so far; an empty one if there is none."""
        return self.known(key) or TaskRecord(*key)

    def current(self, key: Key) -> Attempt | None:
        """The newest attempt of a task run's present round."""
        record = self.known(key)
        return record.current(self.cell(key).round) if record is not None else None

    def sighting(self, key: Key, attempt: Attempt) -> Sighting:
        """What is known of the runner of `attempt`'s newest launch."""
        seen = self.facts.sightings.get(key)
        if seen is not None and (seen.attempt, seen.launch) == (attempt.number, attempt.launch):
            return seen
        # A sighting of an older launch that still lives counts: one runner at a time.
        phase = Phase.LIVE if seen is not None and seen.phase is Phase.LIVE else Phase.ABSENT
        return Sighting(attempt.number, attempt.launch, phase)

    def save(self, record: TaskRecord) -> None:
        """Write `record`."""
        self.decision.records[record.ref, record.side] = record

    def save_attempt(self, key: Key, attempt: Attempt) -> None:
        """Write the newest attempt of a task run."""
        self.save(self.record(key).with_last(attempt))

    def move_run(self, state: RunState, reason: Reason = Reason.NONE, message: str = "") -> None:
        """Move the run now."""
        self._append(Change(state, self.now, reason=reason, message=message))

    def move_task(
        self, key: Key, state: TaskState, at: int, reason: Reason, attempt: Attempt | None
    ) -> None:
        """Move a task run; `attempt` is the one it follows from, None where no runner ran."""
        number, launch = (attempt.number, attempt.launch) if attempt else (0, 0)
        ref, side = key
        self._append(Change(state, at, ref, side, number, launch, reason))

    def any_in(self, side: Side, state: TaskState) -> bool:
        """Whether any task run of `side` is in `state`."""
        return bool(self.history.index.refs(side, state))

    def may_begin(self, key: Key) -> bool:
        """Whether a task run, or its next attempt, may begin now.

        A do begins only while the run is processing, an undo only while it is cancelling and no
        undo has failed. A suspended run starts no further task; one that runs goes on.
        """
        begun = self.cell(key).state is TaskState.RUNNING
        if self.facts.settings.suspend and not begun:
            return False
        if key[1] is Side.DO:
            return self.state is RunState.PROCESSING
        return self.state is RunState.CANCELLING and (
            begun or not self.any_in(Side.UNDO, TaskState.FAILED)
        )

    def _append(self, change: Change) -> None:
        at = max(change.at, self.history.last_at)  # times never decrease within a history
        change = replace(change, at=at)
        self.history.append(change)
        self.decision.changes.append(change)
