"""PipelineRun: one execution of a Pipeline with parameters."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from xaas_core.engine.states import OnAbort, Operation
from xaas_core.models.fields import Duration, Name, Parameters, Spec, Text


class Target(StrEnum):
    """What a run executes."""

    PIPELINE = "Pipeline"
    TASK = "PipelineTask"  # a hidden run of one task, made by a script's SDKRunner


class PipelineRunSpec(Spec):
    """A PipelineRun as users write it."""

    name: Name
    """Name of the Pipeline."""
    parameters: Parameters
    """The params that scripts start from."""
    timeout: Duration | None = None
    """Longest time in `processing`; afresh after a recovery. Passing it aborts the run."""
    auto_rollback: bool = True
    """Whether a failed run undoes what it did by itself."""
    on_abort: OnAbort = OnAbort.FINISH
    """What becomes of running tasks when the run is aborted or cancelled: they `finish` by
    themselves, or are stopped (`terminate`: SIGTERM, the grace period, SIGKILL)."""
    suspend: bool = False
    """While true no further task starts."""
    ttl_after_finished: Duration | None = None
    """The run is removed this long after it is over; never if absent."""


class OperationSpec(Spec):
    """An operation, asked for by writing it. It is carried out once; `status.operation` answers."""

    name: Operation
    """`run` starts a pending run. `cancel` ends it and undoes what it did, `rollback` undoes a
    complete one, `recovery` goes on with an aborted one."""
    id: Annotated[Text, Field(min_length=1, max_length=253)]
    """Any text that no earlier operation of this run had."""


class PipelineRunManifest(PipelineRunSpec):
    """A PipelineRun as users write it. Only `suspend` and `operation` can be changed later."""

    operation: OperationSpec | None = None
    """What the run is asked to do. Without any it stays pending."""
