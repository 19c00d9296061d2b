"""The life of one attempt: intended, launched, begun, over; and when the next one follows.

An attempt is written before its runner is started. Until its first step begins it costs nothing:
its runner may vanish or be withdrawn, and another is launched for the same attempt. From the first
begin on, its runner's loss is its failure.
"""

from dataclasses import replace

from xaas_core.engine.draft import Draft
from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_core.engine.records import Attempt, Failure, Stop
from xaas_core.engine.states import OnAbort, Reason, RunState, Side, TaskState

MAX_LOST = 5
"""Runners of one attempt that may vanish before their first step begins; then it is NotStarted."""

TROUBLE_AFTER = 3000
"""Milliseconds until it is worth a write why a runner doesn't start: mostly it does, a moment later."""

NOT_RETRIED = frozenset(
    {
        Reason.NOT_STARTED,
        Reason.INVALID_JOB,
        Reason.DELETED,
        Reason.RUN_ENDED,
    }
)
"""Failures that another attempt wouldn't mend, or that were wanted."""


def conclude(draft: Draft, key: Key) -> None:
    """Record the outcome of the newest attempt, if it has one now, or stop it if its time is up."""
    attempt = draft.current(key)
    if attempt is None or attempt.over:
        return
    if not attempt.begun and not draft.may_begin(key):
        return  # the fence withdraws it; whatever becomes of its runner costs nothing
    concluded = _by_report(attempt) or _by_sighting(draft, key, attempt)
    if concluded is None:
        concluded = _by_clock(draft, key, _by_trouble(draft, key, attempt))
    if concluded is not attempt:
        draft.save_attempt(key, concluded)


def succeeded(attempt: Attempt) -> Attempt:
    """The attempt with its outcome, if all its steps have succeeded; as it is, if not.

    Nothing else can become of it then: whoever writes the last step's end writes this with it.
    """
    done = {step.index for step in attempt.steps if step.succeeded}
    if attempt.over or not done.issuperset(attempt.order):
        return attempt
    at = max(step.finished_at or 0 for step in attempt.steps)
    return replace(attempt, ended_at=at, succeeded=True)


def _by_report(attempt: Attempt) -> Attempt | None:
    """What the runner itself has reported."""
    for step in attempt.steps:
        if step.finished_at is not None and not step.succeeded:
            return _end(attempt, step.finished_at, step.reason, step.failure)
    ended = succeeded(attempt)
    return ended if ended.over else None


def _by_sighting(draft: Draft, key: Key, attempt: Attempt) -> Attempt | None:
    """What a runner can't report: it never started, or is gone."""
    seen = draft.sighting(key, attempt)
    if seen.phase is Phase.LIVE:
        return None
    stop = attempt.stop
    if attempt.begun:
        reason = (stop and stop.reason) or seen.reason or Reason.RUNNER_LOST
        last = attempt.steps[-1].index
        text = seen.message or attempt.trouble or _WHY_GONE.get(reason, "the runner is gone")
        return _end(attempt, draft.now, reason, Failure(reason, text, step=last))
    if stop is not None and stop.reason is Reason.WITHDRAWN:
        return None
    if seen.phase is Phase.REFUSED:
        reason = seen.reason or Reason.INVALID_JOB
        return _end(attempt, draft.now, reason, Failure(reason, seen.message))
    if stop is not None and stop.reason is Reason.NOT_STARTED:
        text = attempt.trouble or seen.message or "no step began within startTimeout"
        return _end(attempt, draft.now, Reason.NOT_STARTED, Failure(Reason.NOT_STARTED, text))
    if seen.phase is Phase.OVER:
        return _lose(draft, attempt, seen)
    return None


def _lose(draft: Draft, attempt: Attempt, seen: Sighting) -> Attempt:
    """A runner ended before its first step: another one may try, so many times."""
    lost = replace(attempt, lost=attempt.lost + 1)
    if lost.lost >= MAX_LOST:
        text = f"{lost.lost} runners ended before their first step. {seen.message}".strip()
        return _end(lost, draft.now, Reason.NOT_STARTED, Failure(Reason.NOT_STARTED, text))
    return replace(lost, stop=Stop(Reason.WITHDRAWN, draft.now))


