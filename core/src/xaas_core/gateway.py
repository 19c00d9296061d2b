"""The gateway: what runners call. Stateless: live read, guarded write.

This is where "at most once per attempt" becomes true. A step has begun when its begin is recorded,
before the script starts; who began it is the process that drew the nonce, and no other ever gets
the script. `begin` is refused once a stop is written (`engine.attempts.fence` writes it before the
run moves on), and a step begins only after the one before it has succeeded.

An outcome is recorded once: by the runner's own report, or by the reconciler when the runner is
surely gone. Whichever is written first holds; the other finds it and gives up.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import Any, TypeGuard

from xaas_core.engine.attempts import succeeded
from xaas_core.engine.folds import Folds
from xaas_core.engine.json_values import DEEPEST, check_json, is_unicode
from xaas_core.engine.lookahead import turn_has_come
from xaas_core.engine.records import Attempt, Failure, StepRecord
from xaas_core.engine.states import Reason, RunState, Side
from xaas_core.long_polls import LongPolls
from xaas_core.models.objects import Run
from xaas_core.operations import until
from xaas_core.places import Place, net, params_of
from xaas_core.ports import Clock, Conflict, NotFound, RunnerKey, Store, TooLarge
from xaas_runner.contract import (
    MAX_DELTA_WEIGHT,
    BeginAnswer,
    BeginCall,
    Context,
    FinishAnswer,
    FinishCall,
    weight,
)

CLOCK_SLACK = 250
"""Milliseconds that a script may seem to be late: begin's answer takes time to arrive."""

MAX_TRIES = 20
"""Guarded writes of one call; each that fails met another writer that got on."""

STOPPED = {"Timeout": Reason.TIMEOUT, "CpuLimit": Reason.CPU_LIMIT}
"""Why a runner stopped its script by itself, by its error's type."""


LAST_LINE = 2**31 - 1
"""Largest number of a line that is believed."""

BUNDLES = {"sets": ("set", "values"), "deletes": ("delete", "keys")}
"""Bundled changes: what each of them is, and the field that holds them."""

OVER = "this attempt is over"
NOT_BEGUN = "this process didn't begin that step"
"""Why a runner is sent away."""


class Absent(Enum):
    """Why a runner's attempt isn't there."""

    EARLY = "nothing is intended for its task run yet"
    OVER = "its outcome is recorded, or it was given up"


