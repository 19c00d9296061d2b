"""Deliberate defects of the engine: the simulation must find each of them.

A simulation that finds nothing proves nothing unless it is known to bite. Each mutation takes one
safeguard away, by replacing an attribute for as long as it is installed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from tests.simulation.rules import Violation

from xaas_core import gateway, reconciler
from xaas_core.engine import attempts, decide, params, rollback
from xaas_core.engine.attempts import NOT_RETRIED
from xaas_core.engine.draft import Draft
from xaas_core.engine.facts import Decision, Key, Phase, Sighting
from xaas_core.engine.graph import Graph
from xaas_core.engine.history import Change, History
from xaas_core.engine.index import TaskIndex
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import SATISFIED, Reason, RunState, Side, TaskState
from xaas_core.gateway import Gateway
from xaas_core.places import Place
from xaas_core.ports import NotFound, RunnerKey
from xaas_core.reconciler import Gathered, Reconciler

Patch = tuple[Any, str, Any]
"""Object, name of its attribute, what to put there."""


Defects = Mapping[str, Callable[[], list[Patch]]]
"""Defects by name."""


@contextmanager
def installed(name: str, defects: Defects | None = None) -> Iterator[None]:
    """The engine with one defect; of `MUTATIONS`, unless others are given."""
    patches = (MUTATIONS if defects is None else defects)[name]()
    kept = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in patches]
    try:
        for place, attribute, defect in patches:
            setattr(place, attribute, defect)
        yield
    finally:
        for place, attribute, original in kept:
            setattr(place, attribute, original)


def caught_by(name: str, play: Callable[[int], Any], seeds: range) -> tuple[int, str] | None:
    """The first seed that shows a defect, and what it says; None if none does."""
    with installed(name):
        for seed in seeds:
            try:
                play(seed)
            except (Violation, AssertionError, LookupError) as found:
                return seed, f"{type(found).__name__}: {found}"[:100]
    return None


# --- the defects ---


def no_fence() -> list[Patch]:
    """What may no longer begin isn't refused its begin."""
    return [(decide, "fence", lambda draft, key: None)]


def no_fence_of_earlier_rounds() -> list[Patch]:
    """An attempt that was intended before a recovery is left alone."""
    original = attempts.fence

    def fence(draft: Draft, key: Key) -> None:
        if draft.current(key) is not None:
            original(draft, key)

    return [(decide, "fence", fence)]


def launch_before_commit() -> list[Patch]:
    """Effects come before what they follow from is durable."""

    async def reconcile(self: Any, uid: str, *, fresh: bool = False) -> int | None:
        try:
            gathered = await self._gather(uid, fresh)
            decision = await self._decide(gathered)
            await self._act(gathered, decision)
            await self._write(gathered, decision)
        except NotFound:
            return None
        return int(decision.wake_at) if decision.wake_at is not None else None

    return [(Reconciler, "reconcile", reconcile)]


def undo_order_ignored() -> list[Patch]:
    """An undo doesn't wait for its dependants' undos."""

    is_free, free = TaskIndex.is_free, TaskIndex.free

    def any_is_free(self: Any, ref: str, side: Side) -> bool:
        return side is Side.UNDO or is_free(self, ref, side)

    def all_free(self: Any, side: Side, state: TaskState) -> Any:
        return self.refs(side, state) if side is Side.UNDO else free(self, side, state)

    return [(TaskIndex, "is_free", any_is_free), (TaskIndex, "free", all_free)]


def undo_beside_its_do() -> list[Patch]:
    """An undo doesn't wait for its do."""

    def may_undo(history: History, ref: str) -> bool:
        pending = history.undo(ref).state is TaskState.PENDING
        return pending and history.index.is_free(ref, Side.UNDO)

    return [(rollback, "may_undo", may_undo)]


def begin_without_nonce() -> list[Patch]:
    """Whoever asks again for a step that has begun gets its script."""
    original = Gateway.begin

    async def begin(self: Any, runner: RunnerKey, call: Any) -> Any:
        place = await self._find(runner, fresh=True)
        begun = place.attempt.step(call["step"]) if isinstance(place, Place) else None
        nonce = begun.nonce if begun is not None else call["nonce"]
        forged: Any = {**call, "nonce": nonce}
        return await original(self, runner, forged)

    return [(Gateway, "begin", begin)]


def begin_in_any_state() -> list[Patch]:
    """The gateway lets a step begin whatever the run and the attempt are in."""
    return [(gateway, "_may_begin", lambda place, step: None)]


def steps_side_by_side() -> list[Patch]:
    """A step doesn't wait for the one before it."""
    original = gateway._may_begin

    def may_begin(place: Place, step: int) -> Any:
        alone = replace(place.attempt, order=(step,)) if step in place.attempt.order else None
        return original(replace(place, attempt=alone) if alone is not None else place, step)

    return [(gateway, "_may_begin", may_begin)]


