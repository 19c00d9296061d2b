"""Runs and task runs as clients see them, derived from plan, history and records.

A task run that hasn't begun has no record of its own yet; it is shown all the same, both sides of
every task of the plan. States come from the run's history alone.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from xaas_core.engine.facts import Key
from xaas_core.engine.history import Cell, History
from xaas_core.engine.params import Inputs, encode
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Attempt, Failure, StepRecord, TaskRecord
from xaas_core.engine.rollback import may_undo
from xaas_core.engine.states import OPERATIONS, SATISFIED, Reason, RunState, Side, TaskState
from xaas_core.models.objects import Run
from xaas_core.names import instance_id, runner_id
from xaas_core.notices import rfc3339

Json = dict[str, Any]

AT_ONCE: Final = 20
"""Task runs shown before others get their turn: an input may take milliseconds to compute."""


def time(at: int | None) -> str | None:
    """Milliseconds since 1970 as text; None stays None."""
    return None if at is None else rfc3339(at)


def run_view(run: Run) -> Json:
    """A run's answer."""
    summary = run.status.summary
    counts = dict.fromkeys(("total", *(state.value for state in TaskState)), 0) | summary.counts
    operations = [] if run.meta.deleting else list(OPERATIONS[summary.state])
    return {
        "instance_id": run.meta.uid,
        "resource_name": run.meta.resource_name,
        "name": run.spec.name,
        "status": summary.state.value,
        "parameters": run.spec.parameters,
        "reason": summary.reason.value or None,
        "warnings": _warnings(run),
        "created_at": rfc3339(run.meta.created_at),
        "started_at": time(summary.started_at),
        "finished_at": time(summary.finished_at),
        "operations": operations,
        "tasks": counts,
    }


def _warnings(run: Run) -> list[Json]:
    shown = [
        {"type": w.type, "message": w.message, "path": list(w.path), "refs": list(w.refs)}
        for w in run.status.warnings
    ]
    summary = run.status.summary
    if summary.state is RunState.PENDING and summary.message:
        # What is missing before the run can start: the reason alone doesn't name it.
        message = {"type": summary.reason.value, "message": summary.message}
        shown.insert(0, {**message, "path": [], "refs": []})
    return shown


def recorded(run: Run, plan: Plan) -> set[Key]:
    """The task runs of which there can be a record: none is undone before its run was cancelled."""
    was_cancelled = any(
        change.ref is None and change.state == RunState.CANCELLING for change in run.history
    )
    sides = (Side.DO, Side.UNDO) if was_cancelled else (Side.DO,)
    return {(ref, side) for ref in plan.graph.order for side in sides}