class Gateway:
    """Answers runners. Methods raise Unavailable if the store can't be reached: ask again."""

    def __init__(self, store: Store, clock: Clock, polls: LongPolls | None = None) -> None:
        self._store = store
        self._clock = clock
        self.polls = polls or LongPolls()
        self._folds = Folds()

    async def wait(self, runner: RunnerKey, step: int, patience: float = 0) -> BeginAnswer:
        """Whether `step` may begin; for at most `patience` seconds it isn't answered by `wait`."""

        async def decided() -> BeginAnswer | None:
            answer = await self._turn(runner, step)
            return None if answer["answer"] == "wait" else answer

        answer = None
        if patience > 0:
            with suppress(TimeoutError):
                async with self.polls.within(patience):
                    answer = await until(self._store, runner.run, decided, patience)
        return answer or await self._turn(runner, step)

    async def _turn(self, runner: RunnerKey, step: int) -> BeginAnswer:
        """From what was last seen; but nobody is sent away without a look at what is so."""
        refused = await self._refusal(runner, step, fresh=False)
        if refused is not None and refused["answer"] == "leave":
            refused = await self._refusal(runner, step, fresh=True)
        return refused or {"answer": "go"}

    async def _refusal(self, runner: RunnerKey, step: int, *, fresh: bool) -> BeginAnswer | None:
        place = await self._find(runner, fresh=fresh)
        return _may_begin(place, step) if isinstance(place, Place) else _absent(place)

    async def begin(self, runner: RunnerKey, call: BeginCall) -> BeginAnswer:
        """Record that `step` begins, and hand out its script and params.

        For an attempt's first step the run is read live: none begins in a run that isn't in its state
        any more, whatever was seen of it. The record may be what was last seen of it, for its version
        is a guard, also against a stop.
        """
        step = call["step"]
        for number in range(MAX_TRIES):
            fresh = number > 0
            place = await self._find(runner, fresh=fresh)
            if not fresh and not _knows_input(place):
                place = await self._find(runner, fresh=False, fresh_run=True)
            refused = _refused(place, call)
            if refused is not None or not isinstance(place, Place):
                if fresh and refused is not None:
                    return refused
                continue
            if place.attempt.step(step) is not None:
                return await self._go(place, step)
            record = StepRecord(step, self._clock.now(), call["nonce"], call["runner"])
            attempt = place.attempt.with_step(record)
            # Computed before the begin is recorded: what can't be handed out must not begin.
            answer = await self._go(replace(place, attempt=attempt), step)
            if await self._save(place, attempt):
                return answer
        return {"answer": "wait", "reason": "too many writers at once"}

    async def finish(self, runner: RunnerKey, call: FinishCall) -> FinishAnswer:
        """Record how a step ended. The first report of the process that began it counts.

        From what was last seen: the record's version is a guard, and nothing else matters here, but
        for a further step that has changed something: see `net`.
        """
        for number in range(MAX_TRIES):
            fresh = number > 0
            place = await self._find(runner, fresh=fresh, over=True)
            if not fresh and call["delta"] and _is_further(place) and not _knows_input(place):
                place = await self._find(runner, fresh=False, fresh_run=True, over=True)
            there = isinstance(place, Place)
            begun = place.attempt.step(call["step"]) if isinstance(place, Place) else None
            if not isinstance(place, Place) or begun is None or begun.nonce != call["nonce"]:
                if fresh:
                    return {"answer": "leave", "reason": NOT_BEGUN if there else OVER}
                continue
            if begun.finished_at is not None:
                return _recorded(place.attempt, call["step"])
            if place.attempt.over:
                return {"answer": "leave", "reason": "this attempt's outcome is recorded already"}
            ended = self._ended(place, begun, call)
            changed = await net(self._store, place, place.attempt.with_step(ended))
            attempt = succeeded(changed)
            try:
                saved = await self._save(place, attempt)
            except TooLarge as error:
                attempt = place.attempt.with_step(_without_result(ended, str(error)))
                saved = await self._save(place, attempt)
            if saved:
                return _recorded(attempt, call["step"])
        raise Conflict("too many writers at once")

    async def context(self, runner: RunnerKey) -> Run | None:
        """The run of a runner whose attempt isn't over; None otherwise."""
        place = await self._find(runner, fresh=True)
        return place.run if isinstance(place, Place) else None

    async def _find(
        self, runner: RunnerKey, *, fresh: bool, fresh_run: bool = False, over: bool = False
    ) -> "Place | Absent":
        """The runner's attempt, if it is the newest, and its outcome isn't recorded (`over`: or is).

        `fresh`: read live, else as it was last seen; `fresh_run`: the run, at least, is read live.
        """
        store, key = self._store, (runner.ref, runner.side)
        try:
            read = store.get_run if fresh or fresh_run else store.seen_run
            run = await read(runner.run)
            plan = await store.plan(runner.run)
            stored = (await store.records(runner.run, [key] if fresh else None)).get(key)
        except NotFound:
            return Absent.OVER
        if plan is None or run.meta.deleting:
            return Absent.OVER
        last = stored.value.last if stored is not None else None
        if stored is None or last is None:
            # Started ahead of its turn (`engine.lookahead`).
            first = (runner.attempt, runner.launch) == (1, 1) and runner.ref in plan.by_ref
            return Absent.EARLY if first and _starts(run, runner.side) else Absent.OVER
        if last.over and not over:
            return Absent.OVER
        if (last.number, last.launch) != (runner.attempt, runner.launch):
            return Absent.OVER
        history = self._folds.of(runner.run, plan.graph, run.history)
        return Place(runner, run, plan, history, stored, last)

    async def _save(self, place: Place, attempt: Attempt) -> bool:
        record, version = place.saved(attempt), place.stored.version
        try:
            await self._store.save_record(place.runner.run, record, version)
        except (Conflict, NotFound):
            return False
        return True

    async def _go(self, place: Place, step: int) -> BeginAnswer:
        """Begin's answer: computed from what is recorded, so the same again if asked again."""
        runner, task, attempt = place.runner, place.task, place.attempt
        undo = runner.side is Side.UNDO
        budget = None
        if task.timeout is not None:
            budget = max(attempt.steps[0].begun_at + task.timeout - self._clock.now(), 0)
        context: Context = {
            "run_id": place.run.meta.uid,
            "pipeline": place.run.spec.name,
            "ref": runner.ref,
            "task": task.task,
            "process_type": runner.side.value,
            "step": step,
            "attempt": attempt.number,
            "namespace": place.run.meta.namespace,
        }
        return {
            "answer": "go",
            "script": task.script(undo, step),
            "params": await params_of(self._store, place),
            "context": context,
            "allowed_imports": list(task.allowed_imports),
            "budget_ms": budget,
        }

    def _ended(self, place: Place, begun: StepRecord, call: FinishCall) -> StepRecord:
        """The record of a step that has ended as `call` says, judged by the attempt's timeout."""
        # Neither a runner nor a clock that was set back ends a step before its beginning.
        ended_at = max(begun.begun_at, min(self._clock.now(), begun.begun_at + call["elapsed_ms"]))
        ended = replace(begun, finished_at=ended_at)
        try:
            delta, failure = _read_delta(call["delta"]), _read_error(call["error"], call["step"])
        except ValueError as wrong:
            text = f"the runner's report can't be read: {wrong}"
            failure = Failure(Reason.RESULT_INVALID, text, call["step"])
            return replace(ended, reason=Reason.RESULT_INVALID, failure=failure)
        limit = place.task.timeout
        started_at = place.attempt.steps[0].begun_at
        late = limit is not None and ended_at > started_at + limit + CLOCK_SLACK
        if call["outcome"] == "succeeded" and not late:
            return replace(ended, succeeded=True, delta=delta)
        if call["outcome"] == "succeeded":
            text = "the attempt took longer than its timeout"
            failure = Failure(Reason.TIMEOUT, text, call["step"])
            return replace(ended, reason=Reason.TIMEOUT, failure=failure)
        reason = _why(place.attempt, failure, call["terminated"])
        kept = () if call["terminated"] or late else delta
        return replace(ended, delta=kept, reason=reason, failure=failure)


