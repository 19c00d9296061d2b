"""Field types that several kinds share: names, durations, scripts, and the models' settings."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from xaas_core.engine.json_values import check_json, is_unicode
from xaas_core.engine.params import MAX_BYTES, size
from xaas_core.models.quantities import quantity

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DEEPEST: Final = 100  # scripts may nest deeper than this; an API server reads no deeper
_RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")
_MAX_DURATION: Final = 10 * 365 * 24 * 3_600_000


class Spec(BaseModel):
    """What all kinds have in common: camelCase outside, unknown fields refused, immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )

    def as_written(self) -> dict[str, Any]:
        """The JSON object as the user wrote it: no defaults added."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def milliseconds(duration: str) -> int:
    """The length of a duration such as `100ms`, `30s`, `5m`, `1h30m`. Raises ValueError."""
    parts = _DURATION.findall(duration)
    if not parts or "".join(n + u for n, u in parts) != duration:
        raise ValueError(f"{duration!r} is no duration; write for example 100ms, 30s, 5m or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total > _MAX_DURATION:
        raise ValueError(f"{duration[:40]!r} is longer than ten years")
    return round(total)


def optional_milliseconds(duration: str | None) -> int | None:
    """As `milliseconds`; None stays None."""
    return None if duration is None else milliseconds(duration)


def check_duration(value: str) -> str:
    milliseconds(value)
    return value


def _text(value: str) -> str:
    if not is_unicode(value):
        raise ValueError("holds half of a surrogate pair, which isn't valid Unicode")
    return value


def check_name(value: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("a name can't hold control characters")
    if value in (".", ".."):
        raise ValueError(f"{value!r} can't be a name: it has a meaning of its own in a path")
    if value != value.strip():
        raise ValueError("a name can't begin or end with white space")
    return _text(value)


def _parameters(value: dict[str, Any]) -> dict[str, Any]:
    # The size first: it takes a tenth of the time of the check, which is then bounded.
    if (length := _size(value)) > MAX_BYTES:
        raise ValueError(f"parameters take {length} bytes as JSON; at most {MAX_BYTES} are allowed")
    check_json(value, "parameters", _DEEPEST, integer_bits=64)
    return value


def _size(value: dict[str, Any]) -> int:
    try:
        return size(value)
    except (ValueError, TypeError, RecursionError):
        return 0  # it isn't JSON: the check says why


def check_resources(value: dict[str, Any]) -> dict[str, Any]:
    for section, amounts in value.items():
        if section not in ("limits", "requests"):
            raise ValueError(f"resources has no {section!r}; it may have limits and requests")
        if amounts is not None and not isinstance(amounts, dict):
            raise ValueError(f"resources.{section} is no object")
        for name, amount in (amounts or {}).items():
            _check_amount(section, name, amount)
    return value


def _check_amount(section: str, name: str, amount: Any) -> None:
    _text(name)
    # As in Kubernetes: of its own resources it knows the names, those of others have a domain.
    if "/" not in name and name not in _RESOURCES and not name.startswith("hugepages-"):
        known = ", ".join(_RESOURCES)
        raise ValueError(
            f"resources.{section} has no {name[:100]!r}; it may have {known}, and names with a domain"
        )
    if amount is None:
        return
    place = f"resources.{section}.{name}"
    try:
        found = quantity(amount)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None
    if found <= 0 and name in ("cpu", "memory"):
        raise ValueError(f"{place} must be more than 0")


Name = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(check_name)]
"""A name in the user's own spelling; in a path `/` is written `%2F`."""

Text = Annotated[str, AfterValidator(_text)]

# The pattern is for the schema's readers; `milliseconds` checks, and says it in words.
Duration = Annotated[
    str,
    Field(json_schema_extra={"pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"}),
    AfterValidator(check_duration),
]
"""A length of time: `100ms`, `30s`, `5m`, `1h30m`."""

Parameters = Annotated[dict[str, Any], AfterValidator(_parameters)]
"""A JSON object of at most 1 MiB."""

Resources = Annotated[dict[str, Any], AfterValidator(check_resources)]
"""`limits` and `requests`, as in a Kubernetes container."""
