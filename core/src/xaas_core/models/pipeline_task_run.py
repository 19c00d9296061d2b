"""PipelineTaskRun: one execution of one task inside a run. Only the product writes them."""

from xaas_core.engine.states import Side
from xaas_core.models.fields import Name, Spec


class RunReference(Spec):
    """The run that a task run belongs to."""

    name: Name
    """Name of the PipelineRun object (its metadata.name)."""
    uid: Name
    """The run's instance id."""


class PipelineTaskRunSpec(Spec):
    """Which task run it is. Written once, with its first attempt."""

    run: RunReference
    ref: Name
    """The task's ref in the Pipeline."""
    process_type: Side
    """Whether it does the task or undoes it."""
    task: Name
    """Name of the PipelineTask."""
