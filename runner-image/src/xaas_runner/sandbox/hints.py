"""`typing` for scripts: nothing of the real module, which evaluates strings.

Annotations are dropped, so most names have nothing to say. What has a meaning while a script runs
has it here too: `isinstance(x, Mapping)`, `Union[int, str]`, `DefaultDict(list)`, `get_args(Mode)`.
How a class becomes generic is in `classes`, what a protocol is in `protocols`.
"""

import builtins
import collections.abc
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.sandbox.classes import Special
from xaas_runner.sandbox.inheritance import definer, mro, own
from xaas_runner.sandbox.protocols import PROTOCOL, ProtocolType, runtime_checkable

_OF_ABC: Final = """
    AsyncGenerator AsyncIterable AsyncIterator Awaitable Callable Collection Container Coroutine
    Generator Hashable ItemsView Iterable Iterator KeysView Mapping MappingView MutableMapping
    MutableSequence MutableSet Reversible Sequence Sized ValuesView
"""

_ALIASES: Final = {
    **{name: f"collections.abc.{name}" for name in _OF_ABC.split()},
    "AbstractSet": "collections.abc.Set",
    "AsyncContextManager": "contextlib.AbstractAsyncContextManager",
    "ContextManager": "contextlib.AbstractContextManager",
    "ChainMap": "collections.ChainMap",
    "Counter": "collections.Counter",
    "DefaultDict": "collections.defaultdict",
    "Deque": "collections.deque",
    "Dict": "builtins.dict",
    "FrozenSet": "builtins.frozenset",
    "List": "builtins.list",
    "Match": "re.Match",
    "OrderedDict": "collections.OrderedDict",
    "Pattern": "re.Pattern",
    "Set": "builtins.set",
    "Tuple": "builtins.tuple",
    "Type": "builtins.type",
}
"""Names that stand for a class, by its path. Its module is imported when a script asks for it."""

_SUPPORTS: Final = {
    "SupportsAbs": "__abs__",
    "SupportsBytes": "__bytes__",
    "SupportsComplex": "__complex__",
    "SupportsFloat": "__float__",
    "SupportsIndex": "__index__",
    "SupportsInt": "__int__",
    "SupportsRound": "__round__",
}


class Hint(Special):
    """A name for annotations; `args` are what stands in its brackets, `form` what has these."""

    __iter__ = None  # else it could be iterated by `__getitem__`, without an end

    def __init__(self, name: str, args: tuple[Any, ...] = (), form: "Hint | None" = None) -> None:
        self.name = name
        self.args = args
        self.form = form

    def __getitem__(self, item: Any) -> Any:
        return type(self)(self.name, item if type(item) is tuple else (item,), self)

    def __or__(self, other: Any) -> Any:
        return _union((self, other))

    def __ror__(self, other: Any) -> Any:
        return _union((other, self))

    def __repr__(self) -> str:
        return self.name

    def origin(self) -> Any:
        """What `get_origin` gives."""
        return self.form


class _Alias(Hint):
    """A name that stands for a class."""

    @cached_property
    def cls(self) -> Any:
        from xaas_runner.sandbox.modules import load

        module, _, name = _ALIASES[self.name].rpartition(".")
        if module in MODULES:
            load(module)  # so that what a script may read of the class's objects is known
        builtins.__import__(module)
        return getattr(sys.modules[module], name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"Type {self.name} cannot be instantiated")

    def __instancecheck__(self, instance: Any) -> bool:
        return self.__subclasscheck__(type(instance))

    def __subclasscheck__(self, cls: Any) -> bool:
        if self.form is not None:
            raise TypeError("Subscripted generics cannot be used with class and instance checks")
        return issubclass(cls, self.cls)

    def origin(self) -> Any:
        # `type` itself is nothing for scripts.
        return self if self.name == "Type" else self.cls