class TaskRuns:
    """The task runs of one run."""

    def __init__(self, run: Run, plan: Plan, records: Mapping[Key, TaskRecord]) -> None:
        self._run = run.meta.uid
        self._plan = plan
        self._records = records
        self.history = History(plan.graph, run.history)
        self._inputs = Inputs(encode(run.spec.parameters), plan.graph, self.history, records)

    async def all(self) -> list[Json]:
        """Do task runs in the pipeline's order, then undo task runs in the reverse order."""
        shown = []
        for count, (ref, side) in enumerate(self._keys()):
            if count % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            shown.append(self.one(ref, side))
        return shown

    def _keys(self) -> Iterator[Key]:
        order = self._plan.graph.order
        yield from ((ref, Side.DO) for ref in order)
        yield from ((ref, Side.UNDO) for ref in reversed(order))

    def one(self, ref: str, side: Side) -> Json:
        """One task run. Raises KeyError for a ref that the plan doesn't have."""
        task = self._plan.by_ref[ref]
        cell = self.history.cell(ref, side)
        record = self._records.get((ref, side)) or TaskRecord(ref, side)
        begun = _last_begun(record, cell.round)
        return {
            "instance_id": instance_id(self._run, ref, side),
            "ref": ref,
            "name": task.task,
            "process_type": side.value,
            "owner_id": self._run,
            "runner_id": self._runner(record, begun),
            "status": cell.state.value,
            "reason": cell.reason.value or None,
            "error": _error(_failure(cell, record)),
            "input": self._input(ref, side, begun),
            "delta": [] if begun is None else list(begun.delta()),
            "attempts": [self._attempt(record, attempt) for attempt in record.attempts],
            "steps": _steps(len(task.steps), cell, record.current(cell.round)),
            "started_at": time(cell.started_at),
            "finished_at": time(cell.finished_at),
        }

    def _runner(self, record: TaskRecord, attempt: Attempt | None) -> str | None:
        if attempt is None or not attempt.begun:
            return None
        return runner_id(self._run, record.ref, record.side, attempt.number, attempt.launch)

    def _input(self, ref: str, side: Side, begun: Attempt | None) -> Json | None:
        """What the task run starts from; None while it may yet change."""
        if begun is None and not self._input_is_known(ref, side):
            return None
        return self._inputs.of(ref, side)

    def _input_is_known(self, ref: str, side: Side) -> bool:
        if side is Side.UNDO:
            return self.history.state is RunState.CANCELLING and may_undo(self.history, ref)
        needs = self._plan.graph.dependencies[ref]
        return all(self.history.do(needed).state in SATISFIED for needed in needs)

    def _attempt(self, record: TaskRecord, attempt: Attempt) -> Json:
        if attempt.over:
            status = TaskState.SUCCEEDED if attempt.succeeded else TaskState.FAILED
        else:
            status = TaskState.RUNNING if attempt.begun else TaskState.PENDING
        return {
            "number": attempt.number,
            "runner_id": self._runner(record, attempt),
            "status": status.value,
            "started_at": time(attempt.steps[0].begun_at) if attempt.begun else None,
            "finished_at": time(attempt.ended_at),
            "error": _error(attempt.failure or _trouble(attempt)),
        }


def _last_begun(record: TaskRecord, round_: int) -> Attempt | None:
    """The newest attempt of the present round of which a step began: it names the runner."""
    begun = (a for a in reversed(record.attempts) if a.round == round_ and a.begun)
    return next(begun, None)


def _trouble(attempt: Attempt) -> Failure | None:
    """Why an attempt hasn't begun yet, as far as its backend knows: what it fails for if that lasts."""
    if attempt.begun or attempt.over or not attempt.trouble:
        return None
    return Failure(Reason.NOT_STARTED.value, attempt.trouble)


def _failure(cell: Cell, record: TaskRecord) -> Failure | None:
    """Why a failed task run failed: its last attempt, or what kept it from having one."""
    if cell.state is not TaskState.FAILED:
        return None
    last = record.current(cell.round)
    if last is not None and last.failure is not None:
        return last.failure
    verdict = record.verdict
    if verdict is not None and verdict.round == cell.round and verdict.failure is not None:
        return verdict.failure
    return Failure(cell.reason.value, _WITHOUT_FAILURE)


_WITHOUT_FAILURE: Final = "the run left its state before the next attempt could begin"


def _error(failure: Failure | None) -> Json | None:
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "step": failure.step,
        "line": failure.line,
        "traceback": list(failure.traceback),
    }


def _steps(count: int, cell: Cell, attempt: Attempt | None) -> list[Json]:
    """The steps of a task by index, as the newest attempt of the present round has them."""
    return [_step(index, cell, attempt) for index in range(count)]


def _step(index: int, cell: Cell, attempt: Attempt | None) -> Json:
    record = None if attempt is None else attempt.step(index)
    if attempt is not None and record is not None:
        status, finished = _step_state(record, attempt), record.finished_at
        if finished is None:
            finished = attempt.ended_at  # it was killed, or lost
        return {
            "index": index,
            "status": status.value,
            "started_at": time(record.begun_at),
            "finished_at": time(finished),
        }
    left_out = attempt is not None and index not in attempt.order
    skipped = left_out or cell.state is TaskState.SKIPPED
    status = TaskState.SKIPPED if skipped else TaskState.PENDING
    return {"index": index, "status": status.value, "started_at": None, "finished_at": None}


def _step_state(record: StepRecord, attempt: Attempt) -> TaskState:
    if record.succeeded:
        return TaskState.SUCCEEDED
    ended = record.finished_at is not None or attempt.over
    return TaskState.FAILED if ended else TaskState.RUNNING