def _absent(why: Absent) -> BeginAnswer:
    """What a runner is told whose attempt isn't there."""
    if why is Absent.OVER:
        return _leave(OVER)
    return {"answer": "wait", "reason": "its turn hasn't come", "early": True}


def _is_further(place: Place | Absent) -> bool:
    """Whether the attempt has begun more than its first step."""
    return isinstance(place, Place) and len(place.attempt.steps) > 1


def _knows_input(place: Place | Absent) -> bool:
    """Whether the attempt has begun, and the history tells of all that its input follows from.

    Another replica may have let it begin, by a history that ours doesn't know yet.
    """
    if not isinstance(place, Place) or not place.attempt.begun:
        return False
    key = (place.runner.ref, place.runner.side)
    # Nothing that an undo waits for tells that its run has come so far.
    comes_so_far = _starts(place.run, place.runner.side)
    is_this_round = place.history.cell(*key).round == place.attempt.round
    return comes_so_far and is_this_round and turn_has_come(place.history, key)


def _starts(run: Run, side: Side) -> bool:
    """Whether task runs of this side start in the run's state."""
    wanted = RunState.PROCESSING if side is Side.DO else RunState.CANCELLING
    return run.status.summary.state is wanted


def _refused(place: Place | Absent, call: BeginCall) -> BeginAnswer | None:
    """Why this process may not begin the step now; None if it may, or has."""
    if not isinstance(place, Place):
        return _absent(place)
    begun = place.attempt.step(call["step"])
    if begun is None:
        return _may_begin(place, call["step"])
    if begun.nonce == call["nonce"] and begun.finished_at is None:
        return None
    return _leave("this step has begun already, in another process")


def _without_result(ended: StepRecord, why: str) -> StepRecord:
    """The record of a step whose result can't be kept: it has failed, and its edits don't count."""
    text = f"the edits of all steps together can't be kept: {why}"
    failure = Failure(Reason.RESULT_INVALID, text, ended.index)
    return replace(ended, succeeded=False, delta=(), reason=Reason.RESULT_INVALID, failure=failure)


def _why(attempt: Attempt, failure: Failure, terminated: bool) -> Reason:
    """Why a step has failed, by its runner's report."""
    if not terminated:
        return Reason.PARAMS_INVALID if failure.type == "ParamsInvalid" else Reason.SCRIPT_ERROR
    if attempt.stop is not None:
        return attempt.stop.reason
    # Nobody here stopped it: the machine did (a drained node, a deleted pod).
    return STOPPED.get(failure.type, Reason.RUNNER_LOST)


