"""Records, plans and statuses as JSON text, exactly.

Theory of operation. Fields that have their default aren't written; what is read is built from the
dataclasses' own type hints, so this file knows no kind by name. The standard library's `json` is
used because it keeps what scripts may leave behind: 1.0 beside 1, integers of any size, the order
of keys, and halves of surrogate pairs (as escapes: the text is ASCII).
"""

import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_Build = Callable[[Any], Any]


class Codec(Generic[T]):
    """Text of values of one dataclass. Fields may be dataclasses, enums, tuples, plain JSON."""

    def __init__(self, kind: type[T]) -> None:
        hint: Any = kind
        self._build: Final = _builder(hint)

    def encode(self, value: T) -> str:
        """The text of `value`. Raises TypeError or ValueError for what JSON can't say."""
        return _ENCODER.encode(value)

    def decode(self, text: str) -> T:
        """The value of a text that `encode` wrote."""
        value: T = self._build(json.loads(text)) if self._build is not None else json.loads(text)
        return value


@cache
def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    found = []
    for field in dataclasses.fields(kind):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append((field.name, default))
    return tuple(found)


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    kind = type(value)
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"a {kind.__name__} can't be stored")
    return {
        name: held for name, default in _defaults(kind) if (held := getattr(value, name)) != default
    }


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=_fields)


@cache
def _builder(hint: Any) -> _Build | None:
    """How a value of `hint` is built from parsed JSON; None: it is what JSON has."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        if len(others) != 1:
            raise TypeError(f"{hint} can't be stored: which of them a text is can't be told")
        build = _builder(others[0])
        return None if build is None else lambda data: None if data is None else build(data)
    if origin is tuple:
        item = _builder(arguments[0])
        return tuple if item is None else lambda data: tuple([item(entry) for entry in data])
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass_builder(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint
    return None


def _dataclass_builder(kind: Any) -> _Build:
    hints = get_type_hints(kind)
    builders = {name: _builder(hints[name]) for name, _ in _defaults(kind)}
    made = [(name, build) for name, build in builders.items() if build is not None]

    def build_fields(data: dict[str, Any]) -> Any:
        for name, build in made:
            if name in data:
                data[name] = build(data[name])
        return kind(**data)

    return build_fields
