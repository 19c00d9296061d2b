"""Where a runner's call stands: all that was read for it, and the params that follow from that."""

import copy
from dataclasses import dataclass, replace
from typing import Any

from xaas_core.engine.history import History
from xaas_core.engine.params import Inputs, apply, encode
from xaas_core.engine.plan import Plan, TaskPlan
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import Side
from xaas_core.lag import behind
from xaas_core.models.objects import Run
from xaas_core.ports import RunnerKey, Store, Stored
from xaas_runner.delta import diff


@dataclass(frozen=True)
class Place:
    """Where a call stands: everything that was read for it."""

    runner: RunnerKey
    run: Run
    plan: Plan
    history: History
    stored: Stored[TaskRecord]
    attempt: Attempt

    @property
    def task(self) -> TaskPlan:
        """The plan of the runner's task."""
        return self.plan.by_ref[self.runner.ref]

    def saved(self, attempt: Attempt) -> TaskRecord:
        """The record with `attempt` in place of the one that was read."""
        return self.stored.value.with_last(attempt)


async def params_of(store: Store, place: Place) -> dict[str, Any]:
    """The input of the place's attempt with the edits of its steps so far. Raises Unavailable."""
    params = await _input(store, place)
    apply(params, place.attempt.delta())
    return params


async def net(store: Store, place: Place, attempt: Attempt) -> Attempt:
    """`attempt`, whose last step has just ended, with what all its steps have changed taken together.

    A task's delta is what the task changed: what one step sets and the next one takes back must not
    overwrite what a parallel branch does there. The last step then holds all of it. Raises Unavailable.
    """
    *earlier, last = attempt.steps
    if not last.delta or not any(step.delta for step in earlier):
        return attempt
    before = await _input(store, place)
    after = copy.deepcopy(before)
    apply(after, attempt.delta())
    steps = [replace(step, delta=()) for step in earlier]
    together = replace(last, delta=tuple(dict(change) for change in diff(before, after)))
    return replace(attempt, steps=(*steps, together))


async def _input(store: Store, place: Place) -> dict[str, Any]:
    """What every attempt of the task run starts from."""
    graph, ref, side = place.plan.graph, place.runner.ref, place.runner.side
    uid = place.run.meta.uid
    wanted = {(each, Side.DO) for each in (ref, *graph.ancestors(ref))}
    if side is Side.UNDO:
        wanted |= {(each, Side.UNDO) for each in graph.descendants(ref)}
    # What the history calls succeeded doesn't change any more: as soon as it is seen, it counts.
    stored = await store.records(uid)
    missing = behind(place.history, stored, wanted)
    if missing:
        stored |= await store.records(uid, missing)
    records = {key: each.value for key, each in stored.items() if key in wanted}
    return Inputs(encode(place.run.spec.parameters), graph, place.history, records).of(ref, side)
