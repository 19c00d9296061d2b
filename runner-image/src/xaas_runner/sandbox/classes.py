"""Classes that scripts define.

Every class statement of a script calls `ClassHook` in the place of a metaclass. It checks the base
classes, gives the class a metaclass by which guards recognise it, and turns annotated names into
what `@dataclass` and `NamedTuple` look for. Enums get their own metaclass from `stand_ins._enum`,
protocols theirs from `hints.Protocol`.
"""

import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from xaas_runner.sandbox.tables import BASES, LOCKED, MARKERS, register_namedtuple
from xaas_runner.sandbox.vocabulary import FIELDS


class ScriptType(type):
    """The metaclass of classes made by scripts."""


MARKERS.add(ScriptType)

ENUMS: Final[dict[str, Any]] = {}
"""`type`: the metaclass of scripts' enums, once the module `enum` was imported."""

_MIXINS: Final = (str, int, float, bytes)


def _itself(cls: Any, item: Any) -> Any:
    """`Stack[int]` is `Stack`."""
    return cls


class Special:
    """A base class that gives a class a metaclass and special attributes, and is gone afterwards.

    `Generic[T]` and the like: types may stand in brackets after such a class.
    """

    metaclass: type[ScriptType] = ScriptType
    attributes: Mapping[str, Any] = {"__class_getitem__": classmethod(_itself)}

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return ()


class Marker:
    """A base class that means something, and is gone afterwards: `NamedTuple`, `TypedDict`."""

    def __init__(self, name: str, make: Callable[[str, dict[str, Any]], Any]) -> None:
        self.name = name
        self.make = make

    def __call__(self, name: str, fields: Any = (), /) -> Any:
        """`NamedTuple("Name", [("x", int)])`: the same without a class statement."""
        names = [field[0] for field in fields] if self.name == "NamedTuple" else []
        if type(name) is not str or any(type(field) is not str for field in names):
            raise TypeError(f"names of a {self.name} must be strings")
        return self.make(name, {FIELDS: tuple((field, "field") for field in names)})


class ClassHook:
    """Builds the classes of one script; `roots` are the additionally allowed packages."""

    def __init__(self, roots: frozenset[str]) -> None:
        self._roots = roots

    def __prepare__(self, name: str, bases: tuple[Any, ...]) -> MutableMapping[str, Any]:
        enum = ENUMS.get("type")
        if enum is not None and any(type(base) is enum for base in bases):
            self._check(name, bases)
            return enum.__prepare__(name, bases)  # type: ignore[no-any-return]
        return {}

    def __call__(self, name: str, bases: tuple[Any, ...], namespace: Any) -> Any:
        for base in bases:
            if type(base) is Marker:
                if len(bases) > 1:
                    raise TypeError(f"class {name!r}: {base.name} must be the only base class")
                return base.make(name, namespace)
        self._check(name, bases)
        enum = ENUMS.get("type")
        if enum is not None and any(type(base) is enum for base in bases):
            return enum(name, bases, namespace)
        annotations = _annotations(namespace.pop(FIELDS, ()))
        if annotations:
            namespace["__annotations__"] = annotations
        metaclass = ScriptType
        for base in namespace.get("__orig_bases__", ()):
            if issubclass(type(base), Special):
                namespace.update(base.attributes)
                metaclass = base.metaclass if base.metaclass is not ScriptType else metaclass
        return metaclass(name, bases, namespace)

    def _check(self, name: str, bases: tuple[Any, ...]) -> None:
        enum = ENUMS.get("type")
        is_enum = any(type(base) is enum for base in bases)
        for base in bases:
            if not self._allowed(base, is_enum):
                shown = base.__name__ if isinstance(base, type) else type(base).__name__
                raise TypeError(f"class {name!r}: {shown!r} can't be a base class")

    def _allowed(self, base: Any, is_enum: bool) -> bool:
        if type(base) in MARKERS:
            return True
        if not isinstance(base, type):
            return False
        if issubclass(base, BaseException):
            # The interpreter crashes on an exception group whose `split` answers nonsense.
            return issubclass(base, Exception) and not issubclass(base, BaseExceptionGroup)
        if base in BASES or (is_enum and base in _MIXINS):
            return True
        root = base.__module__.partition(".")[0]
        return type(base) is type and root in self._roots


def _annotations(fields: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """What `dataclasses` reads: every field is of type `object`, markers keep their meaning."""
    library = sys.modules.get("dataclasses")
    annotations: dict[str, Any] = {}
    for name, kind in fields:
        if kind == "field":
            annotations[name] = object
        elif kind != "ClassVar" and library is not None:
            marker = getattr(library, kind)
            annotations[name] = marker if kind == "KW_ONLY" else marker[object]
    return annotations


def make_namedtuple(name: str, namespace: dict[str, Any]) -> Any:
    """`class name(NamedTuple): …`"""
    from collections import namedtuple

    fields = [field for field, _ in namespace.pop(FIELDS, ())]
    defaults = [field for field in fields if field in namespace]
    if fields[len(fields) - len(defaults) :] != defaults:
        raise TypeError("non-default namedtuple field cannot follow default field")
    base = namedtuple(name, fields, defaults=[namespace.pop(field) for field in defaults])  # type: ignore[misc]
    register_namedtuple(base)
    return ScriptType(name, (base,), {"__slots__": (), **namespace})


def make_typeddict(name: str, namespace: dict[str, Any]) -> Any:
    """`class name(TypedDict): …`: only a type checker sees the difference to `dict`."""
    return dict


def is_script_class(obj: Any) -> bool:
    """Whether a script made this class, so that it may be changed."""
    return type(obj) in MARKERS and obj not in LOCKED