class _Collection(_Alias):
    """One of `collections`: called, it makes an object of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.cls(*args, **kwargs)


class _Supports(Hint):
    """`SupportsInt` and the like: whether there is a special method."""

    def __instancecheck__(self, instance: Any) -> bool:
        return self.__subclasscheck__(type(instance))

    def __subclasscheck__(self, cls: Any) -> bool:
        method = _SUPPORTS[self.name]
        found = definer(mro(cls), method)
        return found is not None and own(found)[method] is not None


class _Union(Hint):
    """`Union[int, str]`, `Optional[int]`, or two names with `|` between them."""

    def __getitem__(self, item: Any) -> Any:
        items = item if type(item) is tuple else (item,)
        return _union((*items, None) if self.name == "Optional" else items)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._classes())

    def __subclasscheck__(self, cls: Any) -> bool:
        return issubclass(cls, self._classes())

    def _classes(self) -> tuple[Any, ...]:
        if self.form is None:
            raise TypeError(f"{self.name} can't be used with isinstance() without its types")
        return self.args


_UNION: Final = _Union("Union")


def _union(items: Iterable[Any]) -> Any:
    """The union of all: a union in it stands for its members, and of the same types one is left."""
    members: list[Any] = []
    for item in items:
        inner = type(item) in (_Union, types.UnionType)
        for member in get_args(item) if inner else (item,):
            found = type(None) if member is None else member
            if not any(found is other for other in members):
                members.append(found)
    return members[0] if len(members) == 1 else _Union("Union", tuple(members), _UNION)


class _Literal(Hint):
    """`Literal["a", "b"]`: one inside another stands for its values."""

    def __getitem__(self, item: Any) -> Any:
        values: list[Any] = []
        for value in item if type(item) is tuple else (item,):
            values.extend(value.args if type(value) is _Literal else (value,))
        return super().__getitem__(tuple(values))


class _Maker(Hint):
    """A name that is called to make another one: `TypeVar("T")`."""

    def __call__(self, name: Any, *args: Any, **kwargs: Any) -> Hint:
        return _Variables(str(name)) if self.name == "TypeVarTuple" else Hint(str(name))


class _Variables(Hint):
    """What `TypeVarTuple` makes: it stands in brackets with a star, as in `Generic[*Ts]`."""

    def __iter__(self) -> Iterator[Hint]:  # type: ignore[override]
        return iter((Hint("Unpack", (self,)),))


class _Protocol(Hint):
    """A base class by which a class is a protocol."""

    metaclass = ProtocolType
    attributes: Mapping[str, Any] = {**Special.attributes, PROTOCOL: False}


class _NewType(Hint):
    """`NewType("Name", int)` gives what returns its argument."""

    def __call__(self, name: Any, tp: Any) -> "_Distinct":
        return _Distinct(str(name))


class _Distinct(Hint):
    def __call__(self, value: Any) -> Any:
        return value


def _same(value: Any, /) -> Any:
    return value


def cast(typ: Any, val: Any) -> Any:
    return val


def assert_type(val: Any, typ: Any, /) -> Any:
    return val


def assert_never(arg: Any, /) -> Any:
    value = repr(arg)
    shown = value if len(value) <= 100 else f"{value[:100]}..."
    raise AssertionError(f"Expected code to be unreachable, but got: {shown}")


def dataclass_transform(**settings: Any) -> Callable[[Any], Any]:
    return _same


def get_args(tp: Any) -> tuple[Any, ...]:
    """What stands in the brackets: of a name of ours, or of what Python itself makes of a class."""
    kind = type(tp)
    if issubclass(kind, Hint):
        return tp.args  # type: ignore[no-any-return]
    if not issubclass(kind, types.GenericAlias | types.UnionType):
        return ()
    args: tuple[Any, ...] = tp.__args__
    if get_origin(tp) is collections.abc.Callable and args[0] is not Ellipsis:
        return [*args[:-1]], args[-1]
    return args


def get_origin(tp: Any) -> Any:
    kind = type(tp)
    if issubclass(kind, Hint):
        return tp.origin()
    if kind is types.UnionType:
        return _UNION
    return tp.__origin__ if issubclass(kind, types.GenericAlias) else None


def members() -> dict[str, Any]:
    """The members of `typing`: a hint for each listed name that has no meaning of its own."""
    special: dict[str, type[Hint]] = {
        "Literal": _Literal,
        "NewType": _NewType,
        "Optional": _Union,
        "ParamSpec": _Maker,
        "Protocol": _Protocol,
        "TypeVar": _Maker,
        "TypeVarTuple": _Maker,
        **dict.fromkeys(_ALIASES, _Alias),
        **dict.fromkeys(
            ("ChainMap", "Counter", "DefaultDict", "Deque", "OrderedDict"), _Collection
        ),
        **dict.fromkeys(_SUPPORTS, _Supports),
    }
    made: dict[str, Any] = {name: special.get(name, Hint)(name) for name in MODULES["typing"]}
    for name in ("final", "no_type_check", "overload", "override", "reveal_type"):
        made[name] = _same
    functions = (assert_never, assert_type, cast, dataclass_transform, get_args, get_origin)
    made |= {function.__name__: function for function in (*functions, runtime_checkable)}
    return made | {"Text": str, "Union": _UNION, "TYPE_CHECKING": False}
