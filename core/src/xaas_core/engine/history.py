"""A run's history: its numbered changes of state, and the states as a fold over them.

The history is the truth about states. Everything else that shows a state (the run's summary, a task
run's status, a notification) is derived from it. A change's position, from 1, is its `sequence`.

Three moves of a run reset task runs to `pending`, without a change of their own:

- `recovery` (aborted -> processing): every do that doesn't stand, and all undos. A do stands if it
  is succeeded or skipped, wasn't undone (an undo that failed counts as undone), and no dependency
  of it runs again. A do that is still running goes on.
- `cancel` of an aborted run (aborted -> cancelling): the undos that failed, which are still owed.

Each reset starts a new *round* of the task run: conditions are evaluated anew and retries count
afresh; attempt numbers go on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from xaas_core.engine.graph import Graph
from xaas_core.engine.index import TaskIndex
from xaas_core.engine.states import (
    ENDED,
    OVER,
    SATISFIED,
    Reason,
    RunState,
    Side,
    TaskState,
    check_run_move,
    check_task_move,
)


@dataclass(frozen=True)
class Change:
    """One change of state, of the run (`ref` is None) or of a task run.

    `at` is in milliseconds since 1970 and never decreases within a history. `attempt` and `launch`
    name the runner, 0 where none ran.
    """

    state: RunState | TaskState
    at: int
    ref: str | None = None
    side: Side | None = None
    attempt: int = 0
    launch: int = 0
    reason: Reason = Reason.NONE
    message: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The state of one task run. `undone` (undo side): it took back something of its do.
    `recoveries`: how many of the run's have found it running, and left it so.

    `newest` is the highest attempt that any change has named, of whatever round, and `newest_over`
    whether one told of its end: a record must know that much.
    """

    state: TaskState = TaskState.PENDING
    round: int = 0
    undone: bool = False
    started_at: int | None = None
    finished_at: int | None = None
    attempt: int = 0
    launch: int = 0
    reason: Reason = Reason.NONE
    newest: int = 0
    newest_over: bool = False
    recoveries: int = 0

    def reset(self, undone: bool) -> "Cell":
        """Pending again: a new round."""
        return Cell(
            round=self.round + 1,
            undone=undone,
            newest=self.newest,
            newest_over=self.newest_over,
        )

    def moved(self, state: TaskState, change: Change) -> "Cell":
        """As `change` says, which is a legal move."""
        running = state is TaskState.RUNNING
        named = change.attempt > 0
        newer = named and change.attempt >= self.newest
        return Cell(
            state,
            self.round,
            self.undone or (change.side is Side.UNDO and state is not TaskState.SKIPPED),
            change.at if running else self.started_at,
            self.finished_at if running else change.at,
            change.attempt if named else self.attempt,
            change.launch if named else self.launch,
            change.reason,
            change.attempt if newer else self.newest,
            state in ENDED if newer else self.newest_over,
            self.recoveries,
        )


class History:
    """The fold. Built from the graph and the changes; `append` adds one, checked by the tables."""

    def __init__(self, graph: Graph, changes: Iterable[Change] = ()) -> None:
        self.graph = graph
        self.state = RunState.PENDING
        self.reason = Reason.NONE
        self.message = ""
        self._cause = (self.reason, self.message)
        """Why the run is, or was, rolled back."""
        self.started_at: int | None = None
        self.processing_since: int | None = None
        self.finished_at: int | None = None
        self.last_at = 0
        self.length = 0
        self.cells: dict[Side, dict[str, Cell]] = {
            side: dict.fromkeys(graph.order, Cell()) for side in Side
        }
        self.index = TaskIndex(graph)
        self.named: dict[tuple[str, Side], Cell] = {}
        """The cells of which any change has named an attempt."""
        for change in changes:
            self.append(change)

    def copy(self) -> "History":
        """One that is appended to on its own. Cells are never changed, only put in each other's
        place: copying is cheap."""
        copied = History.__new__(History)
        copied.__dict__.update(self.__dict__)
        copied.cells = {side: dict(cells) for side, cells in self.cells.items()}
        copied.index = self.index.copy()
        copied.named = dict(self.named)
        return copied

    def cell(self, ref: str, side: Side) -> Cell:
        """The state of one task run."""
        return self.cells[side][ref]

    def do(self, ref: str) -> Cell:
        """The do side of task `ref`."""
        return self.cells[Side.DO][ref]

    def undo(self, ref: str) -> Cell:
        """The undo side of task `ref`."""
        return self.cells[Side.UNDO][ref]

    def append(self, change: Change) -> None:
        """Fold one more change in. Raises IllegalMove."""
        if change.ref is None:
            self._move_run(RunState(change.state), change)
        else:
            assert change.side is not None
            self._move_task(change.ref, change.side, change)
        self.last_at = max(self.last_at, change.at)
        self.length += 1

    def counts(self) -> dict[str, int]:
        """How many do task runs are in each state, and `total`."""
        return self.index.counts()

    def _move_run(self, state: RunState, change: Change) -> None:
        check_run_move(self.state, state)
        if self.state is RunState.ABORTED and state is RunState.PROCESSING:
            self._recover()
        if self.state is RunState.ABORTED and state is RunState.CANCELLING:
            for ref in tuple(self.index.refs(Side.UNDO, TaskState.FAILED)):
                undo = self.undo(ref)
                self._put(ref, Side.UNDO, undo.reset(undo.undone))
        if state is RunState.PROCESSING:
            self.processing_since = change.at
            if self.started_at is None:
                self.started_at = change.at
        self.finished_at = change.at if state in OVER else None
        before, self.state = self.state, state
        if before is RunState.ABORTED and self.reason is Reason.UNDO_FAILED:
            # The rollback is renewed: nothing of it has failed yet.
            self.reason, self.message = self._cause
        # A rollback that follows an abort by itself keeps the abort's reason.
        if change.reason or state in (RunState.PROCESSING, RunState.COMPLETE):
            self.reason, self.message = change.reason, change.message
        if self.reason is not Reason.UNDO_FAILED:
            self._cause = (self.reason, self.message)

    def _move_task(self, ref: str, side: Side, change: Change) -> None:
        cell, state = self.cell(ref, side), TaskState(change.state)
        check_task_move(f"{ref}/{side}", cell.state, state)
        self._put(ref, side, cell.moved(state, change))

    def _put(self, ref: str, side: Side, cell: Cell) -> None:
        """Have `cell` in the place of the one before."""
        before, self.cells[side][ref] = self.cells[side][ref].state, cell
        if cell.newest:
            self.named[ref, side] = cell
        if cell.state is not before:
            self.index.move(ref, side, before, cell.state)

    def _recover(self) -> None:
        stands: dict[str, bool] = {}
        for ref in self.graph.order:
            do, undo = self.do(ref), self.undo(ref)
            stands[ref] = (
                do.state in SATISFIED
                and not undo.undone
                and all(stands[needed] for needed in self.graph.dependencies[ref])
            )
            if do.state is TaskState.RUNNING:
                self._put(ref, Side.DO, replace(do, recoveries=do.recoveries + 1))
            elif not stands[ref]:
                self._put(ref, Side.DO, do.reset(do.undone))
            # What was undone runs again, from a clean slate.
            self._put(ref, Side.UNDO, undo.reset(undone=False))
