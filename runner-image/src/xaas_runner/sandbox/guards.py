"""The guards that compiled scripts call for attributes, items and `**` arguments.

A guard looks at the exact type of the object and never calls anything that the script wrote in
order to decide. Its errors are raised outside of any `except` block, so that no other error, with
its frames and objects, hangs on them.
"""

import functools
import types
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any, Final

from xaas_runner.sandbox import inheritance
from xaas_runner.sandbox.facade import MISSING, Facade
from xaas_runner.sandbox.formatting import exact, format_text, format_text_map
from xaas_runner.sandbox.tables import (
    DATA_KEYWORDS,
    DYNAMIC,
    ITEM_WRITABLE,
    LOCKED,
    MARKERS,
    READABLE,
    SUBSTITUTES,
    WRITABLE,
    Handle,
    keywords_are_data,
)
from xaas_runner.sandbox.vocabulary import (
    DRIVEN,
    EXCEPTIONS,
    FORBIDDEN_ATTRIBUTES,
    FORMATS,
    METHODS,
    NAMEDTUPLE_METHODS,
    SCRIPT_FILE,
)

_NOTHING: Final[frozenset[str]] = frozenset()
_NO_SUBSTITUTES: Final[dict[str, Callable[[Any], Any]]] = {}
_PLAIN_ERRORS: Final = frozenset(
    # What makes up a group is told by its type: the interpreter relies on it.
    kind
    for kind in EXCEPTIONS.values()
    if not issubclass(kind, BaseExceptionGroup)
)
_DICTS: Final = (dict, OrderedDict, Counter, defaultdict)
_CACHED: Final = type(functools.cache(len))


def _denied(obj: Any, name: str) -> AttributeError:
    shown = name if len(name) <= 80 else f"{name[:80]}…"
    if type(obj) is Facade:
        return AttributeError(
            f"module {Facade.label(obj)!r} has no attribute {shown!r} for scripts"
        )
    kind = type(obj)
    what = f"{kind.__name__!r} object"
    if issubclass(kind, type):
        what = f"class {obj.__name__!r}"
    return AttributeError(f"{what} has no attribute {shown!r} that a script can use")