def _may_begin(place: Place, step: int) -> BeginAnswer | None:
    """Why `step` may not begin now; None if it may."""
    attempt = place.attempt
    if attempt.stop is not None:
        return _leave("this attempt is stopped")
    if step not in attempt.order:
        return _leave("this attempt has no such step")
    for earlier in attempt.order[: attempt.order.index(step)]:
        before = attempt.step(earlier)
        if before is None or before.finished_at is None:
            return {"answer": "wait", "reason": f"step {earlier} isn't finished"}
        if not before.succeeded:
            return _leave(f"step {earlier} has failed")
    return None if attempt.begun else _may_start(place)


def _may_start(place: Place) -> BeginAnswer | None:
    """Why an attempt may not begin its first step now; None if it may."""
    run, attempt = place.run, place.attempt
    if not _starts(run, place.runner.side):
        return _leave(f"the run is {run.status.summary.state}")
    # Not `leave`: a runner that ends before its first step counts as lost.
    if not turn_has_come(place.history, (place.runner.ref, place.runner.side)):
        return {"answer": "wait", "reason": "what it waits for isn't recorded yet"}
    first = not any(a.begun and a.round == attempt.round for a in place.stored.value.attempts)
    if run.spec.suspend and first:
        return {"answer": "wait", "reason": "the run is suspended"}
    return None


def _leave(reason: str) -> BeginAnswer:
    return {"answer": "leave", "reason": reason}


def _recorded(attempt: Attempt, step: int) -> FinishAnswer:
    record = attempt.step(step)
    more = record is not None and record.succeeded and step != attempt.order[-1]
    return {"answer": "recorded", "next": more}


def _read_delta(raw: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """A runner's delta, read with suspicion: its process ran a user's script. Raises ValueError."""
    delta: list[dict[str, Any]] = []
    total = 0
    for index, change in enumerate(raw):
        for op in _read_change(change, f"delta[{index}]"):
            # What a small bundle unfolds into is bounded while it does.
            total += weight(op["path"])
            if total > MAX_DELTA_WEIGHT:
                raise ValueError("the delta makes more and deeper changes than can be kept")
            delta.append(op)
    return tuple(delta)


def _read_change(change: Any, place: str) -> Iterator[dict[str, Any]]:
    """The changes that one of a delta stands for: itself, or those that it bundles."""
    fields = change if isinstance(change, dict) else {}
    op, path = fields.get("op"), fields.get("path")
    if isinstance(op, str) and op in BUNDLES:
        kind, name = BUNDLES[op]
        tree = fields.get(name)
        if not isinstance(tree, dict):
            raise ValueError(f"{place} has no usable {name}")
        check_json(tree, f"{place}'s {name}", DEEPEST)
        yield from _unbundled(kind, tree, ())
        return
    if not _is_texts(path) or len(path) > DEEPEST or (not path and op != "order"):
        raise ValueError(f"{place} has no usable path")
    if op == "set" and "value" in fields:
        check_json(fields["value"], f"{place}'s value", DEEPEST - len(path))
        yield {"op": "set", "path": path, "value": fields["value"]}
    elif op == "delete":
        yield {"op": "delete", "path": path}
    elif op == "order" and _is_texts(fields.get("keys")):
        yield {"op": "order", "path": path, "keys": fields["keys"]}
    else:
        raise ValueError(f"{place} is none of set, delete and order")


def _unbundled(op: str, tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict) and value:
            yield from _unbundled(op, value, here)
        elif op == "set":
            yield {"op": op, "path": [*here], "value": value}
        elif value is None:
            yield {"op": op, "path": [*here]}
        else:
            raise ValueError("a bundle of deletes holds a value")


def _is_texts(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(t, str) and is_unicode(t) for t in value)


def _read_error(raw: Any, step: int) -> Failure:
    """A runner's error, read likewise. Raises ValueError."""
    error = raw or {"type": "Error", "message": "the step failed without saying why"}
    line, traceback = error.get("line"), error.get("traceback") or []
    texts = [error.get("type"), error.get("message")]
    texts += traceback if isinstance(traceback, list) else [None]
    if not _is_texts(texts):
        raise ValueError("error has no usable type, message and traceback")
    if line is not None and (type(line) is not int or not 0 <= line <= LAST_LINE):
        raise ValueError("error's line is no number of a line")
    return Failure(texts[0], texts[1], step, line, tuple(texts[2:]))
