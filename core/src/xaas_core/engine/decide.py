"""What a run does next: a pure function from facts to a decision.

Theory of operation. `decide` folds the history, then applies rules until nothing follows any more:

    absorb      what runners reported and launchers saw becomes changes of task runs
    follow      the run's own move that follows from its task runs, or from the clock
    reply       the operation that a user asked for, allowed or refused
    start       what was asked for before there was a plan
    forwards    processing: what became eligible is asked about, skipped, or intended
    backwards   cancelling: undos whose turn it is are skipped or intended
    fence       what may no longer begin is refused its begin

The caller writes the decision in order: records, then changes, then effects. So an intent is
durable before its runner starts, a fence before the move that needs it, and nothing happens that
isn't recorded first. Losing the process anywhere in between loses nothing: the next decision, from
what was written, does the rest.
"""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from xaas_core.engine import rollback
from xaas_core.engine.attempts import conclude, fence, intend, retry_due, waits_in_vain
from xaas_core.engine.draft import Draft
from xaas_core.engine.facts import Decision, End, Facts, Key, Launch, Phase, Release, Reply
from xaas_core.engine.lookahead import look_ahead
from xaas_core.engine.records import Attempt, Stop, Verdict
from xaas_core.engine.states import (
    ENDED,
    OPERATIONS,
    OVER,
    SATISFIED,
    Operation,
    Reason,
    RunState,
    Side,
    TaskState,
)

DEFERRED = "it starts as soon as its definitions are there"

LEAVES_WITHIN = 30_000
"""Milliseconds after its report until a runner that is still seen is ended: it leaves at once, but a
busy node may be long in telling so."""

RELEASE_WITHIN = 30_000
"""Milliseconds after which the traces of a runner may go though its run isn't over."""


def decide(facts: Facts) -> Decision:
    """What to write and what to do; see the module's text. Never raises for any facts."""
    draft = Draft(facts)
    if facts.deleting:
        delete(draft)
    else:
        # What has happened comes before the reply: a run that is complete can't be cancelled.
        absorb(draft)
        follow(draft)
        reply(draft)
        start(draft)
        settle(draft)
        expire(draft)
    effects(draft)
    look_ahead(draft)
    retire(draft)
    draft.decision.after = draft.history
    return draft.decision


def settle(draft: Draft) -> None:
    """Apply the rules until nothing follows from them any more."""
    steps = -1
    while steps != _progress(draft):
        steps = _progress(draft)
        for key in draft.under_way():
            fence(draft, key)
        absorb(draft)
        follow(draft)
        if draft.state is RunState.PROCESSING:
            forwards(draft)
        elif draft.state is RunState.CANCELLING:
            backwards(draft)


def _progress(draft: Draft) -> int:
    return len(draft.decision.changes)


def absorb(draft: Draft) -> None:
    """Turn what is recorded and seen into changes of task runs: begins first, each in order."""
    found: list[tuple[int, Key, TaskState, Reason, Attempt | None]] = []
    for key in draft.under_way():
        cell = draft.cell(key)
        if cell.state in ENDED or draft.current(key) is None:
            continue
        conclude(draft, key)
        attempt = draft.current(key)
        assert attempt is not None
        begun = [a for a in draft.record(key).attempts if a.round == cell.round and a.begun]
        since, ran = 0, begun[-1] if begun else None
        if cell.state is TaskState.PENDING and begun:
            since = begun[0].steps[0].begun_at
            found.append((since, key, TaskState.RUNNING, Reason.NONE, begun[0]))
        # A clock that was set back must not put an end before its beginning.
        at = max(attempt.ended_at or draft.now, since)
        if waits_in_vain(draft, key, attempt):
            found.append((at, key, TaskState.FAILED, Reason.RUN_ENDED, ran))
        elif attempt.over and attempt.succeeded:
            found.append((at, key, TaskState.SUCCEEDED, Reason.NONE, ran))
        elif attempt.over:
            due = retry_due(draft, key, attempt)
            if due is None:
                found.append((at, key, TaskState.FAILED, attempt.reason, ran))
            elif due <= draft.now:
                intend(draft, key, attempt.order, attempt.undoes)
            else:
                draft.decision.wake(due)
        elif cell.state is TaskState.RUNNING and attempt.stop is not None and not attempt.begun:
            intend(draft, key, attempt.order, attempt.undoes)  # its runner was lost: another
    # Begins first: none of them follows from an end that isn't recorded yet, and after a recorded
    # failure nothing begins.
    for at, key, state, reason, ran in sorted(found, key=_begins_first):
        draft.move_task(key, state, at, reason, ran)


def _begins_first(entry: tuple[int, Key, TaskState, Reason, Attempt | None]) -> tuple[bool, int]:
    at, _, state, _, _ = entry
    return state is not TaskState.RUNNING, at


def follow(draft: Draft) -> None:
    """Move the run as its task runs and the clock have it."""
    if draft.state is RunState.PROCESSING:
        _follow_processing(draft)
    elif draft.state is RunState.CANCELLING:
        _follow_cancelling(draft)


