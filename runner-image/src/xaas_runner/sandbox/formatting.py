"""`str.format` and `str.format_map` for scripts.

The real ones read attributes of their arguments ("{0.attribute}") without asking anybody. These do
the same work with a guarded read. The parsing is Python's own.
"""

from _string import (  # type: ignore[import-not-found]
    formatter_field_name_split,
    formatter_parser,
)
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_Read = Callable[[Any, str], Any]
_CONVERSIONS: dict[str, Callable[[Any], str]] = {"s": str, "r": repr, "a": ascii}
_DEPTH = 2  # how deep replacement fields nest: the value, and its format specification


def format_text(text: str, args: Sequence[Any], kwargs: Mapping[str, Any], read: _Read) -> str:
    """`text.format(*args, **kwargs)`; `read(obj, name)` reads attributes."""
    return _Formatting(args, kwargs, read).render(exact(text), _DEPTH)


def format_text_map(text: str, mapping: Any, read: _Read) -> str:
    """`text.format_map(mapping)`; `read(obj, name)` reads attributes."""
    return _Formatting(None, mapping, read).render(exact(text), _DEPTH)


def exact(text: str) -> str:
    """The same text as a plain `str`, without the methods of a subclass that a script wrote."""
    return "".join((text,))  # noqa: FLY002 - an f-string would call its `__format__`


class _Formatting:
    """One call of `format`. `args` is None for `format_map`."""

    def __init__(self, args: Sequence[Any] | None, kwargs: Any, read: _Read) -> None:
        self.args = args
        self.kwargs = kwargs
        self.read = read
        self.position = 0
        self.numbering: str | None = None

    def render(self, text: str, depth: int) -> str:
        if depth == 0:
            raise ValueError("Max string recursion exceeded")
        parts = []
        for literal, field, spec, conversion in formatter_parser(text):
            parts.append(literal)
            if field is None:
                continue
            value = self.value(field)
            if conversion is not None:
                if conversion not in _CONVERSIONS:
                    raise ValueError(f"Unknown conversion specifier {conversion!r}")
                value = _CONVERSIONS[conversion](value)
            if "{" in spec or "}" in spec:
                spec = self.render(spec, depth - 1)
            parts.append(format(value, spec))
        return "".join(parts)

    def value(self, field: str) -> Any:
        first, rest = formatter_field_name_split(field)
        value = self.argument(first)
        for is_attribute, key in rest:
            value = self.read(value, key) if is_attribute else value[key]
        return value

    def argument(self, first: str | int) -> Any:
        if first == "":
            self.number("automatic")
            first, self.position = self.position, self.position + 1
        elif isinstance(first, int):
            self.number("manual")
        if isinstance(first, str):
            return self.kwargs[first]
        if self.args is None:
            raise ValueError("Format string contains positional fields")
        if first >= len(self.args):
            raise IndexError(f"Replacement index {first} out of range for positional args tuple")
        return self.args[first]

    def number(self, how: str) -> None:
        if self.numbering not in (None, how):
            raise ValueError("cannot mix automatic field numbering and manual numbering")
        self.numbering = how
