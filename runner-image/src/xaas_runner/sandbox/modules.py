"""The imports of a script: facades of the catalogue's modules and of additionally allowed ones."""

import builtins
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

from xaas_runner.sandbox.catalogue import COMPANIONS, MODULES, TYPES
from xaas_runner.sandbox.facade import Facade
from xaas_runner.sandbox.on_request import ON_REQUEST, TYPES_ON_REQUEST, opened
from xaas_runner.sandbox.stand_ins import STAND_INS
from xaas_runner.sandbox.tables import ITEM_WRITABLE, register

_LISTED: Final = MODULES | ON_REQUEST
_TYPES: Final = TYPES | TYPES_ON_REQUEST

_loaded: Final[dict[str, Facade]] = {}

_FOR_C_CODE: Final = frozenset(
    {"_pylong", "_strptime", "time", "traceback", "unicodedata", "warnings"}
)
"""Modules that functions written in C import through the script's own `__import__`."""

_EMPTY: Final = Facade("nothing", {})

_WRITABLE_COLLECTIONS: Final = ("ChainMap", "Counter", "OrderedDict", "defaultdict", "deque")


def load(name: str) -> Facade:
    """The facade of a listed module. The real module is imported the first time."""
    facade = _loaded.get(name)
    if facade is None:
        facade = _loaded[name] = Facade(name, _members(name))
    return facade


def _members(name: str) -> dict[str, Any]:
    if name == "typing":
        return _stand_ins(name)
    module = _real(name)
    for companion in COMPANIONS.get(name, ()):
        _real(companion)
    members: dict[str, Any] = {}
    for member in _LISTED[name]:
        if f"{name}.{member}" in MODULES:
            members[member] = load(f"{name}.{member}")
        elif hasattr(module, member):
            members[member] = getattr(module, member)
    for path, names in _TYPES.get(name, {}).items():
        cls = _follow(module, path)
        if cls is not None:
            register(cls, names)
    if name == "collections":
        ITEM_WRITABLE.update(getattr(module, kind) for kind in _WRITABLE_COLLECTIONS)
    if name in STAND_INS:
        members.update(_stand_ins(name))
    return members


def _stand_ins(name: str) -> dict[str, Any]:
    """Members of ours, named as the real ones are: the interpreter's errors tell these names."""
    members = STAND_INS[name]()
    for label, member in members.items():
        if type(member) is types.FunctionType:
            member.__module__, member.__name__, member.__qualname__ = name, label, label
    return members


def _real(name: str) -> types.ModuleType:
    builtins.__import__(name)
    return sys.modules[name]


def _follow(module: Any, path: str) -> Any:
    value = module
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _open(name: str, allowed: frozenset[str]) -> Facade:
    """The facade of an additionally allowed module: its public names that aren't modules."""
    members: dict[str, Any] = {}
    if name in allowed:
        members = {
            member: value
            for member, value in vars(_real(name)).items()
            if member[:1] != "_" and not isinstance(value, types.ModuleType)
        }
    for other in allowed:
        parent = other.rpartition(".")[0]
        if parent == name or parent.startswith(f"{name}."):
            first = other.removeprefix(f"{name}.").partition(".")[0]
            members[first] = _open(f"{name}.{first}", allowed)
    return Facade(name, members)


class Importer:
    """`__import__` of one script."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._extra = opened(allowed)
        self._opened: dict[str, Facade] = {}

    @property
    def roots(self) -> frozenset[str]:
        """Top-level packages whose objects are open to the script: none of Python's own."""
        return frozenset(name.partition(".")[0] for name in self._extra - frozenset(ON_REQUEST))

    def facade(self, name: str) -> Facade:
        """Raises ImportError for a module that isn't allowed or isn't there."""
        if name in MODULES or (name in ON_REQUEST and name in self._extra):
            return load(name)
        if not any(f"{other}.".startswith(f"{name}.") for other in self._extra):
            raise ImportError(f"import of {name!r} is not allowed")
        if name not in self._opened:
            self._opened[name] = _open(name, self._extra)
        return self._opened[name]

    def prepare(self, names: Iterable[str]) -> None:
        """Import what a script names, now. What fails here fails again where the script asks."""
        for name in names:
            try:
                self.facade(name)
            except Exception:  # noqa: BLE001, S112 - told at the script's own line
                continue

    def hook(self) -> Callable[..., Facade]:
        """The function behind the script's `import` statements."""

        def import_module(
            name: str,
            namespace: Any = None,
            local: Any = None,
            fromlist: Any = (),
            level: int = 0,
        ) -> Facade:
            if type(name) is not str or level:
                raise ImportError("relative imports are not allowed")
            if name in _FOR_C_CODE and name not in MODULES and name not in self._extra:
                _real(name)
                return _EMPTY
            wanted = self.facade(name)
            return wanted if fromlist else self.facade(name.partition(".")[0])

        return import_module
