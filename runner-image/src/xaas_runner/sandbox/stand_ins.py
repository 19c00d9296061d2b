"""Members of modules that scripts get in a version of ours, because the real one gives too much.

One function per module: it returns the members to put in the place of the real ones. They are
called when a script imports the module for the first time, so nothing is loaded that isn't used.
"""

import types
from collections.abc import Callable, Iterable
from typing import Any, Final

from xaas_runner.sandbox.classes import (
    ENUMS,
    ClassHook,
    Marker,
    ScriptType,
    is_script_class,
    make_namedtuple,
    make_typeddict,
)
from xaas_runner.sandbox.tables import (
    BASES,
    LOCKED,
    MARKERS,
    SUBSTITUTES,
    keywords_are_data,
    register,
    register_namedtuple,
)
from xaas_runner.sandbox.vocabulary import SCRIPT_FILE

_Members = dict[str, Any]


def _functools() -> _Members:
    from functools import partial
    from functools import total_ordering as complete

    def wraps(wrapped: Callable[..., Any], *, updated: Any = ()) -> Callable[[Any], Any]:
        """Copies name and documentation only: the real one copies any attribute that it is told."""
        if tuple(updated):
            raise TypeError("wraps updates no attributes here")

        def decorate(wrapper: Any) -> Any:
            if type(wrapper) is types.FunctionType and type(wrapped) is types.FunctionType:
                for name in ("__name__", "__qualname__", "__doc__"):
                    setattr(wrapper, name, getattr(wrapped, name))
            return wrapper

        return decorate

    def total_ordering(cls: Any) -> Any:
        """Adds methods to the class: only to the script's own."""
        if not is_script_class(cls):
            raise TypeError("total_ordering needs a class that the script defines")
        return complete(cls)

    # A copy, because what is put there would be passed on without a check of the keywords' names.
    SUBSTITUTES[partial] = {"keywords": lambda made: dict(made.keywords)}
    return {"wraps": wraps, "total_ordering": total_ordering}


def _collections() -> _Members:
    from collections import namedtuple as make

    def namedtuple(
        typename: str,
        field_names: str | Iterable[str],
        *,
        rename: bool = False,
        defaults: Iterable[Any] | None = None,
    ) -> Any:
        names = field_names if type(field_names) is str else list(field_names)
        if type(typename) is not str or any(type(name) is not str for name in names):
            raise TypeError("names of a namedtuple must be strings")
        build: Any = make
        cls = build(typename, names, rename=bool(rename), defaults=defaults)
        register_namedtuple(cls)
        return cls

    return {"namedtuple": namedtuple}


def _copy() -> _Members:
    """Without `memo`, which would show what a copied object is made of."""
    import copy

    def deepcopy(x: Any) -> Any:
        return copy.deepcopy(x)

    return {"deepcopy": deepcopy}


def _dataclasses() -> _Members:
    from xaas_runner.sandbox.records import members

    return members()


def _enum() -> _Members:
    """Bases of ours, whose metaclass marks enums of scripts and checks `Enum("Name", …)`."""
    import enum

    class ScriptEnumType(ScriptType, enum.EnumType):
        def __call__(  # type: ignore[override]
            cls, value: Any, names: Any = None, *, start: Any = 1
        ) -> Any:
            if names is None:
                return super().__call__(value)
            if len(cls):
                raise TypeError(f"{cls.__name__!r} has members: it can't be extended")
            return _new_enum(cls, value, names, start)

    ENUMS["type"] = ScriptEnumType
    MARKERS.add(ScriptEnumType)
    made: _Members = {}
    for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"):
        base = getattr(enum, name)
        register(base, "name value")
        made[name] = _without_members(ScriptEnumType, name, base)
    LOCKED.update(made.values())
    return made


def _without_members(metaclass: Any, name: str, base: Any) -> Any:
    namespace = metaclass.__prepare__(name, (base,))
    namespace["__module__"] = "enum"
    namespace["__qualname__"] = name
    return metaclass(name, (base,), namespace)


def _new_enum(cls: Any, name: Any, names: Any, start: Any) -> Any:
    """`Enum("Name", "A B")` by way of a class body, where special names can't be smuggled in."""
    members = names.replace(",", " ").split() if type(names) is str else list(names)
    pairs: list[tuple[Any, Any]]
    if type(names) is dict:
        pairs = list(names.items())
    elif members and type(members[0]) is str:
        values: list[Any] = []
        for member in members:
            # What `auto()` gives in an enum of this kind: a Flag's bits, a StrEnum's text.
            values.append(cls._generate_next_value_(member, start, len(values), values[:]))
        pairs = list(zip(members, values, strict=True))
    else:
        pairs = [tuple(member) for member in members]
    if type(name) is not str or any(type(key) is not str or key[:1] == "_" for key, _ in pairs):
        raise TypeError("names of an enum must be strings that don't start with '_'")
    hook = ClassHook(frozenset())
    namespace = hook.__prepare__(name, (cls,))
    namespace["__qualname__"] = name
    for key, value in pairs:
        namespace[key] = value
    return hook(name, (cls,), namespace)


