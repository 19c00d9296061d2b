"""What may be held as JSON: the check of all free-form values that users and runners hand in."""

import math
from typing import Any, Final

DEEPEST: Final = 200
"""Deepest nesting of objects and lists: far beyond use, far below any recursion limit."""

_SHOWN_PLACE: Final = 120

Path = tuple[str | int, ...]


def check_json(value: Any, name: str, deepest: int = DEEPEST, integer_bits: int = 0) -> None:
    """Raise ValueError unless `value` can be written as JSON and read again unchanged.

    The text names the place, from `name` on: `parameters['a'][0]`. `integer_bits` bounds integers
    as signed ones of that size; 0: any.
    """
    _Check(name, deepest, integer_bits).value(value, ())


class _Check:
    def __init__(self, name: str, deepest: int, integer_bits: int) -> None:
        self._name = name
        self._deepest = deepest
        self._bits = integer_bits

    def value(self, value: Any, path: Path) -> None:
        if isinstance(value, dict | list):
            self._container(value, path)
        elif isinstance(value, str):
            if not is_unicode(value):
                raise self._error(path, "holds half of a surrogate pair, which isn't valid Unicode")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise self._error(path, f"is {value}, which JSON doesn't have")
        elif isinstance(value, int):
            if self._bits and not -(2 ** (self._bits - 1)) <= value < 2 ** (self._bits - 1):
                text = f"is an integer beyond {self._bits} bit; write it as a string"
                raise self._error(path, text)
        elif value is not None:
            raise self._error(path, f"is a {type(value).__name__}, which isn't JSON")

    def _container(self, value: dict[Any, Any] | list[Any], path: Path) -> None:
        if len(path) >= self._deepest:
            raise self._error(path, f"is nested more than {self._deepest} deep")
        if isinstance(value, list):
            for index, item in enumerate(value):
                self.value(item, (*path, index))
            return
        for key, item in value.items():
            if not isinstance(key, str):
                raise self._error(path, f"has the key {key!r}; keys must be strings")
            if not is_unicode(key):
                raise self._error(path, "has a key with half of a surrogate pair: no valid Unicode")
            self.value(item, (*path, key))

    def _error(self, path: Path, text: str) -> ValueError:
        place = self._name + "".join(f"[{key!r}]" for key in path)
        if len(place) > _SHOWN_PLACE:
            place = place[:_SHOWN_PLACE] + "…"
        return ValueError(f"{place} {text}")


def is_unicode(text: str) -> bool:
    """Whether `text` holds no half of a surrogate pair."""
    return text.isascii() or not any(0xD800 <= ord(char) <= 0xDFFF for char in text)
