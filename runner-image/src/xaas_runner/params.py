"""What a script left in `params`, as JSON.

A step's `params` is read after its script has ended. `plain` turns whatever the script left there
into JSON values of the exact types, or says which key isn't JSON. What has changed is found in `delta.py`.
"""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from xaas_runner.contract import MAX_PARAMS_BYTES

MAX_DEPTH: Final = 200
"""Deepest nesting of objects and lists: far beyond use, far below any parser's recursion limit."""

MAX_INTEGER_DIGITS: Final = 100_000
"""Longest integer. Reading and writing decimal digits takes quadratic time before CPython 3.12: for
1 MiB of them 5 and 14 seconds, in each process that they pass through."""

_MAX_INTEGER_BITS: Final = 332_192  # 10 ** 100_000 needs one more
_SHOWN_KEY: Final = 60


class NotJson(ValueError):
    """A value that can't be part of `params`.

    `path` leads to it (keys and list indexes), `why` says what is wrong; `str()` gives both.
    """

    def __init__(self, path: tuple[str | int, ...], why: str) -> None:
        super().__init__(f"{place(path)} {why}")
        self.path = path
        self.why = why

    def told(self, hide: Callable[[str], str]) -> str:
        """Return what `str()` does, with long keys cut: after `hide` has masked them."""
        keys = [key if isinstance(key, int) else _cut(hide(key)) for key in self.path]
        return f"{place(keys)} {hide(self.why)}"


def _cut(key: str) -> str:
    return key if len(key) <= _SHOWN_KEY else key[:_SHOWN_KEY] + "…"


def place(path: Iterable[str | int]) -> str:
    """Return the path as a script would write it: `params['a'][0]`."""
    shown = [repr(key) for key in path]
    if len(shown) > 12:
        shown[6:-3] = ["…"]
    return "params" + "".join(f"[{key}]" for key in shown)


def to_text(value: Any) -> str:
    """Return compact JSON. The value is plain (see `plain`); key order is kept."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def from_text(text: str | bytes) -> Any:
    """Read JSON, refusing integers that would take too long to read (ValueError)."""
    return json.loads(text, parse_int=_parse_int)


def _parse_int(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS + 1:
        raise ValueError(f"an integer has more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def plain(value: Any, *, limit: int = MAX_PARAMS_BYTES) -> dict[str, Any]:
    """Return a deep copy of `params` that holds exact JSON types only.

    Subclasses of dict, list, str, int and float become what they extend, and a tuple becomes a
    list, as `json` has it. Raises NotJson, naming the key, for everything else: other types,
    NaN and infinities, keys that aren't strings, cycles, text that isn't Unicode, nesting beyond
    MAX_DEPTH, integers beyond MAX_INTEGER_DIGITS, and more than `limit` bytes of compact JSON.
    """
    if not isinstance(value, dict):
        raise NotJson((), f"is {_a(value)}; it must stay a dict")
    copy = _Copier(limit).value(value, ())
    assert isinstance(copy, dict)
    size = len(to_text(copy).encode())
    if size > limit:
        largest = max(copy, key=lambda key: len(to_text(copy[key])))
        raise NotJson(
            (largest,),
            f"is the largest value of params that are {size} bytes as compact JSON; "
            f"{limit} bytes are allowed",
        )
    return copy


def check_json(value: Any) -> None:
    """Raise NotJson if `plain` would."""
    plain(value)


class _Copier:
    """One copy of one value. Counts a lower bound of its JSON's size, so that a small graph of
    shared objects that would unfold into a huge text is refused while it unfolds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._open: set[int] = set()

    def value(self, value: Any, path: tuple[str | int, ...]) -> Any:
        self._grow(1, path)
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            return self._integer(value, path)
        if isinstance(value, float):
            return self._number(value, path)
        if isinstance(value, dict | list | tuple):
            return self._container(value, path)
        raise NotJson(path, f"is {_a(value)}, which isn't JSON{_advice(value)}")

    def _grow(self, size: int, path: tuple[str | int, ...]) -> None:
        self._size += size
        if self._size > self._limit:
            raise NotJson(
                path, f"makes params larger than {self._limit} bytes as compact JSON: the limit"
            )

    def _text(self, value: str, path: tuple[str | int, ...]) -> str:
        text = str.__str__(value)
        self._grow(len(text), path)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise NotJson(
                    path, f"holds {text[error.start]!r}, half of a surrogate pair: not Unicode text"
                ) from None
        return text

    def _integer(self, value: int, path: tuple[str | int, ...]) -> int:
        number = int.__int__(value)
        bits = number.bit_length()
        if bits > _MAX_INTEGER_BITS:
            raise NotJson(path, f"is an integer of more than {MAX_INTEGER_DIGITS} digits")
        self._grow(bits // 4, path)
        return number

    def _number(self, value: float, path: tuple[str | int, ...]) -> float:
        number = float.__float__(value)
        if not math.isfinite(number):
            raise NotJson(path, f"is {number!r}, which JSON doesn't have")
        return number

    def _container(self, value: Any, path: tuple[str | int, ...]) -> Any:
        if id(value) in self._open:
            raise NotJson(path, "contains itself (a cycle)")
        if len(path) >= MAX_DEPTH:
            raise NotJson(path, f"is nested deeper than {MAX_DEPTH} levels")
        self._open.add(id(value))
        if isinstance(value, dict):
            copy: Any = self._object(value, path)
        else:
            items = tuple.__iter__(value) if isinstance(value, tuple) else list.__iter__(value)
            copy = [self.value(item, (*path, index)) for index, item in enumerate(items)]
        self._open.remove(id(value))
        return copy

    def _object(self, value: dict[Any, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
        # The types' own methods: a script's subclass may have overridden them.
        copy: dict[str, Any] = {}
        pairs = OrderedDict.items(value) if isinstance(value, OrderedDict) else dict.items(value)
        for key, item in pairs:
            if not isinstance(key, str):
                raise NotJson(path, f"has the key {_shown(key)}, {_a(key)}; keys must be strings")
            try:
                name = self._text(key, path)
            except NotJson as error:
                raise NotJson(path, f"has a key that {error.why}") from None
            if name in copy:
                raise NotJson(path, f"has the key {name!r} twice")
            copy[name] = self.value(item, (*path, name))
        return copy


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in set('aeiou') else 'a'} {name}"


def _shown(key: Any) -> str:
    # Only of types whose repr is ours to trust, and not long. Not cut: that might leave half a secret.
    if type(key) in (int, float, bool, type(None), bytes) and len(repr(key)) <= _SHOWN_KEY:
        return repr(key)
    if type(key) is tuple:
        return "(" + ", ".join(_shown(item) for item in key[:4]) + ")"
    return f"<{type(key).__name__}>"


def _advice(value: Any) -> str:
    if isinstance(value, set | frozenset):
        return "; use sorted(…) or a list"
    if isinstance(value, bytes | bytearray):
        return "; decode it, or use base64"
    if type(value).__name__ in ("datetime", "date", "time"):
        return "; use .isoformat()"
    if type(value).__name__ in ("Decimal", "Fraction", "UUID", "IPv4Address", "IPv6Address"):
        return "; use str(…)"
    if type(value).__name__ == "coroutine":
        return "; is an await missing?"
    return ""
