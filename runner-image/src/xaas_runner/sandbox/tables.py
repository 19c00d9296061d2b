"""Which attributes a script may read or set, by the exact type of the object.

Deny by default: an object whose type isn't here has no attributes. A class is found by the same
key, so `str.upper` may be read because `''.upper` may be. Classes that scripts make themselves are
recognised by their metaclass, which a script can't choose.
"""

import types
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Self, TypeVar

from xaas_runner.sandbox.vocabulary import NAMEDTUPLE_METHODS

_SEQUENCE = "count index"
_BYTES = """
    capitalize center count decode endswith expandtabs find fromhex hex index isalnum isalpha
    isascii isdigit islower isspace istitle isupper join ljust lower lstrip maketrans partition
    removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines
    startswith strip swapcase title translate upper zfill
"""
_LIST = "append clear copy count extend index insert pop remove reverse sort"
_FROZENSET = """
    copy difference intersection isdisjoint issubset issuperset symmetric_difference union
"""
_INTEGER = """
    as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag is_integer numerator
    real to_bytes
"""

_BUILT_IN: Final[dict[type, str]] = {
    bool: _INTEGER,
    bytearray: f"{_BYTES} append clear copy extend insert pop remove reverse",
    bytes: _BYTES,
    complex: "conjugate imag real",
    dict: "clear copy fromkeys get items keys pop popitem setdefault update values",
    float: "as_integer_ratio conjugate fromhex hex imag is_integer real",
    frozenset: _FROZENSET,
    int: _INTEGER,
    list: _LIST,
    property: "deleter getter setter",
    range: f"{_SEQUENCE} start step stop",
    set: f"""{_FROZENSET} add clear difference_update discard intersection_update pop remove
        symmetric_difference_update update""",
    slice: "indices start step stop",
    str: """
        capitalize casefold center count encode endswith expandtabs find index isalnum isalpha
        isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper
        join ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind rindex
        rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title translate
        upper zfill""",
    tuple: _SEQUENCE,
    type({}.keys()): "isdisjoint",
    type({}.items()): "isdisjoint",
    type(OrderedDict().keys()): "isdisjoint",
    type(OrderedDict().items()): "isdisjoint",
    types.GeneratorType: "close send throw",
    types.MappingProxyType: "copy get items keys values",
    BaseException: "add_note args",
    ExceptionGroup: "add_note args derive exceptions message split subgroup",
    BaseExceptionGroup: "add_note args exceptions message",
    ImportError: "add_note args msg name",
    OSError: "add_note args errno filename strerror",
    StopIteration: "add_note args value",
    SyntaxError: "add_note args lineno msg offset text",
    UnicodeDecodeError: "add_note args encoding end object reason start",
    UnicodeEncodeError: "add_note args encoding end object reason start",
}

READABLE: Final[dict[Any, frozenset[str]]] = {
    kind: frozenset(names.split()) for kind, names in _BUILT_IN.items()
}
"""Attributes that may be read of an instance of the class, and of the class."""

WRITABLE: Final[dict[Any, frozenset[str]]] = {}
"""Attributes that may be set on an instance of the class."""

SUBSTITUTES: Final[dict[Any, dict[str, Callable[[Any], Any]]]] = {}
"""Attributes that scripts get in a version of ours, because the real one gives too much.

By class and name: what makes it of the instance. None of them may be in READABLE.
"""

DYNAMIC: Final[set[Any]] = set()
"""Classes that answer for every name without a leading underscore themselves."""

ITEM_WRITABLE: Final[set[Any]] = {dict, list, bytearray}
"""Types whose items may be set and deleted."""

BASES: Final[set[Any]] = {object}
"""Classes that aren't exceptions and may be the base of a script's class."""

MARKERS: Final[set[Any]] = set()
"""Metaclasses of the classes that scripts make."""

LOCKED: Final[set[Any]] = set()
"""Classes of ours that have such a metaclass: every script shares them, none may change them."""

DATA_KEYWORDS: Final[set[types.CodeType]] = set()
"""Code of functions that take any keywords, and only pass them on as data."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def keywords_are_data(function: _Function) -> _Function:
    """Declare that `**` may give this function keywords that begin with `_`: it takes any, as data."""
    DATA_KEYWORDS.add(function.__code__)
    return function


class Handle:
    """What stands for something of the step's: its log, its connection, what it is given.

    A copy of it is the object itself: a second one would have a count or a limit of its own.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def expose(
    cls: type, names: Iterable[str], *, writable: Iterable[str] = (), dynamic: bool = False
) -> None:
    """Declare which attributes of instances of a trusted class a script may read.

    They may be read of the class too (`PipelineRun.create`). `writable` may be set as well.
    `dynamic`: any other name that doesn't start with `_` is looked up by the class itself, in its
    `__getattr__`; it must give out harmless values only. Subclasses need a declaration of their own.

    Raises ValueError for a name that starts with `_`.
    """
    readable, settable = frozenset(names), frozenset(writable)
    private = sorted(name for name in readable | settable if name.startswith("_"))
    if private:
        raise ValueError(f"a script can't name {', '.join(private)}: it starts with '_'")
    READABLE[cls] = readable | settable
    WRITABLE[cls] = settable
    if dynamic:
        DYNAMIC.add(cls)


def register(cls: Any, names: str) -> None:
    """Make the attributes `names` (separated by blanks) of a library's class readable."""
    READABLE[cls] = frozenset(names.split())


def register_namedtuple(cls: Any) -> None:
    """Make a named tuple's fields readable, and let scripts derive classes from it."""
    READABLE[cls] = frozenset(cls._fields) | {"count", "index"} | NAMEDTUPLE_METHODS
    BASES.add(cls)
