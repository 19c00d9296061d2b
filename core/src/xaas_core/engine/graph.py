"""The DAG of a pipeline: validation, and the order that everything else follows."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from xaas_core.engine.states import Side

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

    def before(self, side: Side) -> Mapping[str, Sequence[str]]:
        """For each ref those that its `side` waits for: a do for the dos that it depends on, an undo
        for the undos of its dependants. So a rollback runs backwards."""
        return self.dependencies if side is Side.DO else self.dependants

    def after(self, side: Side) -> Mapping[str, Sequence[str]]:
        """For each ref those whose `side` waits for it."""
        return self.dependants if side is Side.DO else self.dependencies

    def in_order(self, refs: Iterable[str], side: Side = Side.DO) -> list[str]:
        """`refs` in the order of the pipeline, or for undos in the reverse of it."""
        return sorted(refs, key=self.places.__getitem__, reverse=side is Side.UNDO)

    def ancestors(self, ref: str) -> set[str]:
        """All that `ref` depends on, directly or not."""
        return self._refs(self._above[ref])

    def descendants(self, ref: str) -> set[str]:
        """All that depends on `ref`, directly or not."""
        return self._refs(self._below[ref])

    def depends(self, ref: str, on: str) -> bool:
        """Whether `ref` depends on `on`, directly or not."""
        return bool(self._above[ref] >> self.places[on] & 1)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of each ref in the order, from 0."""
        return {ref: place for place, ref in enumerate(self.order)}

    # Sets as bits of a number, by place in the order: as sets of refs, thousands of tasks would take
    # gigabytes, for each knows nearly all.

    @cached_property
    def _above(self) -> dict[str, int]:
        return self._reached(self.order, self.dependencies)

    @cached_property
    def _below(self) -> dict[str, int]:
        return self._reached(tuple(reversed(self.order)), self.dependants)

    def _reached(self, order: Sequence[str], edges: Mapping[str, Sequence[str]]) -> dict[str, int]:
        found: dict[str, int] = {}
        for ref in order:
            reached = 0
            for other in edges[ref]:
                reached |= found[other] | 1 << self.places[other]
            found[ref] = reached
        return found

    def _refs(self, reached: int) -> set[str]:
        bits = reversed(f"{reached:b}")
        return {ref for ref, bit in zip(self.order, bits, strict=False) if bit == "1"}
