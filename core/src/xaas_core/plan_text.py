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
class _Entry:
    """What of a TaskPlan is its entry's; `definition` is the position of the rest."""

    ref: str
    definition: int
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    timeout: int | None = None
    retries: Retries = Retries()


@dataclass(frozen=True)
class _Text:
    """What is written. `definitions` are TaskPlans without what is an entry's."""

    pipeline: str
    definitions: tuple[TaskPlan, ...]
    tasks: tuple[_Entry, ...]


_DEFINITION: Final = Codec(TaskPlan)
_TEXT: Final = Codec(_Text)
_PLAN: Final = Codec(Plan)


def encode(plan: Plan) -> str:
    """The text of a plan."""
    definitions: list[TaskPlan] = []
    positions: dict[str, int] = {}
    entries = []
    for task in plan.tasks:
        bare = replace(task, ref="", depends_on=(), condition=None, timeout=None, retries=Retries())
        position = positions.setdefault(_DEFINITION.encode(bare), len(definitions))
        if position == len(definitions):
            definitions.append(bare)
        entries.append(
            _Entry(task.ref, position, task.depends_on, task.condition, task.timeout, task.retries)
        )
    return _TEXT.encode(_Text(plan.pipeline, tuple(definitions), tuple(entries)))


def decode(text: str) -> Plan:
    """The plan of a text that `encode` wrote, or of an older one."""
    data = json.loads(text)
    if "definitions" not in data:
        return _PLAN.decode(json.dumps(_of_before(data)))
    written = _TEXT.decode(text)
    return Plan(
        written.pipeline,
        tuple(
            replace(
                written.definitions[entry.definition],
                ref=entry.ref,
                depends_on=entry.depends_on,
                condition=entry.condition,
                timeout=entry.timeout,
                retries=entry.retries,
            )
            for entry in written.tasks
        ),
    )


def _of_before(data: Any) -> Any:
    """A plan as it was written at first: whole, or with lists of steps named by their positions."""
    steps = data.get("steps", [])
    tasks = [
        {**task, "steps": steps[task["steps"]]} if isinstance(task.get("steps"), int) else task
        for task in data["tasks"]
    ]
    return {"pipeline": data["pipeline"], "tasks": tasks}
