"""Pipeline: a DAG of tasks with conditions."""

from typing import Annotated

from pydantic import Field

from xaas_core.models.fields import Duration, Name, Spec, Text
from xaas_core.models.pipeline_task import RetriesSpec


class PipelineTaskRef(Spec):
    """One entry of a Pipeline's `tasks`."""

    ref: Name
    """Label, unique inside the pipeline."""
    name: Name
    """Name of a PipelineTask."""
    depends_on: Annotated[list[Name], Field(fail_fast=True)] = []
    """Refs that must be succeeded or skipped before this one starts."""
    condition: Text | None = None
    """Python expression, or a body with `return`; falsy: the task is skipped."""
    timeout: Duration | None = None
    """Wins over the PipelineTask's."""
    retries: RetriesSpec | None = None
    """Wins over the PipelineTask's."""


class PipelineSpec(Spec):
    """A Pipeline as users write it."""

    category: Text
    """A label, any string."""
    name: Name
    """Unique among the Pipelines of its namespace."""
    tasks: Annotated[list[PipelineTaskRef], Field(min_length=1, fail_fast=True)]
    """What it runs: each task as soon as those that it depends on are over."""
