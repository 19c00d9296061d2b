"""The state machines of a run and of a task run, as tables.

Theory of operation. A run's *history* is the list of its changes of state, each numbered; the
states are a fold over it (`history.py`). Every change goes through `check_run_move` or
`check_task_move`: a move that isn't in the tables is a defect of the engine and raises.

A task run moves forwards only. It returns to `pending` in two ways, both consequences of a move of
its run, never moves of their own: `recovery` resets what doesn't stand, and a `cancel` of an
aborted run resets the undos that failed. `history.py` does both.

The diagrams in docs/architecture.md are drawn from these tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """State of a run."""

    PENDING = "pending"  # created, not started; never notified
    PROCESSING = "processing"  # do task runs are running
    COMPLETE = "complete"  # every do succeeded or was skipped
    ABORTED = "aborted"  # failed; at rest unless it rolls back by itself
    CANCELLING = "cancelling"  # undo task runs are running
    CANCELLED = "cancelled"  # everything owed an undo was undone


class TaskState(StrEnum):
    """State of a task run."""

    PENDING = "pending"  # no step began yet; never notified
    RUNNING = "running"  # from the first step's begin, over all attempts
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # after its retries
    SKIPPED = "skipped"  # condition false, or nothing to undo


class Side(StrEnum):
    """Which of a task's two task runs: `process_type` in REST and notifications."""

    DO = "do"
    UNDO = "undo"


class Operation(StrEnum):
    """What a user asks of a run."""

    RUN = "run"
    CANCEL = "cancel"
    RECOVERY = "recovery"
    ROLLBACK = "rollback"


class OnAbort(StrEnum):
    """What happens to running do task runs when the run leaves `processing`."""

    FINISH = "finish"  # they end by themselves
    TERMINATE = "terminate"  # SIGTERM, the grace period, SIGKILL


class Reason(StrEnum):
    """Why a state is as it is; shown to users, stable."""

    NONE = ""
    SCRIPT_ERROR = "ScriptError"  # a step's script raised
    PARAMS_INVALID = "ParamsInvalid"  # a step left params that can't be JSON, or too large
    PARAMS_TOO_LARGE = "ParamsTooLarge"  # the merged input is over the limit
    RESULT_INVALID = "ResultInvalid"  # a runner's report couldn't be read
    CONDITION_ERROR = "ConditionError"  # the condition raised or hit its limits
    CONDITION_FALSE = "ConditionFalse"  # skipped by its condition
    NOTHING_TO_UNDO = "NothingToUndo"  # no step with an undoScript began
    NOT_STARTED = "NotStarted"  # no runner could be started
    INVALID_JOB = "InvalidJob"  # the backend refuses to start such a runner, ever
    RUNNER_LOST = "RunnerLost"  # the runner vanished after a step began
    OUT_OF_MEMORY = "OutOfMemory"  # the runner was killed for its memory
    CPU_LIMIT = "CPULimit"  # the runner used up its CPU time
    TIMEOUT = "Timeout"  # the attempt's or the run's timeout
    TERMINATED = "Terminated"  # stopped because the run left processing
    WITHDRAWN = "Withdrawn"  # stopped before its first step began; costs nothing
    DELETED = "Deleted"  # stopped because the run is being deleted
    RUN_ENDED = "RunEnded"  # was waiting for its next attempt when the run left processing
    TASK_FAILED = "TaskFailed"  # a do task run failed
    UNDO_FAILED = "UndoFailed"  # an undo task run failed
    REQUESTED = "Requested"  # by an operation
    DEFINITION_MISSING = "DefinitionMissing"  # pending: what it refers to isn't there
    INVALID = "Invalid"  # pending: it, or what it refers to, isn't valid


RUN_MOVES: Final[Mapping[RunState, frozenset[RunState]]] = {
    RunState.PENDING: frozenset({RunState.PROCESSING, RunState.CANCELLED}),
    RunState.PROCESSING: frozenset({RunState.COMPLETE, RunState.ABORTED, RunState.CANCELLING}),
    RunState.ABORTED: frozenset({RunState.CANCELLING, RunState.PROCESSING}),
    RunState.CANCELLING: frozenset({RunState.CANCELLED, RunState.ABORTED}),
    RunState.COMPLETE: frozenset({RunState.CANCELLING}),
    RunState.CANCELLED: frozenset(),
}

TASK_MOVES: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    # pending -> succeeded: a task without steps, which needs no runner
    TaskState.PENDING: frozenset(
        {TaskState.RUNNING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED}
    ),
    TaskState.RUNNING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.SKIPPED: frozenset(),
}

OPERATIONS: Final[Mapping[RunState, Mapping[Operation, RunState]]] = {
    RunState.PENDING: {
        Operation.RUN: RunState.PROCESSING,
        Operation.CANCEL: RunState.CANCELLED,
    },
    RunState.PROCESSING: {Operation.CANCEL: RunState.CANCELLING},
    RunState.ABORTED: {
        Operation.CANCEL: RunState.CANCELLING,
        Operation.RECOVERY: RunState.PROCESSING,
    },
    RunState.CANCELLING: {},
    RunState.COMPLETE: {Operation.ROLLBACK: RunState.CANCELLING},
    RunState.CANCELLED: {},
}
"""What may be asked in which state, and where it leads. Anything else is a conflict."""

OVER: Final = frozenset({RunState.COMPLETE, RunState.CANCELLED})
"""A run in one of these does nothing more by itself."""

AT_REST: Final = OVER | {RunState.ABORTED}

SATISFIED: Final = frozenset({TaskState.SUCCEEDED, TaskState.SKIPPED})
"""A task run in one of these lets its dependants start (do), or its dependencies (undo)."""

ENDED: Final = SATISFIED | {TaskState.FAILED}


class IllegalMove(AssertionError):
    """The engine tried a move that the tables don't have: a defect, never a user's mistake."""


def check_run_move(old: RunState, new: RunState) -> None:
    """Raise IllegalMove unless the tables have the move."""
    if new not in RUN_MOVES[old]:
        raise IllegalMove(f"run: {old} -> {new}")


def check_task_move(subject: str, old: TaskState, new: TaskState) -> None:
    """Raise IllegalMove unless the tables have the move; `subject` is for the message."""
    if new not in TASK_MOVES[old]:
        raise IllegalMove(f"{subject}: {old} -> {new}")