class Guard(Handle):
    """Access for one script.

    `roots` are the packages that the operator or the task's image allows beyond the catalogue:
    their objects show every attribute without a leading underscore.
    """

    __slots__ = ("_roots",)

    def __init__(self, roots: frozenset[str] = _NOTHING) -> None:
        self._roots = roots

    # Reading

    def read(self, obj: Any, name: str) -> Any:
        """`obj.name`. Raises AttributeError for what isn't there or isn't the script's business."""
        names = READABLE.get(type(obj))
        if names is not None and name in names:
            value = getattr(obj, name, MISSING)
        else:
            value = self._read_other(obj, name)
        if value is MISSING:
            raise _denied(obj, name)
        return value

    def _read_other(self, obj: Any, name: str) -> Any:
        kind = type(obj)
        if kind is Facade:
            return Facade.member(obj, name)
        if name == "__name__":
            return name_of(obj)
        substitute = SUBSTITUTES.get(kind, _NO_SUBSTITUTES).get(name)
        if substitute is not None:
            return substitute(obj)
        if name in FORMATS:
            value = self._format(obj, name)
            if value is not MISSING:
                return value
        if kind is types.AsyncGeneratorType and name in DRIVEN:
            return _awaiting(getattr(obj, name))
        if not self._shows(obj, name):
            return MISSING
        if type(kind) in MARKERS or kind in MARKERS:
            return getattr(obj, name)  # the script's own property may tell its own error
        value = getattr(obj, name, MISSING)
        return MISSING if isinstance(value, types.ModuleType) else value

    def _shows(self, obj: Any, name: str) -> bool:
        """Whether a script may read this attribute, if it is there."""
        kind = type(obj)
        names = READABLE.get(kind)
        if names is not None and name in names:
            return True
        if name[:1] == "_" and name not in NAMEDTUPLE_METHODS and name != "_":
            return False
        if type(kind) in MARKERS:
            return inheritance.shows(inheritance.mro(kind), name) is not False
        if kind in MARKERS:
            return inheritance.shows(inheritance.mro(obj), name) is True
        if issubclass(kind, type):
            return name in READABLE.get(obj, _NOTHING) or self._opened(obj, name)
        if issubclass(kind, BaseException):
            shown = inheritance.shows(inheritance.mro(kind), name)
            # What no class defines is what the script has set there.
            own = shown is None and kind in _PLAIN_ERRORS
            return shown is True or own or self._opened(kind, name)
        return kind in DYNAMIC or _is_own_function(obj) or self._opened(kind, name)

    def _opened(self, cls: Any, name: str) -> bool:
        """Whether the class belongs to an additionally allowed package."""
        if not self._roots or name in FORBIDDEN_ATTRIBUTES:
            return False
        module = getattr(cls, "__module__", None)
        return type(module) is str and module.partition(".")[0] in self._roots

    def _format(self, obj: Any, name: str) -> Any:
        """Our own `str.format` and `str.format_map`, where `name` means these."""
        kind = type(obj)
        bound = issubclass(kind, str)
        cls = kind if bound else obj
        if not bound and not (issubclass(kind, type) and issubclass(cls, str)):
            return MISSING
        for base in inheritance.mro(cls):
            if base is str:
                break
            if name in inheritance.own(base):
                return MISSING  # a method that the script wrote in an enum of its own
        if name == "format_map":
            return _formatter_of_map(obj if bound else MISSING, self.read)
        return _formatter(obj if bound else MISSING, self.read)

    # Special methods, parents, names

    def special(self, obj: Any, name: str) -> Any:
        """The special method `name`, to be called: of an instance, or `Parent.__init__`."""
        kind = type(obj)
        if issubclass(kind, type):
            if inheritance.offers(inheritance.mro(obj), name):
                return inheritance.Unbound(obj, getattr(obj, name))
        elif type(kind) in MARKERS and inheritance.offers(inheritance.mro(kind), name):
            return getattr(obj, name)
        raise _denied(obj, name)

    def inherited(self, cls: Any, instance: Any, name: str) -> Any:
        """`super(cls, instance).name`."""
        classes, bound = inheritance.parents(cls, instance)
        if name in METHODS:
            readable = bound and inheritance.offers(classes, name)
        else:
            found = inheritance.definer(classes, name)
            readable = inheritance.shows(classes, name) is True or self._opened(found, name)
        value = getattr(super(cls, instance), name) if readable else MISSING
        if value is MISSING or isinstance(value, types.ModuleType):
            raise AttributeError(f"'super' object has no attribute {name!r} that a script can use")
        return value

    # Built-in functions

    def getattr(self, obj: Any, name: str, *default: Any) -> Any:
        """`getattr` for scripts: `default` stands in for what they can't read, too."""
        _check_attribute_name(name)
        if len(default) > 1:
            raise TypeError("getattr expected at most 3 arguments")
        missing: AttributeError
        try:
            return self.read(obj, name)
        except AttributeError as error:
            missing = error
        if default:
            return default[0]
        raise missing

    def hasattr(self, obj: Any, name: str) -> bool:
        """`hasattr` for scripts. Of special methods it tells truly whether they are there."""
        _check_attribute_name(name)
        if name not in METHODS:
            return self.getattr(obj, name, MISSING) is not MISSING
        kind = type(obj)
        classes = inheritance.mro(kind)
        if issubclass(kind, type):
            classes = inheritance.mro(obj) + classes
        found = inheritance.definer(classes, name)
        return found is not None and inheritance.own(found)[name] is not None

    def setattr(self, obj: Any, name: str, value: Any) -> None:
        _check_attribute_name(name)
        setattr(self.attribute(obj, name), name, value)

    def delattr(self, obj: Any, name: str) -> None:
        _check_attribute_name(name)
        delattr(self.attribute(obj, name), name)

    # Writing

    def write(self, obj: Any) -> Any:
        """The object, if a script may set or delete its items; else TypeError."""
        kind = type(obj)
        if kind in ITEM_WRITABLE or type(kind) in MARKERS or self._opened(kind, "items"):
            return obj
        raise TypeError(f"{kind.__name__!r} object: its items can't be set or deleted by a script")

    def attribute(self, obj: Any, name: str) -> Any:
        """The object, if a script may set or delete the attribute `name`; else AttributeError."""
        kind = type(obj)
        if name in WRITABLE.get(kind, _NOTHING):
            return obj
        own = type(kind) in MARKERS or (kind in MARKERS and obj not in LOCKED)
        if own and name[:1] != "_":
            return obj
        if kind in _PLAIN_ERRORS and _is_free(kind, name):
            return obj
        if _is_own_function(obj) and name[:1] != "_":
            return obj
        shown = name[:80]
        raise AttributeError(f"attribute {shown!r} of {kind.__name__!r} object can't be set")

    def update(self, obj: Any, name: str) -> Any:
        """The object, if a script may both read and set the attribute `name`."""
        if name in FORMATS or not self._shows(obj, name):
            raise _denied(obj, name)
        return self.attribute(obj, name)


