"""Bodies and answers of runs and task runs, as OpenAPI shows them."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from xaas_api.schemas import ItemsPage, Time, View
from xaas_core.engine.states import Operation, RunState, Side, TaskState
from xaas_core.models.pipeline_run import PipelineRunSpec

StepStatus = Literal["pending", "running", "succeeded", "failed", "skipped"]
AttemptStatus = Literal["pending", "running", "succeeded", "failed"]


class RunCreation(PipelineRunSpec):
    """A new run."""

    run: bool = False
    """Start it at once; otherwise it stays `pending` until a PATCH with `run`."""

    def spec(self) -> PipelineRunSpec:
        """What of it is stored."""
        written = self.model_fields_set - {"run"}
        values = {name: getattr(self, name) for name in PipelineRunSpec.model_fields}
        return PipelineRunSpec.model_construct(_fields_set=written, **values)


class _Patch(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RunOperation(_Patch):
    """Ask for an operation."""

    operation: Operation


class RunSuspension(_Patch):
    """Hold the run, or let it go on."""

    suspend: bool
    """While true no further task starts."""


class RunPatch(_Patch):
    """Exactly one of an operation and a suspension."""

    # Which of them was written is in model_fields_set; the defaults are never used.
    operation: Operation = Operation.RUN
    suspend: bool = False

    @model_validator(mode="after")
    def _one_of_them(self) -> "RunPatch":
        if len(self.model_fields_set) != 1:
            raise ValueError("write exactly one of `operation` and `suspend`")
        return self


class RunWarning(View):
    """Something that isn't an error and that a user should see."""

    type: str
    """`ParamsConflict`, or the reason why the run is still pending."""
    message: str
    path: list[str]
    """Where in params."""
    refs: list[str]
    """Whose tasks."""


class Counts(View):
    """The do task runs, by state."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    skipped: int


class PipelineRun(View):
    """One execution of a Pipeline."""

    instance_id: str
    resource_name: str | None
    """The Kubernetes object's name; null embedded."""
    name: str
    """The Pipeline's."""
    status: RunState
    parameters: dict[str, Any]
    reason: str | None
    """Why the status is as it is."""
    warnings: list[RunWarning]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    operations: list[Operation]
    """What its state allows now."""
    tasks: Counts


class PipelineRunPage(ItemsPage):
    """A page of runs, newest first."""

    items: list[PipelineRun]


class Error(View):
    """Why something failed."""

    type: str
    message: str
    step: int | None
    """Index of the step, from 0."""
    line: int | None
    """Line in that step's script, from 1."""
    traceback: list[str]


class AttemptView(View):
    """One attempt of a task run."""

    model_config = ConfigDict(title="Attempt")

    number: int
    """From 1; goes up with every retry, recovery and renewed undo."""
    runner_id: str | None
    status: AttemptStatus
    started_at: Time | None
    finished_at: Time | None
    error: Error | None
    """Why it failed; of a pending one, what keeps it from beginning, in the words of the machines."""


class StepView(View):
    """One step of the newest attempt."""

    model_config = ConfigDict(title="Step")

    index: int
    status: StepStatus
    started_at: Time | None
    finished_at: Time | None


class PipelineTaskRun(View):
    """One execution of a task inside a run, do or undo."""

    instance_id: str
    ref: str
    name: str
    """The PipelineTask's."""
    process_type: Side
    owner_id: str
    """The run's instance_id."""
    runner_id: str | None
    status: TaskState
    reason: str | None
    error: Error | None
    input: dict[str, Any] | None
    """The params that it starts from; null before that is known."""
    delta: list[dict[str, Any]]
    """What it changed in params: `set`, `delete` and `order` operations."""
    attempts: list[AttemptView]
    steps: list[StepView]
    started_at: Time | None
    finished_at: Time | None


class PipelineTaskRunList(View):
    """All task runs of a run, both sides."""

    items: list[PipelineTaskRun]


MODELS: Final[tuple[type[BaseModel], ...]] = (
    RunCreation,
    RunOperation,
    RunSuspension,
    PipelineRun,
    PipelineRunPage,
    PipelineTaskRun,
    PipelineTaskRunList,
)

_AT: Final = "2026-01-02T03:04:05.678Z"
_RUN_ID: Final = "4f6a1f64-6a4d-4f59-9d0b-3c2f5f0f4f11"
_RUNNER: Final = "xaas-9d3c8a51b7e64f02-1"

RUN_EXAMPLE: Final = {
    "instance_id": _RUN_ID,
    "resource_name": None,
    "name": "deploy",
    "status": "processing",
    "parameters": {"vlan": 12},
    "reason": None,
    "warnings": [],
    "created_at": _AT,
    "started_at": _AT,
    "finished_at": None,
    "operations": ["cancel"],
    "tasks": {
        "total": 2,
        "pending": 1,
        "running": 1,
        "succeeded": 0,
        "failed": 0,
        "skipped": 0,
    },
}

TASK_RUN_EXAMPLE: Final = {
    "instance_id": "0f0f2a6e-51b5-5a6e-8f2c-0a5f7c1d2e3f",
    "ref": "first",
    "name": "add-vlan",
    "process_type": "do",
    "owner_id": _RUN_ID,
    "runner_id": _RUNNER,
    "status": "succeeded",
    "reason": None,
    "error": None,
    "input": {"vlan": 12},
    "delta": [{"op": "set", "path": ["added"], "value": [12]}],
    "attempts": [
        {
            "number": 1,
            "runner_id": _RUNNER,
            "status": "succeeded",
            "started_at": _AT,
            "finished_at": _AT,
            "error": None,
        }
    ],
    "steps": [{"index": 0, "status": "succeeded", "started_at": _AT, "finished_at": _AT}],
    "started_at": _AT,
    "finished_at": _AT,
}
