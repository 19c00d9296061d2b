"""PipelineRun: one execution of a Pipeline with parameters."""

from enum import StrEnum

from xaas_core.engine.states import OnAbort
from xaas_core.models.fields import Duration, Name, Parameters, Spec


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
    """What becomes of running tasks when the run is aborted or cancelled."""
    suspend: bool = False
    """While true no further task starts."""
    ttl_after_finished: Duration | None = None
    """The run is removed this long after it is over; never if absent."""