def recovery_keeps_undone() -> list[Patch]:
    """A do that was undone stands."""
    original = History._move_task

    def move(self: Any, ref: Any, side: Any, change: Change) -> None:
        original(self, ref, side, change)
        self.cells[side][ref] = replace(self.cell(ref, side), undone=False)

    return [(History, "_move_task", move)]


def recovery_keeps_dependants() -> list[Patch]:
    """A do stands though a dependency of it runs again."""

    def recover(self: Any) -> None:
        for ref in self.graph.order:
            do, undo = self.do(ref), self.undo(ref)
            if do.state not in SATISFIED or undo.undone:
                self._put(ref, Side.DO, do.reset(do.undone))
            self._put(ref, Side.UNDO, undo.reset(undone=False))

    return [(History, "_recover", recover)]


def outcome_recorded_twice() -> list[Patch]:
    """The outcome of an attempt is written again at each look."""
    original = attempts.conclude

    def conclude(draft: Draft, key: Key) -> None:
        original(draft, key)
        attempt = draft.current(key)
        if attempt is not None and attempt.over:
            draft.save_attempt(key, replace(attempt, ended_at=draft.now))

    return [(decide, "conclude", conclude)]


def only_successes_are_owed() -> list[Patch]:
    """A step that failed isn't undone."""

    def owed(task: Any, do: TaskRecord | None, undo: TaskRecord | None) -> tuple[int, ...]:
        done = {s.index for a in (do.attempts if do else ()) for s in a.steps if s.succeeded}
        return tuple(i for i in sorted(done, reverse=True) if task.steps[i].undo is not None)

    return [(rollback, "owed_steps", owed)]


def undone_twice() -> list[Patch]:
    """What a succeeded undo took back is owed still."""
    return [(rollback, "last_undone_attempt", lambda undo: 0)]


def steps_undone_forwards() -> list[Patch]:
    """The undoScripts of a task run in the order of its steps."""
    original = rollback.owed_steps
    return [(rollback, "owed_steps", lambda *facts: tuple(reversed(original(*facts))))]


def retries_without_end() -> list[Patch]:
    """The limit of retries is ignored."""

    def due(draft: Draft, key: Key, attempt: Attempt) -> int | None:
        wanted = RunState.PROCESSING if key[1] == "do" else RunState.CANCELLING
        stays = draft.state is not wanted or attempt.reason in NOT_RETRIED
        return None if stays else attempt.ended_at

    return [(decide, "retry_due", due)]


def retries_never() -> list[Patch]:
    """Nothing is retried."""
    return [(decide, "retry_due", lambda draft, key, attempt: None)]


def blind_writes() -> list[Patch]:
    """What was written since it was read is overwritten."""
    original = Reconciler._write

    async def write(self: Any, gathered: Gathered, decision: Decision) -> None:
        fresh = await self._ports.store.records(gathered.run.meta.uid)
        for key, stored in gathered.records.items():
            gathered.records[key] = replace(stored, version=fresh[key].version)
        await original(self, gathered, decision)

    return [(Reconciler, "_write", write)]


def late_results_dont_count() -> list[Patch]:
    """A script is judged by when its result arrives."""
    original = Gateway._ended

    def ended(self: Any, place: Any, begun: Any, call: Any) -> Any:
        late: Any = {**call, "elapsed_ms": max(self._clock.now() - begun.begun_at, 0)}
        return original(self, place, begun, late)

    return [(Gateway, "_ended", ended)]


def live_runners_are_lost() -> list[Patch]:
    """A runner that lives is taken for gone."""
    original = Draft.sighting

    def sighting(self: Any, key: Key, attempt: Attempt) -> Sighting:
        seen = original(self, key, attempt)
        begun = seen.phase is Phase.LIVE and attempt.begun
        return replace(seen, phase=Phase.OVER) if begun else seen

    return [(Draft, "sighting", sighting)]


def second_runner_beside() -> list[Patch]:
    """A new runner is started though the one before may live."""
    original = attempts.intend

    def intend(draft: Draft, key: Key, order: Any, undoes: int) -> None:
        kept = draft.facts
        gone = {k: replace(s, phase=Phase.ABSENT) for k, s in kept.sightings.items()}
        draft.facts = replace(kept, sightings=gone)
        original(draft, key, order, undoes)
        draft.facts = kept

    def effects(draft: Draft) -> None:
        seen = draft.facts.sightings
        old = {k for k, s in seen.items() if s.launch != getattr(draft.record(k).last, "launch", 0)}
        draft.facts = replace(
            draft.facts, sightings={k: s for k, s in seen.items() if k not in old}
        )
        original_effects(draft)

    original_effects = decide.effects
    return [(decide, "intend", intend), (decide, "effects", effects)]


