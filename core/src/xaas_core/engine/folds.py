"""Folds that are kept: a history only grows, so the next look at it folds what is new, not all of it."""

from collections import OrderedDict

from xaas_core.engine.graph import Graph
from xaas_core.engine.history import Change, History

KEPT = 100_000
"""Cells of folds that are kept, of the runs that were looked at last: 250 to 600 bytes each, the
fewer the larger the run."""


class Folds:
    """The folds of runs, by uid. What is given out is for reading: copy it to append to it."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._size = 0
        self._folds: OrderedDict[str, tuple[History, Change | None]] = OrderedDict()

    def of(self, uid: str, graph: Graph, changes: tuple[Change, ...]) -> History:
        """The fold of `changes`, the history of the run `uid`. Raises IllegalMove."""
        fold = self._known(uid, graph, changes)
        if fold is None or fold.length < len(changes):
            # Not in place: somebody may still read the one from before.
            fold = History(graph) if fold is None else fold.copy()
            for change in changes[fold.length :]:
                fold.append(change)
            self._keep(uid, fold, changes[-1] if changes else None)
        return fold

    def _known(self, uid: str, graph: Graph, changes: tuple[Change, ...]) -> History | None:
        """The fold of a beginning of `changes`, if it is kept."""
        kept = self._folds.get(uid)
        if kept is None:
            return None
        self._folds.move_to_end(uid)
        fold, last = kept
        # An older copy of the run; or another one's history, where a store was put back.
        if fold.length > len(changes) or fold.graph is not graph:
            return None
        return fold if fold.length == 0 or changes[fold.length - 1] == last else None

    def _keep(self, uid: str, fold: History, last: Change | None) -> None:
        before = self._folds.pop(uid, None)
        self._size += _size(fold) - (0 if before is None else _size(before[0]))
        self._folds[uid] = (fold, last)
        while self._size > self._most and len(self._folds) > 1:
            _, (dropped, _) = self._folds.popitem(last=False)
            self._size -= _size(dropped)


def _size(fold: History) -> int:
    return 2 * len(fold.graph.order)