def _is_free(kind: Any, name: str) -> bool:
    """Whether a script may set it at an error of a built-in type: what means nothing there, and `args`."""
    free = inheritance.definer(inheritance.mro(kind), name) is None and name[:1] != "_"
    return free or name == "args"


def _is_own_function(obj: Any) -> bool:
    """Whether it is a function that the script wrote: what isn't private there is what the script set."""
    return type(obj) is types.FunctionType and obj.__code__.co_filename == SCRIPT_FILE


def _check_attribute_name(name: Any) -> None:
    if type(name) is not str:
        raise TypeError("attribute name must be a string")


def _checked(text: Any) -> str:
    if not issubclass(type(text), str):
        raise TypeError(f"a string is required, not {type(text).__name__!r}")
    return text  # type: ignore[no-any-return]


def _formatter(text: Any, read: Callable[[Any, str], Any]) -> Callable[..., str]:
    """`text.format`, or `str.format` where there is no text."""

    @keywords_are_data
    def of_text(*args: Any, **kwargs: Any) -> str:
        return format_text(text, args, kwargs, read)

    @keywords_are_data
    def of_class(text: Any, /, *args: Any, **kwargs: Any) -> str:
        return format_text(_checked(text), args, kwargs, read)

    return of_class if text is MISSING else of_text


def _formatter_of_map(text: Any, read: Callable[[Any, str], Any]) -> Callable[..., str]:
    """Likewise `format_map`."""
    if text is MISSING:
        return lambda text, mapping: format_text_map(_checked(text), mapping, read)
    return lambda mapping: format_text_map(text, mapping, read)


def _awaiting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method as a coroutine function: what it gives itself could be driven in a loop."""

    async def call(*args: Any) -> Any:
        return await method(*args)

    return call


_name_of_class: Final = type.__dict__["__name__"].__get__


def name_of(obj: Any) -> str:
    """`obj.__name__` of a class or a function, as a plain text. Calls nothing."""
    named = obj
    while type(named) in (types.MethodType, _CACHED):
        named = named.__func__ if type(named) is types.MethodType else named.__wrapped__
    kind = type(named)
    if issubclass(kind, type):
        return exact(_name_of_class(named))
    if kind in (types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType):
        return exact(kind.__dict__["__name__"].__get__(named))
    raise _denied(obj, "__name__")


def type_name(obj: Any, /) -> str:
    """`type(obj).__name__`."""
    return exact(_name_of_class(type(obj)))


def apply(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)`, where the names in `kwargs` weren't seen when compiling."""
    for key in kwargs:
        # By the methods of `str` itself: a key may be of a subclass that the script wrote.
        if str.startswith(key, "_") and (str.endswith(key, "_") or not _takes_private(function)):
            raise TypeError("keywords that start with '_' are not allowed")
    return function(*args, **kwargs)


# Its name in the interpreter's own errors: `**` is given no mapping, or the same name twice.
apply.__module__, apply.__qualname__ = "builtins", "function"


def _takes_private(function: Any) -> bool:
    """Whether private keywords do no harm: data types, C functions, the script's own, and those
    of ours that only pass keywords on as data."""
    function = _called(function)
    if type(function) is types.FunctionType:
        code = function.__code__
        return bool(code.co_filename == SCRIPT_FILE) or code in DATA_KEYWORDS
    own = type(function) in (types.BuiltinFunctionType, *MARKERS)
    return own or any(function is kind for kind in _DICTS)


def _called(function: Any) -> Any:
    """What is called in the end: the function in a method, in a `partial` or behind a cache."""
    while True:
        kind = type(function)
        if kind is types.MethodType:
            function = function.__func__
        elif kind is functools.partial:
            function = function.func
        elif kind is _CACHED:
            function = function.__wrapped__
        elif kind is inheritance.Unbound:
            function = function.function
        else:
            return function
