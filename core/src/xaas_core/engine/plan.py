"""A run's plan: its definitions as they were when the run was created, resolved and immutable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from xaas_core.engine.graph import Graph
from xaas_core.engine.retry import Retries


@dataclass(frozen=True)
class Step:
    """One step: `do` is the script, `undo` what takes it back."""

    do: str
    undo: str | None = None


@dataclass(frozen=True)
class SecretRef:
    """Key `key` of the secret `secret`, read by scripts as `secrets[name]`."""

    name: str
    secret: str
    key: str


@dataclass(frozen=True)
class TaskPlan:
    """One entry of the pipeline with its PipelineTask. Durations in milliseconds."""

    ref: str
    task: str
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    steps: tuple[Step, ...] = ()
    timeout: int | None = None
    start_timeout: int = 300_000
    grace_period: int = 5_000
    retries: Retries = Retries()
    image: str | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    secrets: tuple[SecretRef, ...] = ()
    allowed_imports: tuple[str, ...] = ()

    def script(self, undo: bool, step: int) -> str:
        """The script of step `step`; a step without undoScript has an empty one."""
        chosen = self.steps[step]
        return (chosen.undo or "") if undo else chosen.do


@dataclass(frozen=True)
class Plan:
    """`pipeline` is the name of the Pipeline, or of the PipelineTask if the run is of one task."""

    pipeline: str
    tasks: tuple[TaskPlan, ...]

    @cached_property
    def graph(self) -> Graph:
        """The DAG of refs."""
        return Graph({task.ref: task.depends_on for task in self.tasks})

    @cached_property
    def by_ref(self) -> dict[str, TaskPlan]:
        """Tasks by their ref, in the pipeline's own order."""
        return {task.ref: task for task in self.tasks}
