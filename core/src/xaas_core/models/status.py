"""What the product says about objects on Kubernetes: the `status` of each kind.

These models describe and are never used at run time: the store writes a status as plain JSON, from
the engine's own records. They are the source of the status part of the CRDs.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from xaas_core.engine.states import Operation, RunState, TaskState

# No enum: a word that a later version adds must not make an older schema refuse the whole status.
Word = str

Milliseconds = int


class Status(BaseModel):
    """What all statuses have in common. A field that is absent is not known, or not so."""

    model_config = ConfigDict(alias_generator=to_camel, use_attribute_docstrings=True)


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Status):
    """A condition, as Kubernetes' own kinds have them: `kubectl wait --for=condition=...`."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """`Ready` of definitions, `Succeeded` of runs and task runs."""
    status: ConditionStatus
    """True, False, or Unknown while it is open."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=32768)]
    """Why, in a sentence; may be empty."""
    last_transition_time: datetime
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the object that this was said about."""


Conditions = Annotated[
    list[Condition],
    # Whoever writes one condition leaves those of others alone.
    Field(
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    ),
]


class DefinitionStatus(Status):
    """Whether a definition can be used."""

    observed_generation: int | None = None
    """The generation of the object that was last looked at."""
    conditions: Conditions | None = None
    """`Ready`: True if it can be used. If not, the message names the place and what to do."""


class TaskCounts(Status):
    """How many do task runs are in each state."""

    total: int = 0
    """All tasks of the pipeline."""
    pending: int = 0
    """Not begun yet."""
    running: int = 0
    """From the first step's begin, over all attempts."""
    succeeded: int = 0
    """Every step succeeded."""
    failed: int = 0
    """After their retries."""
    skipped: int = 0
    """Their condition didn't hold."""


class OperationAnswer(Status):
    """The answer to the `spec.operation` that had the same id."""

    id: str
    """The operation's id."""
    name: Operation
    """The operation."""
    accepted: bool
    """False: the run's state didn't allow it, and nothing was done."""
    state: RunState
    """The run's state once it was decided."""
    message: str | None = None
    """Why it was refused, or what it waits for."""
    starts: bool = False
    """The run was asked to start, and will as soon as its definitions are there."""


class WarningStatus(Status):
    """Something that isn't an error and that one should see."""

    type: Word
    """`ParamsConflict`: parallel tasks wrote the same path."""
    message: str
    """What it is about."""
    path: list[str] | None = None
    """The keys in params."""
    refs: list[str] | None = None
    """The tasks."""


class PipelineRunStatus(Status):
    """How far a run is."""

    observed_generation: int | None = None
    """The generation of the object that was last looked at."""
    state: RunState | None = None
    """Where it stands. It rests in `complete`, in `cancelled` (everything is undone), and in
    `aborted` until an operation is asked for."""
    reason: Word | None = None
    """Why, in one word; empty if there is nothing to say."""
    message: str | None = None
    """Why, in a sentence."""
    started_at: datetime | None = None
    """When it first left pending."""
    finished_at: datetime | None = None
    """When it was complete or cancelled."""
    tasks: TaskCounts | None = None
    progress: str | None = None
    """How many tasks are succeeded or skipped, and of how many: 3/7."""
    planned: bool | None = None
    """The definitions are resolved: from here on the run works on its copy of them."""
    operation: OperationAnswer | None = None
    """The answer to the newest operation."""
    earlier_operations: list[OperationAnswer] | None = None
    """The answers before it, the oldest first; the last few are kept."""
    warnings: list[WarningStatus] | None = None
    """What isn't an error and should be seen."""
    conditions: Conditions | None = None
    """`Succeeded`: True when the run is complete, False when it is cancelled or at rest in aborted,
    Unknown before."""
    log: list[str] | None = None
    """The run's history, one change of state each, as a JSON array. Numbered by position, from 1."""


class FailureStatus(Status):
    """An error in a script, or what kept it from running."""

    type: str
    """The exception's name, or the reason."""
    message: str
    """What it says."""
    step: int | None = None
    """Index of the step, from 0."""
    line: int | None = None
    """Line of the step's script, from 1."""
    traceback: list[str] | None = None
    """The script's frames, outermost first."""


class VerdictStatus(Status):
    """Whether the task runs, found out once per round."""

    round: int
    """How often the task run had returned to pending."""
    value: bool
    """What the condition gave; true without one."""
    reason: Word | None = None
    """Why it can't be said."""
    failure: FailureStatus | None = None


class StepStatus(Status):
    """A step that began."""

    index: int
    """Its place in the task's steps, from 0."""
    begun_at: Milliseconds
    """Milliseconds since 1970."""
    nonce: str
    """Drawn by the process that began it: no other can finish it."""
    runner: str | None = None
    """Which process or pod ran it."""
    finished_at: Milliseconds | None = None
    """Milliseconds since 1970."""
    succeeded: bool | None = None
    """Whether the script ended without an exception."""
    delta: str | None = None
    """What it changed in params: a list of operations, as JSON text so that numbers stay exact. A
    long one is compressed."""
    failure: FailureStatus | None = None
    reason: Word | None = None
    """Why it failed, in one word."""


class StopStatus(Status):
    """A stop that was decided: no step begins from here on, and the runner is being ended."""

    reason: Word
    """Why."""
    at: Milliseconds
    """Milliseconds since 1970."""


class AttemptStatus(Status):
    """One attempt: an intent when it is written, then what became of it."""

    number: int
    """From 1, up with every retry, recovery and renewed undo."""
    round: int
    """How often the task run had returned to pending."""
    decided_at: Milliseconds
    """Milliseconds since 1970."""
    order: list[int]
    """Indexes of the steps to run, in this order."""
    launch: int | None = None
    """Runners started for it, of which at most one ever begins a step."""
    launched_at: Milliseconds | None = None
    """Milliseconds since 1970."""
    lost: int | None = None
    """Runners that vanished before a step began; that costs nothing."""
    undoes: int | None = None
    """Of an undo: number of the do attempt up to which it takes things back."""
    recoveries: int | None = None
    """Recoveries of the run that found the task run running before this was intended."""
    trouble: str | None = None
    """What keeps its runner from starting, so far."""
    steps: list[StepStatus] | None = None
    """The steps that began."""
    stop: StopStatus | None = None
    ended_at: Milliseconds | None = None
    """Milliseconds since 1970."""
    succeeded: bool | None = None
    """Whether every step succeeded."""
    reason: Word | None = None
    """Why it failed, in one word."""
    failure: FailureStatus | None = None


class PipelineTaskRunStatus(Status):
    """How far a task run is, and all that is recorded of it."""

    state: TaskState | None = None
    """Where it stands. `running` from its first step's begin, over all attempts."""
    reason: Word | None = None
    """Why, in one word; empty if there is nothing to say."""
    message: str | None = None
    """Why, in a sentence."""
    started_at: datetime | None = None
    """When its first step began."""
    finished_at: datetime | None = None
    """When it succeeded, failed or was skipped."""
    conditions: Conditions | None = None
    """`Succeeded`: True when it is succeeded or skipped, False when failed, Unknown before."""
    verdict: VerdictStatus | None = None
    attempts: list[AttemptStatus] | None = None
    """All attempts, the newest last."""
