"""PipelineTask: a reusable unit of work, a list of steps that can be undone."""

from typing import Annotated

from pydantic import Field

from xaas_core.models.fields import Duration, Name, Resources, Spec, Text


class StepSpec(Spec):
    """One step."""

    do_script: Text
    """Python, the body of an async function. Raising fails the step."""
    undo_script: Text | None = None
    """Python that takes back what doScript did, also when that was done only by half."""


class RetriesSpec(Spec):
    """When a failed attempt is tried again."""

    limit: Annotated[int, Field(ge=0, le=1000)] = 0
    """Attempts after the first; afresh after a recovery."""
    delay: Duration = "0s"
    """Time before the first retry."""
    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 1.0
    """Each further delay is the one before times this."""
    max_delay: Duration | None = None
    """Upper bound of a delay."""


class SecretSpec(Spec):
    """A secret value that scripts read as `secrets['name']`."""

    name: Name
    """What scripts call it."""
    secret: Name
    """Kubernetes: the Secret's name. Embedded: see docs/operations.md."""
    key: Name
    """Which of the Secret's values."""


class PipelineTaskSpec(Spec):
    """A PipelineTask as users write it."""

    category: Text
    """A label, any string."""
    name: Name
    """Unique among the PipelineTasks of its namespace."""
    steps: Annotated[list[StepSpec], Field(fail_fast=True)]
    """Run one after the other. Without any the task succeeds at once."""
    timeout: Duration | None = None
    """Longest time of one attempt, from its first step's begin."""
    start_timeout: Duration = "5m"
    """Longest time until the first step begins."""
    grace_period: Duration = "5s"
    """Time between SIGTERM and SIGKILL when a runner is stopped."""
    retries: RetriesSpec | None = None
    image: Text | None = None
    """Kubernetes: an image built from the runner image. Embedded: not used."""
    resources: Resources | None = None
    """As in a Kubernetes container: `limits` and `requests` of `cpu` and `memory`."""
    secrets: Annotated[list[SecretSpec], Field(fail_fast=True)] | None = None
    """Secret values that scripts read as `secrets['name']`; they are never shown."""
    allowed_imports: Annotated[list[Name], Field(fail_fast=True)] | None = None
    """Modules beyond the standard ones that scripts of this task may import."""
