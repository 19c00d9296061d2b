"""The DAG of a pipeline: validation, and the order that everything else follows."""

import heapq
from collections.abc import Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

_SHOWN_REFS = 20


class GraphError(ValueError):
    """A set of tasks that is no DAG.

    `ref` names the task at fault, `field` its field; the text says what is wrong with it.
    """

    def __init__(self, message: str, ref: str, field: str = "dependsOn") -> None:
        super().__init__(message)
        self.ref = ref
        self.field = field


def check(tasks: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise GraphError unless `tasks` (pairs of ref and dependsOn) form a DAG with unique refs."""
    refs: set[str] = set()
    for ref, _ in tasks:
        if ref in refs:
            raise GraphError(f"ref {ref!r} occurs more than once; a ref is unique", ref, "ref")
        refs.add(ref)
    for ref, depends_on in tasks:
        for dependency in depends_on:
            if dependency not in refs:
                known = ", ".join(repr(r) for r in sorted(refs)[:_SHOWN_REFS])
                known += ", …" if len(refs) > _SHOWN_REFS else ""
                message = f"{ref!r} depends on {dependency!r}, which is no ref here (refs: {known})"
                raise GraphError(message, ref)
        if len(set(depends_on)) != len(depends_on):
            twice = next(d for d in depends_on if depends_on.count(d) > 1)
            raise GraphError(f"{ref!r} names {twice!r} twice in dependsOn", ref)
    try:
        TopologicalSorter(dict(tasks)).prepare()
    except CycleError as error:
        # graphlib lists each node before the one that depends on it; the first closes the cycle.
        cycle: list[str] = error.args[1]
        shown = " -> ".join(cycle)
        raise GraphError(f"the tasks depend on each other in a cycle: {shown}", cycle[0]) from None


class Graph:
    """A checked DAG. Keys of `edges` are refs in the pipeline's order, values what each needs."""

    def __init__(self, edges: Mapping[str, Sequence[str]]) -> None:
        self.dependencies: dict[str, tuple[str, ...]] = {r: tuple(d) for r, d in edges.items()}
        self.dependants: dict[str, list[str]] = {ref: [] for ref in edges}
        for ref, needs in self.dependencies.items():
            for needed in needs:
                self.dependants[needed].append(ref)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The order of the pipeline: repeatedly the first whose dependencies are all placed."""
        placed: dict[str, None] = {}
        missing = {ref: len(needs) for ref, needs in self.dependencies.items()}
        rank = {ref: index for index, ref in enumerate(self.dependencies)}
        # A heap of ranks gives "the first in `tasks`" without looking at every task each time.
        ready = [rank[ref] for ref, count in missing.items() if count == 0]
        heapq.heapify(ready)
        refs = list(self.dependencies)
        while ready:
            ref = refs[heapq.heappop(ready)]
            placed[ref] = None
            for dependant in self.dependants[ref]:
                missing[dependant] -= 1
                if missing[dependant] == 0:
                    heapq.heappush(ready, rank[dependant])
        return tuple(placed)

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """For each ref all it depends on, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for ref in self.order:
            needs = self.dependencies[ref]
            found[ref] = frozenset(needs).union(*(found[needed] for needed in needs))
        return found

    @cached_property
    def descendants(self) -> dict[str, frozenset[str]]:
        """For each ref all that depends on it, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for ref in reversed(self.order):
            users = self.dependants[ref]
            found[ref] = frozenset(users).union(*(found[user] for user in users))
        return found
