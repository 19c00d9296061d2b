"""What a step may use: the task's `resources.limits`, as far as a process can be held to them."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from xaas_core.engine.plan import TaskPlan
from xaas_core.models.quantities import quantity


class Limits(NamedTuple):
    """`memory` in bytes beyond what the interpreter has, `cpu` in seconds of CPU time per step."""

    memory: int
    cpu: int


DEFAULTS: Final = Limits(memory=512 * 1024 * 1024, cpu=3600)
"""Where a task doesn't say: an endless loop, or an endless list, ends some time."""


def limits_of(task: TaskPlan, defaults: Limits) -> Limits:
    """The limits of a task's steps. Raises ValueError, naming the place.

    `cpu` counts cores: so many seconds of CPU time per second that an attempt may take.
    """
    memory, cores = _limit(task, "memory"), _limit(task, "cpu")
    cpu = defaults.cpu
    if cores is not None and task.timeout is not None:
        cpu = max(1, math.ceil(cores * task.timeout / 1000))
    return Limits(defaults.memory if memory is None else int(memory), cpu)


def _limit(task: TaskPlan, name: str) -> Decimal | None:
    limits = task.resources.get("limits")
    if limits is not None and not isinstance(limits, Mapping):
        raise ValueError(f"resources.limits of task {task.task!r} is no object")
    written: Any = None if limits is None else limits.get(name)
    if written is None:
        return None
    try:
        found = quantity(written)
    except ValueError as error:
        raise ValueError(f"resources.limits.{name} of task {task.task!r}: {error}") from None
    if found <= 0:
        raise ValueError(f"resources.limits.{name} of task {task.task!r} must be more than 0")
    return found