def _follow_processing(draft: Draft) -> None:
    history = draft.history
    failed = history.graph.in_order(history.index.refs(Side.DO, TaskState.FAILED))
    settings = draft.facts.settings
    if failed:
        first = min(failed, key=lambda ref: history.do(ref).finished_at or 0)
        text = f"task {first!r} failed ({history.do(first).reason})"
        reason, message = Reason.TASK_FAILED, text
    elif history.index.all_satisfied(Side.DO):
        draft.move_run(RunState.COMPLETE)
        return
    else:
        if settings.timeout is None:
            return
        deadline = (history.processing_since or 0) + settings.timeout
        if draft.now < deadline:
            draft.decision.wake(deadline)
            return
        reason, message = Reason.TIMEOUT, "the run took longer than its timeout"
    draft.move_run(RunState.ABORTED, reason, message)
    if settings.auto_rollback:
        draft.move_run(RunState.CANCELLING)


def _follow_cancelling(draft: Draft) -> None:
    history = draft.history
    if any(draft.any_in(side, TaskState.RUNNING) for side in Side):
        return
    failed = history.graph.in_order(history.index.refs(Side.UNDO, TaskState.FAILED))
    if failed:
        message = f"the undo of task {failed[0]!r} failed ({history.undo(failed[0]).reason})"
        draft.move_run(RunState.ABORTED, Reason.UNDO_FAILED, message)
    elif history.index.all_satisfied(Side.UNDO) and not _lingering(draft):
        draft.move_run(RunState.CANCELLED)


def _lingering(draft: Draft) -> bool:
    """Whether a runner without an outcome still lives: a run that is over leaves none behind."""
    return any(
        last is not None and not last.over and draft.sighting(key, last).phase is Phase.LIVE
        for key in draft.under_way()
        for last in [draft.record(key).last]
    )


def reply(draft: Draft) -> None:
    """Answer the operation that waits, by the table."""
    request, state = draft.facts.request, draft.state
    if request is None:
        return
    unplanned = state is RunState.PENDING and not draft.facts.plan.tasks
    if request.operation is Operation.RUN and unplanned:
        # Answered now, or a run whose definitions never come could not be cancelled.
        draft.decision.reply = Reply(request.id, Operation.RUN, True, state, DEFERRED, starts=True)
        return
    target = OPERATIONS[state].get(request.operation)
    if target is None:
        allowed = ", ".join(OPERATIONS[state]) or "none"
        message = f"a run that is {state} can't do {request.operation}; allowed now: {allowed}"
        still = draft.facts.starts and unplanned
        draft.decision.reply = Reply(
            request.id, request.operation, False, state, message, starts=still
        )
        return
    forced = state in (RunState.PROCESSING, RunState.COMPLETE, RunState.PENDING)
    stops = forced and request.operation is not Operation.RUN
    reason = Reason.REQUESTED if stops else Reason.NONE
    draft.move_run(target, reason, f"{request.operation} was asked for" if stops else "")
    draft.decision.reply = Reply(request.id, request.operation, True, target)


def start(draft: Draft) -> None:
    """Start a run that was to start as soon as its definitions are there, and hasn't been cancelled."""
    if draft.facts.starts and draft.state is RunState.PENDING and draft.facts.plan.tasks:
        draft.move_run(RunState.PROCESSING)


def forwards(draft: Draft) -> None:
    """Start what is eligible: every dependency is succeeded or skipped."""
    for key in _turns(draft, Side.DO):
        if not draft.may_begin(key):
            continue
        verdict = _verdict(draft, key)
        if verdict is None:
            continue
        steps = draft.task(key).steps
        if verdict.failure is not None:
            draft.move_task(key, TaskState.FAILED, draft.now, verdict.reason, None)
        elif not verdict.value:
            draft.move_task(key, TaskState.SKIPPED, draft.now, Reason.CONDITION_FALSE, None)
        elif not steps:
            draft.move_task(key, TaskState.SUCCEEDED, draft.now, Reason.NONE, None)
        else:
            intend(draft, key, tuple(range(len(steps))), 0)


def backwards(draft: Draft) -> None:
    """Start the undos whose turn it is; skip those that owe nothing, which starts nothing."""
    for key in _turns(draft, Side.UNDO):
        ref, _ = key
        if not rollback.may_undo(draft.history, ref):
            continue
        do = draft.known((ref, Side.DO))
        owed = rollback.owed_steps(draft.task(key), do, draft.known(key))
        if not owed:
            draft.move_task(key, TaskState.SKIPPED, draft.now, Reason.NOTHING_TO_UNDO, None)
            continue
        verdict = _verdict(draft, key) if draft.may_begin(key) else None
        if verdict is None:
            continue
        if verdict.failure is not None:
            draft.move_task(key, TaskState.FAILED, draft.now, verdict.reason, None)
        else:
            assert do is not None and do.last is not None
            intend(draft, key, owed, do.last.number)


