"""Which task runs are in which state, and whose turn it is.

A decision asks this again and again, and a run may have thousands of task runs: so it is kept up to
date with each move, and not looked for among all of them.
"""

from collections.abc import Set

from xaas_core.engine.graph import Graph
from xaas_core.engine.states import ENDED, SATISFIED, Side, TaskState


class TaskIndex:
    """The task runs of one run, all of them pending at first. `open` are those that haven't ended."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.open: set[tuple[str, Side]] = {(ref, side) for side in Side for ref in graph.order}
        self._refs: dict[Side, dict[TaskState, set[str]]] = {
            side: {state: set() for state in TaskState} for side in Side
        }
        # How many of those that a task run waits for aren't succeeded or skipped; who waits for none.
        self._unmet: dict[Side, dict[str, int]] = {}
        self._free: dict[Side, set[str]] = {}
        for side in Side:
            self._refs[side][TaskState.PENDING].update(graph.order)
            self._unmet[side] = {ref: len(others) for ref, others in graph.before(side).items()}
            self._free[side] = {ref for ref, count in self._unmet[side].items() if not count}

    def copy(self) -> "TaskIndex":
        """One that is kept up to date on its own."""
        copied = TaskIndex.__new__(TaskIndex)
        copied.__dict__ |= {
            "_graph": self._graph,
            "open": set(self.open),
            "_refs": {
                side: {state: set(refs) for state, refs in states.items()}
                for side, states in self._refs.items()
            },
            "_unmet": {side: dict(counts) for side, counts in self._unmet.items()},
            "_free": {side: set(refs) for side, refs in self._free.items()},
        }
        return copied

    def refs(self, side: Side, state: TaskState) -> Set[str]:
        """The task runs of `side` that are in `state`."""
        return self._refs[side][state]

    def is_free(self, ref: str, side: Side) -> bool:
        """Whether all that a task run waits for (`Graph.before`) are succeeded or skipped."""
        return not self._unmet[side][ref]

    def free(self, side: Side, state: TaskState) -> Set[str]:
        """The task runs of `side` in `state` that wait for no other."""
        return self._refs[side][state] & self._free[side]

    def all_satisfied(self, side: Side) -> bool:
        """Whether all task runs of `side` are succeeded or skipped."""
        return sum(len(self._refs[side][state]) for state in SATISFIED) == len(self._graph.order)

    def counts(self) -> dict[str, int]:
        """How many do task runs are in each state, and `total`."""
        counted = {state.value: len(refs) for state, refs in self._refs[Side.DO].items()}
        return {"total": len(self._graph.order)} | counted

    def move(self, ref: str, side: Side, before: TaskState, after: TaskState) -> None:
        """A task run was in one state, and is in another one now."""
        self._refs[side][before].discard(ref)
        self._refs[side][after].add(ref)
        if after in ENDED:
            self.open.discard((ref, side))
        else:
            self.open.add((ref, side))
        met = (after in SATISFIED) - (before in SATISFIED)
        if not met:
            return
        unmet, free = self._unmet[side], self._free[side]
        for other in self._graph.after(side)[ref]:
            unmet[other] -= met
            if unmet[other]:
                free.discard(other)
            else:
                free.add(other)
