"""Plans, definitions and runs in a line each."""

from collections.abc import Iterable, Sequence
from typing import Any

from xaas_core.engine.plan import Plan, Step, TaskPlan
from xaas_core.models.pipeline import PipelineSpec, PipelineTaskRef
from xaas_core.models.pipeline_run import PipelineRunSpec
from xaas_core.models.pipeline_task import PipelineTaskSpec, StepSpec

NAMESPACE = "default"


def task_plan(ref: str, needs: Sequence[str] = (), steps: int = 1, **more: Any) -> TaskPlan:
    """A task of `steps` steps, each with an undo; `more` are further fields of a TaskPlan."""
    scripts = tuple(Step(f"do {ref} {i}", f"undo {ref} {i}") for i in range(steps))
    fields: dict[str, Any] = {"steps": scripts, **more}
    return TaskPlan(ref=ref, task=f"task {ref}", depends_on=tuple(needs), **fields)


def plan(*tasks: TaskPlan) -> Plan:
    """A plan of `tasks`."""
    return Plan("pipeline", tasks)


def chain(*refs: str) -> Plan:
    """A plan of one task after the other, each of one step."""
    needs = [(), *((ref,) for ref in refs)]
    return plan(*(task_plan(ref, before) for ref, before in zip(refs, needs, strict=False)))


def step_spec(name: str, undo: bool = True) -> StepSpec:
    """A step whose scripts say which they are."""
    return StepSpec(do_script=f"do {name}", undo_script=f"undo {name}" if undo else None)


def task_spec(name: str, undos: Iterable[bool] = (True,), **more: Any) -> PipelineTaskSpec:
    """A PipelineTask with a step for each of `undos`, which says if it has an undoScript.

    `more` are further fields of a PipelineTaskSpec.
    """
    steps = [step_spec(f"{name} {index}", undo) for index, undo in enumerate(undos)]
    return PipelineTaskSpec(category="test", name=name, steps=steps, **more)


def entry(ref: str, needs: Iterable[str] = (), **more: Any) -> PipelineTaskRef:
    """An entry of a Pipeline whose PipelineTask is named as its ref, unless `more` names it."""
    return PipelineTaskRef(**{"ref": ref, "name": ref, "depends_on": list(needs), **more})


def pipeline_spec(name: str, *tasks: PipelineTaskRef) -> PipelineSpec:
    """A Pipeline of `tasks`."""
    return PipelineSpec(category="test", name=name, tasks=list(tasks))


def run_spec(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> PipelineRunSpec:
    """A PipelineRun of Pipeline `name`; `more` are further fields of a PipelineRunSpec."""
    return PipelineRunSpec(name=name, parameters=parameters or {}, **more)