def _turns(draft: Draft, side: Side) -> Iterator[Key]:
    """The task runs of `side` that wait for no other, in the order of the pipeline, or for undos in
    the reverse of it; also those whose turn comes while these are dealt with."""
    history, graph = draft.history, draft.history.graph
    sign = 1 if side is Side.DO else -1
    turns = [sign * graph.places[ref] for ref in history.index.free(side, TaskState.PENDING)]
    heapq.heapify(turns)
    while turns:
        ref = graph.order[abs(heapq.heappop(turns))]
        yield ref, side
        if history.cell(ref, side).state in SATISFIED:
            for other in graph.after(side)[ref]:
                # It may be dealt with before what it waits for, where records are newer than the history.
                is_pending = history.cell(other, side).state is TaskState.PENDING
                if is_pending and history.index.is_free(other, side):
                    heapq.heappush(turns, sign * graph.places[other])


def _verdict(draft: Draft, key: Key) -> Verdict | None:
    """The stored verdict of this round, or the one just found, which is stored; else a question."""
    record = draft.record(key)
    round_ = draft.cell(key).round
    if record.verdict is not None and record.verdict.round == round_:
        return record.verdict
    found = draft.facts.verdicts.get(key)
    if found is not None and found.round == round_:
        draft.save(replace(record, verdict=found))
        return found
    if key not in draft.decision.questions:
        draft.decision.questions.append(key)
    return None


def delete(draft: Draft) -> None:
    """Stop what runs, undo nothing; remove the run once nothing of it lives."""
    for key in draft.in_order(draft.facts.records):
        record = draft.record(key)
        last = record.last
        if last is not None and not last.over and last.stop is None:
            stopped = replace(last, stop=Stop(Reason.DELETED, draft.now))
            draft.save(record.with_last(stopped))
    draft.decision.remove = not _any_live(draft)


def _any_live(draft: Draft) -> bool:
    return any(seen.phase is Phase.LIVE for seen in draft.facts.sightings.values())


def expire(draft: Draft) -> None:
    """Remove a run that has been over for its ttlAfterFinished, and of which nothing lives."""
    ttl = draft.facts.settings.ttl_after_finished
    if ttl is None or draft.state not in OVER:
        return
    at = (draft.history.finished_at or draft.now) + ttl
    if draft.now < at:
        draft.decision.wake(at)
    else:
        draft.decision.remove = not _any_live(draft)


def effects(draft: Draft) -> None:
    """Start the runners that are intended, end those that are stopped or stay too long."""
    for key in draft.under_way():
        attempt = draft.record(key).last
        if attempt is None:
            continue
        grace = draft.task(key).grace_period
        seen = draft.facts.sightings.get(key)
        if seen is not None and seen.phase is Phase.LIVE:
            newest = (seen.attempt, seen.launch) == (attempt.number, attempt.launch)
            # A runner ends by itself after its report; one that doesn't is ended.
            leaves_at = (attempt.ended_at or 0) + max(grace, LEAVES_WITHIN)
            if newest and attempt.over and draft.now < leaves_at:
                draft.decision.wake(leaves_at)
            elif not newest or attempt.over or attempt.stop is not None:
                begun = any(
                    each.begun
                    for each in draft.record(key).attempts
                    if (each.number, each.launch) == (seen.attempt, seen.launch)
                )
                end = End(*key, seen.attempt, seen.launch, grace, begun=begun)
                draft.decision.ends.append(end)
        elif not attempt.over and attempt.stop is None and not attempt.begun:
            launch = Launch(*key, attempt.number, attempt.launch, attempt.order)
            draft.decision.launches.append(launch)
            draft.decision.wake(attempt.launched_at + draft.task(key).start_timeout)
    release(draft)


def release(draft: Draft) -> None:
    """Let go of what runners have left: when the run is over, or somewhat later; what is still to
    start comes first."""
    due = []
    for key in draft.held:
        since = _settled_at(draft, key)
        if since is None:
            continue
        if draft.state in OVER or draft.now >= since + RELEASE_WITHIN:
            due.append(key)
        else:
            draft.decision.wake(since + RELEASE_WITHIN)
    for key in draft.in_order(due):
        attempt = draft.record(key).last
        if attempt is not None:
            draft.decision.releases.append(Release(*key, attempt.number, attempt.launch))


def _settled_at(draft: Draft, key: Key) -> int | None:
    """When the newest attempt of a task run got its outcome, or was stopped before it began and so
    has none; None if it may yet get one."""
    cell = draft.history.cells[key[1]].get(key[0])
    if cell is not None and cell.finished_at is not None:
        return cell.finished_at
    attempt = draft.record(key).last if cell is not None else None
    if attempt is None:
        return None
    if attempt.over:
        return attempt.ended_at
    return attempt.stop.at if attempt.stop is not None and not attempt.begun else None


def retire(draft: Draft) -> None:
    """A run that is over, and of which nothing lives or waits, needs no more looking after."""
    decision, seen = draft.decision, draft.facts.sightings.values()
    asked = draft.facts.request is not None and decision.reply is None
    waits = draft.facts.settings.ttl_after_finished is not None or asked
    decision.retire = (
        draft.state in OVER
        and not draft.facts.deleting
        and not waits
        and not (decision.launches or decision.ends or decision.releases)
        and not any(each.phase is Phase.LIVE or each.held for each in seen)
    )