def over_with_runners() -> list[Patch]:
    """A run is over though a runner of it lives."""
    return [(decide, "_lingering", lambda draft: False)]


def removed_with_runners() -> list[Patch]:
    """A run is removed though a runner of it lives."""
    return [(decide, "_any_live", lambda draft: False)]


def suspension_ignored() -> list[Patch]:
    """A suspended run goes on."""
    original = Reconciler._facts

    def facts(self: Any, gathered: Gathered) -> Any:
        found = original(self, gathered)
        return replace(found, settings=replace(found.settings, suspend=False))

    def may_begin(place: Place, step: int) -> Any:
        spec = place.run.spec.model_copy(update={"suspend": False})
        return original_may_begin(replace(place, run=replace(place.run, spec=spec)), step)

    original_may_begin = gateway._may_begin
    return [(Reconciler, "_facts", facts), (gateway, "_may_begin", may_begin)]


def request_forgotten() -> list[Patch]:
    """The answer to an operation isn't written."""
    original = reconciler._status

    def status(gathered: Gathered, decision: Decision) -> Any:
        return replace(original(gathered, decision), reply=gathered.run.status.reply)

    return [(reconciler, "_status", status)]


def merged_backwards() -> list[Patch]:
    """Deltas are merged in the reverse order of the pipeline."""
    original = params.Inputs.deltas

    def deltas(self: Any, ref: str) -> Any:
        return reversed(list(original(self, ref)))

    return [(params.Inputs, "deltas", deltas)]


def parents_only() -> list[Patch]:
    """A task's input has the deltas of its dependencies, but not of theirs."""

    def parents(self: Graph, ref: str) -> set[str]:
        return set(self.dependencies[ref])

    return [(Graph, "ancestors", parents)]


def undo_from_the_start() -> list[Patch]:
    """An undo is given what its do was given, not what it left."""
    return [(params.Inputs, "_of_undo", params.Inputs._of_do)]


def conditions_ignored() -> list[Patch]:
    """A task runs whatever its condition gives."""
    original = Reconciler._verdict

    async def verdict(self: Any, gathered: Any, decision: Any, key: Key) -> Any:
        return replace(await original(self, gathered, decision, key), value=True)

    return [(Reconciler, "_verdict", verdict)]


def fan_in_of_one() -> list[Patch]:
    """A task starts when one of its dependencies is over."""
    original = decide.forwards

    def forwards(draft: Draft) -> None:
        history, free = draft.history, TaskIndex.free

        def with_one(self: Any, side: Side, state: TaskState) -> Any:
            needs = history.graph.before(side)
            return free(self, side, state) | {
                ref
                for ref in self.refs(side, state)
                if any(history.cell(each, side).state in SATISFIED for each in needs[ref])
            }

        with patch.object(TaskIndex, "free", with_one):
            original(draft)

    return [(decide, "forwards", forwards)]


def abort_unsaid() -> list[Patch]:
    """A run that fails goes from processing to cancelling: nobody hears of the abort."""
    original = Draft.move_run

    def move(self: Any, state: RunState, reason: Reason = Reason.NONE, message: str = "") -> None:
        if state is RunState.ABORTED and self.facts.settings.auto_rollback:
            return
        original(self, state, reason, message)

    return [(Draft, "move_run", move)]


def timeouts_ignored() -> list[Patch]:
    """No attempt is ever stopped for its time."""
    return [(attempts, "_by_clock", lambda draft, key, attempt: attempt)]


def lost_wakes() -> list[Patch]:
    """A decision doesn't say when to look again."""
    return [(Decision, "wake", lambda self, at: None)]


def dates_go_backwards() -> list[Patch]:
    """A change is dated by its own time, even if that is before the one before it."""

    def append(self: Any, change: Change) -> None:
        self.history.append(change)
        self.decision.changes.append(change)

    return [(Draft, "_append", append)]


MUTATIONS: Defects = {
    defect.__name__: defect
    for defect in (
        no_fence,
        no_fence_of_earlier_rounds,
        launch_before_commit,
        undo_order_ignored,
        undo_beside_its_do,
        begin_without_nonce,
        begin_in_any_state,
        steps_side_by_side,
        recovery_keeps_undone,
        recovery_keeps_dependants,
        outcome_recorded_twice,
        only_successes_are_owed,
        undone_twice,
        steps_undone_forwards,
        retries_without_end,
        retries_never,
        blind_writes,
        late_results_dont_count,
        live_runners_are_lost,
        second_runner_beside,
        over_with_runners,
        removed_with_runners,
        suspension_ignored,
        request_forgotten,
        merged_backwards,
        parents_only,
        undo_from_the_start,
        conditions_ignored,
        fan_in_of_one,
        abort_unsaid,
        timeouts_ignored,
        lost_wakes,
        dates_go_backwards,
    )
}

__all__ = ["MUTATIONS", "caught_by", "installed"]
