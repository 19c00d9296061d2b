"""What routes take in their query and headers. Unknown parameters are refused: a typo isn't lost."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Header, Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from xaas_core.engine.states import RunState
from xaas_core.ports import Query

MAX_LIMIT: Final = 1000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _flag(value: Any) -> bool:
    if value in (True, "true"):
        return True
    if value in (False, "false"):
        return False
    raise ValueError("write true or false")


def whole(value: Any) -> Any:
    """Refuses what looks like a number only to Python: `1_0`, `1.0`, ` 1`."""
    if isinstance(value, str) and not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        raise ValueError("write a whole number")
    return value


def _time(value: str) -> str:
    milliseconds(value)
    return value


def milliseconds(value: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time. Raises ValueError."""
    if not _TIME.fullmatch(value):
        raise ValueError("write a time as 2026-01-02T03:04:05.678Z (a `+` in a query is %2B)")
    try:
        since = datetime.fromisoformat(value.upper()) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such time: {error}") from None
    return since // timedelta(milliseconds=1)


Flag = Annotated[bool, BeforeValidator(_flag)]
Time = Annotated[str, AfterValidator(_time), Field(json_schema_extra={"format": "date-time"})]

NamePath = Annotated[str, Path(description="The object's name; `/` is written `%2F`.")]
RunPath = Annotated[str, Path(description="The run's `instance_id`.")]
IfMatch = Annotated[
    str | None,
    Header(description="Only if the object has this ETag: what a GET of it sent.", min_length=1),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="A key of the client's: the same key and body give the same object.",
        min_length=1,
        max_length=255,
    ),
]


class InNamespace(BaseModel):
    """The query of every route that names objects."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    namespace: Annotated[
        str | None, Field(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    ] = None
    """The namespace to work in; the server's own if absent."""


class DefinitionList(InNamespace):
    """Which definitions of a list."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(whole)] = 100
    """Items of a page."""
    after: Annotated[str | None, Field(alias="continue")] = None
    """What the page before gave as `continue`."""
    category: str | None = None
    """Of this category only; of runs, their pipeline's."""
    created_before: Time | None = None
    """Created before this time (exclusive)."""
    created_after: Time | None = None
    """Created after this time (exclusive)."""

    def for_store(self) -> Query:
        """As the store takes it."""
        before, after = self.created_before, self.created_after
        return Query(
            limit=self.limit,
            after=self.after,
            category=self.category,
            created_before=None if before is None else milliseconds(before),
            created_after=None if after is None else milliseconds(after),
        )


class RunList(DefinitionList):
    """Which runs of a list."""

    status: RunState | None = None
    """In this state only."""
    pipeline: str | None = None
    """Of this Pipeline only."""

    def for_store(self) -> Query:
        """As the store takes it."""
        state = None if self.status is None else self.status.value
        return replace(super().for_store(), status=state, pipeline=self.pipeline)
