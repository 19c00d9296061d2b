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
    # Of what a change has named an attempt, an attempt is recorded.
    for key in draft.in_order(draft.facts.sightings.keys() - draft.history.named.keys()):
        if draft.record(key).last is not None:
            continue
        seen = draft.facts.sightings[key]
        usable = (seen.attempt, seen.launch) == (1, 1) and not seen.gone and not seen.ending
        if key in wanted and usable:
            continue  # it is there; or was, and the intent will find out
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
    own = side is Side.DO or history.do(ref).state is not TaskState.RUNNING
    return own and history.index.is_free(ref, side)


def _wanted(draft: Draft) -> dict[Key, tuple[int, ...]]:
    """What to start ahead, and the steps of each in the order to run them."""
    if draft.facts.settings.suspend:
        return {}
    if draft.state is RunState.PROCESSING:
        found = [(key, _do_steps(draft, key)) for key in _next(draft, Side.DO)]
    elif draft.state is RunState.CANCELLING:
        found = [(key, _undo_steps(draft, key)) for key in _next(draft, Side.UNDO)]
    else:
        return {}
    return {key: order for key, order in found if order}


def _do_steps(draft: Draft, key: Key) -> tuple[int, ...]:
    task = draft.task(key)
    return tuple(range(len(task.steps))) if task.condition is None else ()


def _undo_steps(draft: Draft, key: Key) -> tuple[int, ...]:
    ref, _ = key
    if draft.history.do(ref).state is TaskState.RUNNING:
        return ()
    return rollback.owed_steps(draft.task(key), draft.known((ref, Side.DO)), None)


def _next(draft: Draft, side: Side) -> list[Key]:
    """The task runs of `side` that wait for nothing but others that run."""
    history = draft.history
    before, after = history.graph.before(side), history.graph.after(side)
    running = history.index.refs(side, TaskState.RUNNING)
    coming = {
        ref
        for other in running
        for ref in after[other]
        if history.cell(ref, side).state is TaskState.PENDING
        and all(history.cell(each, side).state in COMING for each in before[ref])
    }
    keys = [(ref, side) for ref in history.graph.in_order(coming, side)]
    return [key for key in keys if draft.record(key).last is None]
