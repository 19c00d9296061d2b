"""Lookahead: runners that are started before it is their turn, so that they are up when it comes.

A runner may be started ahead for a task run that nothing was intended for yet, while those that it
waits for run: dependencies for a do, dependants for an undo. Nothing is recorded of it. It asks the
gateway whether it may begin, and is told to wait until its intent is written, which names the very same
runner (attempt 1, launch 1). If that never comes it is ended: it has done nothing.

A do with a condition isn't looked ahead for: it may be skipped.
"""

from xaas_core.engine import rollback
from xaas_core.engine.draft import Draft
from xaas_core.engine.facts import End, Key, Launch, Phase, Release
from xaas_core.engine.history import History
from xaas_core.engine.states import SATISFIED, RunState, Side, TaskState

COMING = SATISFIED | {TaskState.RUNNING}
"""States of those before a task run that let it come next."""


def look_ahead(draft: Draft) -> None:
    """Say which runners to start ahead, and end those that aren't wanted (any more)."""
    wanted = {} if draft.facts.deleting else _wanted(draft)
    seen_by_key = draft.facts.sightings
    keys = [(ref, side) for ref in draft.history.graph.order for side in Side]
    for key in [key for key in keys if key in seen_by_key and draft.record(key).last is None]:
        seen = seen_by_key[key]
        usable = (seen.attempt, seen.launch) == (1, 1) and not seen.gone and not seen.ending
        if key in wanted and usable:
            del wanted[key]  # it is there; or was, and the intent will find out
            continue
        wanted.pop(key, None)
        if seen.phase is Phase.LIVE and seen.ending:
            continue
        if seen.phase is Phase.LIVE:
            grace = draft.task(key).grace_period
            draft.decision.ends.append(End(*key, seen.attempt, seen.launch, grace))
        elif seen.held:
            draft.decision.releases.append(Release(*key, seen.attempt, seen.launch))
    draft.decision.ahead += [Launch(*key, 1, 1, order) for key, order in wanted.items()]


def turn_has_come(history: History, key: Key) -> bool:
    """Whether a task run waits for no other any more, by what is recorded.

    An intent is written before the changes that it follows from: a runner that is up by then must not
    begin in between, for its input isn't complete.
    """
    ref, side = key
    if side is Side.DO:
        return all(
            history.do(needed).state in SATISFIED for needed in history.graph.dependencies[ref]
        )
    users = history.graph.dependants[ref]
    is_over = history.do(ref).state is not TaskState.RUNNING
    return is_over and all(history.undo(user).state in SATISFIED for user in users)


def _wanted(draft: Draft) -> dict[Key, tuple[int, ...]]:
    """What to start ahead, and the steps of each in the order to run them."""
    if draft.facts.settings.suspend:
        return {}
    if draft.state is RunState.PROCESSING:
        found = (_do(draft, ref) for ref in draft.history.graph.order)
    elif draft.state is RunState.CANCELLING:
        found = (_undo(draft, ref) for ref in reversed(draft.history.graph.order))
    else:
        return {}
    return {key: order for key, order in found if order}


def _do(draft: Draft, ref: str) -> tuple[Key, tuple[int, ...]]:
    key, task = (ref, Side.DO), draft.task((ref, Side.DO))
    needs = draft.history.graph.dependencies[ref]
    comes = task.condition is None and _comes_next(draft, key, needs)
    return key, tuple(range(len(task.steps))) if comes else ()


def _undo(draft: Draft, ref: str) -> tuple[Key, tuple[int, ...]]:
    key, do = (ref, Side.UNDO), draft.records.get((ref, Side.DO))
    users = draft.history.graph.dependants[ref]
    over = draft.history.do(ref).state is not TaskState.RUNNING
    comes = over and _comes_next(draft, key, users)
    return key, rollback.owed_steps(draft.task(key), do, None) if comes else ()


def _comes_next(draft: Draft, key: Key, others: tuple[str, ...] | list[str]) -> bool:
    """Whether a task run waits for nothing but `others` that run."""
    if draft.cell(key).state is not TaskState.PENDING or draft.record(key).last is not None:
        return False
    states = {draft.cell((other, key[1])).state for other in others}
    return TaskState.RUNNING in states and states <= COMING
