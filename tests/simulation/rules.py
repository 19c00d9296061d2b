"""The rules of docs/contract.md that need no run: tables, facts, the DAG, the merge of params.

Written anew, from the text, and nothing of the engine: see `oracle`.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

RUN_TABLE = {
    "pending": {"processing", "cancelled"},
    "processing": {"complete", "aborted", "cancelling"},
    "aborted": {"cancelling", "processing"},
    "cancelling": {"cancelled", "aborted"},
    "complete": {"cancelling"},
    "cancelled": set(),
}
TASK_TABLE = {
    "pending": {"running", "succeeded", "failed", "skipped"},
    "running": {"succeeded", "failed"},
    "succeeded": set(),
    "failed": set(),
    "skipped": set(),
}
OPERATIONS = {
    ("pending", "run"): "processing",
    ("pending", "cancel"): "cancelled",
    ("processing", "cancel"): "cancelling",
    ("aborted", "cancel"): "cancelling",
    ("aborted", "recovery"): "processing",
    ("complete", "rollback"): "cancelling",
}
SATISFIED = ("succeeded", "skipped")
RETRIED = ("ScriptError", "RunnerLost", "Timeout", "ParamsInvalid", "ResultInvalid", "OutOfMemory")
SLACK = 250
"""Milliseconds beyond a timeout in which either verdict is right."""

Key = tuple[str, str]
"""Ref and side."""


class Violation(AssertionError):
    """A rule is broken; the text says which."""


def check(holds: bool, text: str, *values: Any) -> None:
    """Raise Violation unless it `holds`."""
    if not holds:
        raise Violation(text % values if values else text)


@dataclass(frozen=True)
class TaskFacts:
    """A task as its author wrote it. Durations in milliseconds."""

    ref: str
    needs: tuple[str, ...] = ()
    undos: tuple[bool, ...] = (True,)  # one for each step: has it an undoScript
    condition: str | None = None
    timeout: int | None = None
    retries: int = 0
    delay: int = 0
    start_timeout: int = 20_000
    grace: int = 5_000


@dataclass(frozen=True)
class RunFacts:
    """A run as its author wrote it."""

    tasks: tuple[TaskFacts, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    auto_rollback: bool = True
    on_abort: str = "finish"
    timeout: int | None = None
    ttl: int | None = None


class Shape:
    """The DAG, worked out the slow way."""

    def __init__(self, tasks: Sequence[TaskFacts]) -> None:
        self.needs = {task.ref: set(task.needs) for task in tasks}
        self.users = {ref: {u for u in self.needs if ref in self.needs[u]} for ref in self.needs}
        self.order: list[str] = []
        while len(self.order) < len(self.needs):
            first = next(
                ref
                for ref in self.needs
                if ref not in self.order and self.needs[ref] <= set(self.order)
            )
            self.order.append(first)
        self.before = {ref: self._reach(ref, self.needs) for ref in self.needs}
        self.after = {ref: self._reach(ref, self.users) for ref in self.needs}

    @staticmethod
    def _reach(ref: str, edges: Mapping[str, set[str]]) -> set[str]:
        found: set[str] = set()
        todo = set(edges[ref])
        while todo:
            found |= todo
            todo = set().union(*(edges[each] for each in todo)) - found
        return found


def merge(params: dict[str, Any], delta: Iterable[Mapping[str, Any]]) -> None:
    """Set and delete, deep, in place; the order of keys is left to other tests."""
    for op in delta:
        if op["op"] == "order":
            continue
        *parents, last = op["path"]
        if op["op"] == "set":
            place = params
            for name in parents:
                if not isinstance(place.get(name), dict):
                    place[name] = {}
                place = place[name]
            place[last] = copy.deepcopy(op["value"])
        else:
            found: Any = params
            for name in parents:
                found = found.get(name) if isinstance(found, dict) else None
            if isinstance(found, dict):
                found.pop(last, None)