def _typing() -> _Members:
    from xaas_runner.sandbox.hints import members

    bases = {
        "NamedTuple": Marker("NamedTuple", make_namedtuple),
        "TypedDict": Marker("TypedDict", make_typeddict),
    }
    return members() | bases


def _json() -> _Members:
    import json

    BASES.add(json.JSONEncoder)
    return {}


def _hashlib() -> _Members:
    """Hash objects are of a type per algorithm and library: each is looked up in a sample."""
    import hashlib

    names = "block_size copy digest digest_size hexdigest name update"
    for algorithm in sorted(hashlib.algorithms_guaranteed):
        register(type(getattr(hashlib, algorithm)()), names)
        register(type(hashlib.new(algorithm)), names)
    available = frozenset(hashlib.algorithms_available)
    guaranteed = frozenset(hashlib.algorithms_guaranteed)
    return {"algorithms_available": available, "algorithms_guaranteed": guaranteed}


def _re() -> _Members:
    """Without `re.DEBUG`, which is a number if not a name: it prints what it compiles."""
    import re

    def quiet(function: Callable[..., Any], place: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if "flags" in kwargs:
                kwargs["flags"] = int.__and__(kwargs["flags"], ~re.DEBUG.value)
            if len(args) > place:
                flags = int.__and__(args[place], ~re.DEBUG.value)
                args = (*args[:place], flags, *args[place + 1 :])
            return function(*args, **kwargs)

        return call

    flags = {"compile": 1, "split": 3, "sub": 4, "subn": 4}
    flags |= dict.fromkeys(("findall", "finditer", "fullmatch", "match", "search"), 2)
    return {name: quiet(getattr(re, name), place) for name, place in flags.items()}


def _statistics() -> _Members:
    import statistics

    fit = type(statistics.linear_regression([1, 2], [1, 2]))
    register_namedtuple(fit)
    return {}


def _datetime() -> _Members:
    import datetime as dt

    register_namedtuple_like(type(dt.date(2000, 1, 1).isocalendar()), "week weekday year")
    BASES.add(dt.tzinfo)
    return {}


def register_namedtuple_like(cls: Any, names: str) -> None:
    """A named tuple that is written in C: it has fields, but no `_fields`."""
    register(cls, f"{names} count index")


def _decimal() -> _Members:
    import decimal

    def localcontext(ctx: Any = None, **settings: Any) -> Any:
        """Works on a copy of the context; no script can reach the one that others see."""
        if ctx is not None and type(ctx) is not decimal.Context:
            raise TypeError("localcontext needs a Context")
        return decimal.localcontext((ctx or decimal.getcontext()).copy(), **settings)

    shared = ("BasicContext", "DefaultContext", "ExtendedContext")
    copies = {name: getattr(decimal, name).copy() for name in shared}
    return {"localcontext": localcontext, **copies}


def _string() -> _Members:
    import string

    keywords_are_data(string.Template.substitute)
    keywords_are_data(string.Template.safe_substitute)
    return {}


def _contextlib() -> _Members:
    """Made of the script's own functions only: any other would be called with what isn't checked."""
    import contextlib

    def of_own(make: Callable[..., Any]) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            kind = type(function)
            if kind is not types.FunctionType or function.__code__.co_filename != SCRIPT_FILE:
                raise TypeError(f"{make.__name__} needs a function that the script defines")
            return keywords_are_data(make(function))

        return decorate

    names = ("asynccontextmanager", "contextmanager")
    return {name: of_own(getattr(contextlib, name)) for name in names}


def _csv() -> _Members:
    """The types of readers and writers have no public name: each is looked up in a sample."""
    import csv
    import io

    register(type(csv.reader(())), "line_num")
    register(type(csv.writer(io.StringIO())), "writerow writerows")
    return {}


def _shlex() -> _Members:
    import shlex

    def split(s: str, comments: bool = False, posix: bool = True) -> list[str]:
        """Of a text only: the real one reads from anything, or from the standard input."""
        if not issubclass(type(s), str):
            raise TypeError("split needs a string")
        return shlex.split(s, bool(comments), bool(posix))

    return {"split": split}


def _asyncio() -> _Members:
    from xaas_runner.sandbox.tasks import members

    return members()


STAND_INS: Final[dict[str, Callable[[], _Members]]] = {
    "asyncio": _asyncio,
    "collections": _collections,
    "contextlib": _contextlib,
    "copy": _copy,
    "csv": _csv,
    "dataclasses": _dataclasses,
    "datetime": _datetime,
    "decimal": _decimal,
    "enum": _enum,
    "functools": _functools,
    "hashlib": _hashlib,
    "json": _json,
    "re": _re,
    "shlex": _shlex,
    "statistics": _statistics,
    "string": _string,
    "typing": _typing,
}
