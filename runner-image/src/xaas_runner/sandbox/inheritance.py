"""What a class has from its parents: `super().method(…)` and `Parent.__init__(self, …)`.

Both are calls that a script could make by other means: of its own code, or of what constructs an
instance anyway. So the object in question must be an instance of a class that a script made: the
functions that `dataclass` writes, and those of libraries, set attributes without asking a guard.
"""

from collections.abc import Callable
from typing import Any, Final

from xaas_runner.sandbox.classes import is_script_class
from xaas_runner.sandbox.tables import MARKERS, READABLE

mro: Final = type.__dict__["__mro__"].__get__
own: Final = type.__dict__["__dict__"].__get__

OF_EVERY_OBJECT: Final = frozenset(
    {"__init__", "__repr__", "__str__", "__eq__", "__ne__", "__hash__"}
)
"""Special methods that are called for every instance anyway."""

_NOTHING: Final[frozenset[str]] = frozenset()


def definer(classes: tuple[Any, ...], name: str) -> Any:
    """The first of the classes that defines `name`; None if none does."""
    return next((cls for cls in classes if name in own(cls)), None)


def shows(classes: tuple[Any, ...], name: str) -> bool | None:
    """What the first class that defines `name` says: readable or not. None: no class defines it."""
    for cls in classes:
        if type(cls) in MARKERS:
            if name in own(cls):
                return True
            continue
        if name in READABLE.get(cls, _NOTHING):
            return True
        if name in own(cls):
            return False
    return None


def offers(classes: tuple[Any, ...], name: str) -> bool:
    """Whether a script may call the special method `name` that the classes give to an instance.

    The first that defines it must be a script's own, or it is one of OF_EVERY_OBJECT.
    """
    found = definer(classes, name)
    return found is not None and (name in OF_EVERY_OBJECT or is_script_class(found))


class Unbound:
    """A special method of a class, for instances that a script made. It can only be called."""

    __slots__ = ("cls", "function")

    def __init__(self, cls: Any, function: Callable[..., Any]) -> None:
        self.cls = cls
        self.function = function

    def __call__(self, instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        kind = type(instance)
        if not is_script_class(kind) or self.cls not in mro(kind):
            name = type.__dict__["__name__"].__get__(self.cls)
            raise TypeError(f"the first argument must be an instance of the script's own {name!r}")
        return self.function(instance, *args, **kwargs)


def parents(cls: Any, instance: Any) -> tuple[tuple[Any, ...], bool]:
    """The classes that `super(cls, instance)` looks into, and whether `instance` is an instance.

    Else it is a class, as in a class method. Raises TypeError.
    """
    kind, bound = type(instance), False
    classes: tuple[Any, ...] = ()
    if is_script_class(cls):
        bound = is_script_class(kind)
        classes = mro(kind) if bound else mro(instance) if is_script_class(instance) else ()
    if cls not in classes:
        raise TypeError("super() needs a class that the script defines, and an instance of it")
    return classes[classes.index(cls) + 1 :], bound
