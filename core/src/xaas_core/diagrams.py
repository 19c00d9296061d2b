"""The state diagrams of docs/architecture.md, drawn from the engine's tables (Mermaid)."""

from collections.abc import Mapping
from enum import StrEnum

from xaas_core.engine.states import OPERATIONS, RUN_MOVES, TASK_MOVES, RunState, TaskState

BEGIN = "<!-- generated: states -->"
END = "<!-- end of generated -->"


def run_diagram() -> str:
    """A run's states; moves that an operation makes are labelled with it."""
    labels: dict[tuple[str, str], list[str]] = {}
    for state, operations in OPERATIONS.items():
        for operation, target in operations.items():
            labels.setdefault((state, target), []).append(operation)
    return _diagram(RUN_MOVES, RunState.PENDING, labels)


def task_diagram() -> str:
    """A task run's states, of either side."""
    return _diagram(TASK_MOVES, TaskState.PENDING, {})


def _diagram(
    moves: Mapping[RunState, frozenset[RunState]] | Mapping[TaskState, frozenset[TaskState]],
    first: StrEnum,
    labels: Mapping[tuple[str, str], list[str]],
) -> str:
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    for old, targets in moves.items():
        for new in sorted(targets):
            label = ", ".join(labels.get((old, new), []))
            lines.append(f"    {old} --> {new}" + (f": {label}" if label else ""))
        if not targets:
            lines.append(f"    {old} --> [*]")
    return "\n".join(lines)


def redraw(document: str) -> str:
    """`document` with the diagrams between the two marks drawn anew. Raises ValueError."""
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    drawn = "\n\n".join(
        f"{title}\n\n```mermaid\n{diagram}\n```"
        for title, diagram in (("A run:", run_diagram()), ("A task run:", task_diagram()))
    )
    return f"{before}{BEGIN}\n\n{drawn}\n\n{END}{after}"
