"""Rollback: what is owed an undo, and in which order undos run.

The rules, all of them:

- Owed an undo is each do of which at least one step's doScript began, in any attempt since its last
  succeeded undo, and that has an undoScript among the steps that began. It makes no difference
  whether the step succeeded: an undoScript must bear with work half done.
- Between tasks: an undo starts when its own do is over and the undo of every dependant is succeeded
  or skipped (`Graph.before`). So branches undo in parallel, and the order is the reverse of the DAG.
- Inside a task: the undoScripts of the steps that began, in reverse order.
- When an undo has failed, no other starts; it is still owed when the rollback is renewed.
"""

from xaas_core.engine.history import History
from xaas_core.engine.plan import TaskPlan
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Side, TaskState


def owed_steps(task: TaskPlan, do: TaskRecord | None, undo: TaskRecord | None) -> tuple[int, ...]:
    """Indexes of the steps to undo, in the order to undo them; empty if nothing is owed."""
    if do is None:
        return ()
    done_with = last_undone_attempt(undo)
    began = {
        step.index
        for attempt in do.attempts
        if attempt.number > done_with
        for step in attempt.steps
    }
    return tuple(i for i in sorted(began, reverse=True) if task.steps[i].undo is not None)


def last_undone_attempt(undo: TaskRecord | None) -> int:
    """Number of the do attempt up to which a succeeded undo took things back; 0 without one."""
    attempts = undo.attempts if undo is not None else ()
    return max((attempt.undoes for attempt in attempts if attempt.succeeded), default=0)


def may_undo(history: History, ref: str) -> bool:
    """Whether it is the turn of `ref`'s undo."""
    return (
        history.undo(ref).state is TaskState.PENDING
        and history.do(ref).state is not TaskState.RUNNING
        and history.index.is_free(ref, Side.UNDO)
    )