def _by_trouble(draft: Draft, key: Key, attempt: Attempt) -> Attempt:
    """What a runner can't report: why it doesn't start, or that a process of it has died.

    The processes of a runner are one: where one has ended without its step's outcome recorded, the
    next step's would wait for ever, so the runner is stopped. The reason is kept with the stop, for
    when the runner is gone nobody else knows it.
    """
    seen = draft.sighting(key, attempt)
    if seen.phase not in (Phase.LIVE, Phase.ABSENT) or attempt.stop is not None:
        return attempt
    done = {step.index for step in attempt.steps if step.finished_at is not None}
    if any(index in seen.gone and index not in done for index in attempt.order):
        if not attempt.begun:
            return _lose(draft, attempt, seen)
        stop = Stop(seen.reason or Reason.RUNNER_LOST, draft.now)
        return replace(attempt, stop=stop, trouble=seen.message)
    if attempt.begun or seen.message == attempt.trouble:
        return attempt
    worth_it = attempt.launched_at + min(TROUBLE_AFTER, draft.task(key).start_timeout // 2)
    if seen.message and draft.now < worth_it:
        draft.decision.wake(worth_it)
        return attempt
    # What there was no room for is made now, perhaps: its time to start begins.
    since = attempt.launched_at if seen.message else draft.now
    return replace(attempt, trouble=seen.message, launched_at=since)


def _by_clock(draft: Draft, key: Key, attempt: Attempt) -> Attempt:
    """Stop an attempt that takes too long; its outcome is recorded once its runner is gone."""
    if attempt.stop is not None or attempt.over:
        return attempt
    task = draft.task(key)
    if attempt.begun:
        limit, since, reason = task.timeout, attempt.steps[0].begun_at, Reason.TIMEOUT
    else:
        limit, since, reason = task.start_timeout, attempt.launched_at, Reason.NOT_STARTED
    seen = draft.sighting(key, attempt)
    if limit is None:
        return attempt
    if draft.now < since + limit:
        draft.decision.wake(since + limit)
        return attempt
    if not attempt.begun and (seen.phase is Phase.ABSENT or seen.starting):
        # What the backend has no room for yet waits, and says why. What was intended and never
        # launched, for nobody was there to do so, is launched late. Its time begins anew: over, it
        # would have the run looked at again and again, without a pause.
        return replace(attempt, launched_at=draft.now)
    return replace(attempt, stop=Stop(reason, draft.now))


_WHY_GONE = {
    Reason.RUNNER_LOST: "the runner vanished after a step began",
    Reason.TIMEOUT: "the attempt took longer than its timeout",
    Reason.TERMINATED: "stopped, because the run left processing (onAbort: terminate)",
    Reason.DELETED: "stopped, because the run is being deleted",
}


def _end(attempt: Attempt, at: int, reason: Reason, failure: Failure | None) -> Attempt:
    return replace(attempt, ended_at=at, reason=reason, failure=failure)


def fence(draft: Draft, key: Key) -> None:
    """Refuse the begin of what may no longer begin, and stop what may no longer run."""
    attempt = draft.record(key).last
    if attempt is None or attempt.over or attempt.stop is not None:
        return
    if not attempt.begun:
        # One of an earlier round, too: an abort and its recovery may be one decision.
        if not draft.may_begin(key) or attempt.round != draft.cell(key).round:
            draft.save_attempt(key, replace(attempt, stop=Stop(Reason.WITHDRAWN, draft.now)))
        elif attempt.recoveries != (recoveries := draft.cell(key).recoveries):
            draft.save_attempt(key, replace(attempt, recoveries=recoveries))
        return
    terminate = draft.facts.settings.on_abort is OnAbort.TERMINATE
    if key[1] is Side.DO and draft.state is not RunState.PROCESSING and terminate:
        draft.save_attempt(key, replace(attempt, stop=Stop(Reason.TERMINATED, draft.now)))


def retry_due(draft: Draft, key: Key, attempt: Attempt) -> int | None:
    """When the attempt after `attempt`, which failed, is due; None if there is none."""
    wanted = RunState.PROCESSING if key[1] is Side.DO else RunState.CANCELLING
    if draft.state is not wanted or attempt.reason in NOT_RETRIED:
        return None
    if attempt.reason is Reason.TERMINATED:
        return attempt.ended_at  # stopped by an abort that a recovery has overtaken
    retries = draft.task(key).retries
    used = _used(draft, key, attempt.round)
    if used > retries.limit:
        return None
    assert attempt.ended_at is not None
    return attempt.ended_at + retries.delay_before(used)


def _used(draft: Draft, key: Key, round_: int) -> int:
    """Attempts that count against the limit: those of the round, but afresh after a recovery that found
    one of them running, which is the first then."""
    now = draft.cell(key).recoveries
    whole = [each for each in draft.record(key).attempts if each.round == round_]
    before = [each for each in whole if each.recoveries != now]
    counted = (*before[-1:], *(each for each in whole if each.recoveries == now))
    return sum(each.reason is not Reason.TERMINATED for each in counted)


def waits_in_vain(draft: Draft, key: Key, attempt: Attempt) -> bool:
    """Whether a running task run's next attempt will never begin, since the run moved on."""
    return (
        draft.cell(key).state is TaskState.RUNNING
        and not attempt.begun
        and not attempt.over
        and attempt.stop is not None
        and not draft.may_begin(key)
    )


def intend(draft: Draft, key: Key, order: tuple[int, ...], undoes: int) -> None:
    """Write the intent of a new attempt, or of another launch of one that never began.

    Waits while a runner of an earlier one may still live.
    """
    record = draft.record(key)
    last = record.last
    ahead = draft.facts.sightings.get(key) if last is None else None
    if ahead is not None and ahead.phase is Phase.LIVE and ahead.ending:
        return  # it was started ahead, in vain, and isn't to begin any more
    if last is not None:
        if draft.sighting(key, last).phase is Phase.LIVE:
            return
        if not last.over and last.round == draft.cell(key).round:
            if last.stop is not None:
                again = replace(
                    last,
                    launch=last.launch + 1,
                    launched_at=draft.now,
                    recoveries=draft.cell(key).recoveries,
                    stop=None,
                )
                draft.save_attempt(key, again)
            return
    attempt = Attempt(
        number=last.number + 1 if last is not None else 1,
        round=draft.cell(key).round,
        decided_at=draft.now,
        launched_at=draft.now,
        order=order,
        undoes=undoes,
        recoveries=draft.cell(key).recoveries,
    )
    draft.save(replace(record, attempts=(*record.attempts, attempt)))
