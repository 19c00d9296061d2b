"""What all answers have in common, as OpenAPI shows it. Nothing is validated by these models."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class View(BaseModel):
    """Part of an answer: every field is always there."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Time = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-02T03:04:05.678Z"])
]
"""RFC 3339, UTC, with milliseconds."""


class ProblemEntry(View):
    """One thing that is wrong."""

    place: str
    """Where: `tasks[0].ref`, `steps[1].doScript`, the name of a query parameter or header."""
    message: str
    """What is wrong, and what to do."""
    line: int | None
    """Line in the script or the body, from 1."""


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 has it. Some types have further members."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: Annotated[str, Field(pattern="^urn:xaas:problem:[a-z-]+$")]
    """Stable: `urn:xaas:problem:<name>`."""
    title: str
    status: int
    detail: str
    errors: list[ProblemEntry]
    """Each thing that is wrong, if they can be told apart."""


class NotAllowedDetails(ProblemDetails):
    """An operation that the run's state doesn't allow."""

    state: str
    """The run's state."""
    operations: list[str]
    """What it allows."""


class ItemsPage(View):
    """One page of a list, newest first."""

    items: list[Any]
    continue_: Annotated[str | None, Field(alias="continue")]
    """Give it as `?continue=` to get the next page; null at the end."""


class Health(View):
    """The answer of a probe."""

    status: str
