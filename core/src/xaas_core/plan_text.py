"""Plans as JSON text.

A pipeline may use one PipelineTask a hundred times: what is the definition's is written once, and is
one object in memory, too.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from xaas_core.codec import Codec
from xaas_core.engine.plan import Plan, TaskPlan
from xaas_core.engine.retry import Retries


@dataclass(frozen=True)
class _Own:
    """What an entry says otherwise than its definition."""

    timeout: int | None
    retries: Retries


@dataclass(frozen=True)
class _Entry:
    """What of a TaskPlan is its entry's; `definition` is the position of the rest."""

    ref: str
    definition: int
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    own: _Own | None = None


@dataclass(frozen=True)
class _Text:
    """What is written. `definitions` are TaskPlans with nothing of an entry's."""

    pipeline: str
    definitions: tuple[TaskPlan, ...]
    tasks: tuple[_Entry, ...]


_TEXT: Final = Codec(_Text)
_PLAN: Final = Codec(Plan)


def encode(plan: Plan) -> str:
    """The text of a plan."""
    definitions: list[TaskPlan] = []
    positions: dict[str, int] = {}
    entries = []
    for task in plan.tasks:
        bare = replace(task, ref="", depends_on=(), condition=None)
        # Of equal names: what is large of their definitions is one object, and quickly compared.
        position = positions.get(task.task)
        if position is None or not _is_of(bare, definitions[position]):
            position = positions[task.task] = len(definitions)
            definitions.append(bare)
        definition = definitions[position]
        differs = (task.timeout, task.retries) != (definition.timeout, definition.retries)
        own = _Own(task.timeout, task.retries) if differs else None
        entries.append(_Entry(task.ref, position, task.depends_on, task.condition, own))
    return _TEXT.encode(_Text(plan.pipeline, tuple(definitions), tuple(entries)))


def _is_of(task: TaskPlan, definition: TaskPlan) -> bool:
    """Whether a task has a definition, be it with a timeout and retries of its own."""
    return replace(task, timeout=definition.timeout, retries=definition.retries) == definition


def decode(text: str) -> Plan:
    """The plan of a text that `encode` wrote, or of an older one."""
    data = json.loads(text)
    if "definitions" not in data:
        return _PLAN.decode(json.dumps(_of_before(data)))
    written = _TEXT.decode(text)
    tasks = []
    for entry in written.tasks:
        definition = written.definitions[entry.definition]
        own = entry.own or _Own(definition.timeout, definition.retries)
        tasks.append(
            replace(
                definition,
                ref=entry.ref,
                depends_on=entry.depends_on,
                condition=entry.condition,
                timeout=own.timeout,
                retries=own.retries,
            )
        )
    return Plan(written.pipeline, tuple(tasks))


def _of_before(data: Any) -> Any:
    """A plan as it was written at first: whole, or with lists of steps named by their positions."""
    steps = data.get("steps", [])
    tasks = [
        {**task, "steps": steps[task["steps"]]} if isinstance(task.get("steps"), int) else task
        for task in data["tasks"]
    ]
    return {"pipeline": data["pipeline"], "tasks": tasks}
