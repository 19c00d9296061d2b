"""Params: what a task run gets as its input, from what others changed.

A *delta* is a list of changes, in the order to apply them:

    {"op": "set", "path": ["a", "b"], "value": ...}    missing or non-object parents become {}
    {"op": "delete", "path": ["a", "b"]}               a missing path is no error
    {"op": "order", "path": ["a"], "keys": [...]}      the key order of the object at `path`

The input of a do = the run's parameters plus the deltas of all its ancestors, once each, in the
order of the pipeline. So parallel tasks that touch different keys both count, and of two that set
the same path the later in the order wins, every time.

The input of an undo = the params as its own do left them, plus the deltas of its descendants'
succeeded undos, in reverse order.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xaas_core.engine.graph import Graph
from xaas_core.engine.history import History
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Side, TaskState

MAX_BYTES = 1024 * 1024
"""Largest params, as compact JSON in UTF-8."""

Delta = Sequence[Mapping[str, Any]]
Path = tuple[str, ...]


@dataclass(frozen=True)
class Conflict:
    """Two parallel tasks set the same path, or one a path above the other's; the last ref wins."""

    path: Path
    refs: tuple[str, str]

    def message(self) -> str:
        """For the user."""
        shown = "".join(f"[{key!r}]" for key in self.path)
        return f"params{shown} is set by {self.refs[0]!r} and {self.refs[1]!r}; the last one wins"


def encode(params: Any) -> str:
    """Compact JSON. Raises ValueError for what JSON can't say."""
    return json.dumps(params, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def size(params: Any) -> int:
    """Bytes of `params` as they count for the limit."""
    return len(encode(params).encode("utf-8", "surrogatepass"))


def apply(params: dict[str, Any], delta: Delta) -> None:
    """Change `params` in place."""
    for change in delta:
        path = change["path"]
        if change["op"] == "order":
            _reorder(params, path, change["keys"])
            continue
        parent = _parent(params, path, create=change["op"] == "set")
        if parent is None:
            continue
        if change["op"] == "set":
            # Values are copied: later deltas must not edit what a record holds.
            parent[path[-1]] = _copy(change["value"])
        else:
            parent.pop(path[-1], None)


def _parent(params: dict[str, Any], path: Sequence[str], create: bool) -> dict[str, Any] | None:
    parent = params
    for key in path[:-1]:
        child = parent.get(key)
        if not isinstance(child, dict):
            if not create:
                return None
            child = parent[key] = {}
        parent = child
    return parent


def _reorder(params: dict[str, Any], path: Sequence[str], keys: Sequence[str]) -> None:
    target: Any = params
    for key in path:
        target = target.get(key) if isinstance(target, dict) else None
    if not isinstance(target, dict):
        return
    # Keys that the delta doesn't know were added by a parallel branch: they stay behind.
    ordered = {key: target[key] for key in keys if key in target}
    ordered.update((key, value) for key, value in target.items() if key not in ordered)
    target.clear()
    target.update(ordered)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


class Inputs:
    """Computes inputs from what is recorded. `parameters` is the run's, as JSON text."""

    def __init__(
        self,
        parameters: str,
        graph: Graph,
        history: History,
        records: Mapping[tuple[str, Side], TaskRecord],
    ) -> None:
        self.parameters = parameters
        self.graph = graph
        self.history = history
        self.records = records
        self._deltas: dict[str, list[tuple[str, Delta]]] = {}

    def of(self, ref: str, side: Side) -> dict[str, Any]:
        """The input of a task run, from which every attempt of it starts."""
        return self._of_do(ref) if side is Side.DO else self._of_undo(ref)

    def deltas(self, ref: str) -> Sequence[tuple[str, Delta]]:
        """The deltas of those ancestors of `ref` that changed something, in the pipeline's order."""
        if ref not in self._deltas:
            wanted = self.graph.ancestors(ref)
            self._deltas[ref] = [
                (other, record.delta)
                for other in self.graph.order
                if other in wanted
                and (record := self.records.get((other, Side.DO))) is not None
                and record.delta
                # A task that recovery skipped has a record of before, which no longer counts.
                and self.history.do(other).state is TaskState.SUCCEEDED
            ]
        return self._deltas[ref]

    def _of_do(self, ref: str) -> dict[str, Any]:
        params: dict[str, Any] = json.loads(self.parameters)
        for _, delta in self.deltas(ref):
            apply(params, delta)
        return params

    def _of_undo(self, ref: str) -> dict[str, Any]:
        params = self._of_do(ref)
        apply(params, _delta(self.records.get((ref, Side.DO))))
        users = self.graph.descendants(ref)
        for other in reversed(self.graph.order):
            # The record of an undo from before a recovery is still there, but no longer counts.
            undone = self.history.undo(other).state is TaskState.SUCCEEDED
            if other in users and undone:
                apply(params, _delta(self.records.get((other, Side.UNDO))))
        return params


def _delta(record: TaskRecord | None) -> Delta:
    return () if record is None else record.delta


def conflicts(graph: Graph, deltas: Iterable[tuple[str, Delta]]) -> list[Conflict]:
    """Where tasks that don't follow from each other set the same path, or one above it.

    Or one sets what the other deletes; of two that delete nothing depends on the order. `deltas` are
    pairs of ref and delta in the order of the pipeline.
    """
    found: dict[tuple[Path, tuple[str, str]], Conflict] = {}
    written: dict[Path, list[tuple[str, bool]]] = {}  # who changed exactly this path; sets it?
    beneath: dict[Path, list[tuple[str, bool]]] = {}  # who changed a path below this one
    for ref, delta in deltas:
        changes = [(tuple(c["path"]), c["op"] == "set") for c in delta if c["op"] != "order"]
        for path, sets in changes:
            above = [(path[:i], written.get(path[:i], ())) for i in range(1, len(path) + 1)]
            for shown, others in (*above, (path, beneath.get(path, ()))):
                for other, other_sets in others:
                    matters = (sets or other_sets) and other != ref
                    if matters and not graph.depends(ref, other):
                        found.setdefault((shown, (other, ref)), Conflict(shown, (other, ref)))
        for path, sets in changes:
            written.setdefault(path, []).append((ref, sets))
            for i in range(1, len(path)):
                beneath.setdefault(path[:i], []).append((ref, sets))
    return list(found.values())
