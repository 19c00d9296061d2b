"""How a test writes down a pipeline, and what the contract derives from it alone.

    {"a": node("params['a'] = 1", undo="..."), "b": node("...", after="a", when="params['a']")}

is a pipeline of two tasks. The order of the dict is the order of the pipeline's `tasks`.
"""

from dataclasses import dataclass, field
from typing import Any

Nodes = dict[str, "Node"]


@dataclass(frozen=True)
class Step:
    do: str = "pass"
    undo: str | None = None

    def body(self) -> dict[str, str]:
        return {"doScript": self.do} | ({} if self.undo is None else {"undoScript": self.undo})


@dataclass(frozen=True)
class Node:
    """One entry of a pipeline with a PipelineTask of its own.

    `task` are further fields of the PipelineTask, `entry` those of the pipeline's entry.
    """

    steps: tuple[Step, ...]
    after: tuple[str, ...] = ()
    when: str | None = None
    task: dict[str, Any] = field(default_factory=dict)
    entry: dict[str, Any] = field(default_factory=dict)

    def body(self, name: str, category: str) -> dict[str, Any]:
        steps = [step.body() for step in self.steps]
        return {"category": category, "name": name, "steps": steps, **self.task}

    def place(self, ref: str, name: str) -> dict[str, Any]:
        """The entry in the pipeline's `tasks`."""
        condition = {} if self.when is None else {"condition": self.when}
        return {
            "ref": ref, "name": name, "dependsOn": list(self.after), **condition, **self.entry,
        }  # fmt: skip


def node(
    do: str = "pass",
    undo: str | None = None,
    *,
    after: str | tuple[str, ...] = (),
    when: str | None = None,
    entry: dict[str, Any] | None = None,
    **task: Any,
) -> Node:
    """A task of one step. `after` lists refs; in a text they are parted by spaces."""
    return Node((Step(do, undo),), refs(after), when, task, entry or {})


def multi(
    *steps: Step, after: str | tuple[str, ...] = (), when: str | None = None, **task: Any
) -> Node:
    """A task of any number of steps."""
    return Node(steps, refs(after), when, task)


def refs(after: str | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(after.split()) if isinstance(after, str) else after


def dependants(nodes: Nodes) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {ref: set() for ref in nodes}
    for ref, entry in nodes.items():
        for dependency in entry.after:
            found[dependency].add(ref)
    return found


def order(nodes: Nodes) -> list[str]:
    """The order of a pipeline: repeatedly the first of `tasks` whose dependencies are all placed."""
    placed: list[str] = []
    while len(placed) < len(nodes):
        placed.append(
            next(r for r in nodes if r not in placed and set(nodes[r].after) <= set(placed))
        )
    return placed
