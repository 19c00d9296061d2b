"""Running a program: its globals, and the call."""

import types
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from xaas_runner.sandbox import guards
from xaas_runner.sandbox.classes import ClassHook
from xaas_runner.sandbox.modules import Importer
from xaas_runner.sandbox.output import make_print
from xaas_runner.sandbox.program import Program
from xaas_runner.sandbox.tables import MARKERS
from xaas_runner.sandbox.vocabulary import SAFE_BUILTINS

_NO_DEFAULT: Final = object()


def scope(
    program: Program, objects: Mapping[str, Any], *, write: Callable[[str], None]
) -> dict[str, Any]:
    """The globals to run `program` in.

    `objects` are the names that the script finds (`params`, `logger`, …); `print` goes to `write`.
    Everything that the program imports is loaded here: call it before files become unreadable.
    """
    importer = Importer(program.allowed_imports)
    importer.prepare(program.imports | program.presets)
    guard = guards.Guard(importer.roots)
    functions = {
        **SAFE_BUILTINS,
        "__build_class__": __build_class__,
        "__import__": importer.hook(),
        "aiter": _aiter,
        "anext": _anext,
        "delattr": guard.delattr,
        "getattr": guard.getattr,
        "hasattr": guard.hasattr,
        "iter": _iter,
        "next": _next,
        "print": make_print(write),
        "setattr": guard.setattr,
    }
    presets = {name: importer.facade(name) for name in program.presets}
    return {
        **presets,
        **objects,
        "__builtins__": functions,
        "__name__": "script",
        "__metaclass__": ClassHook(importer.roots),
        "_apply_": guards.apply,
        "_attribute_": guard.attribute,
        "_getattr_": guard.read,
        "_inherited_": guard.inherited,
        "_name_": guards.name_of,
        "_special_": guard.special,
        "_type_name_": guards.type_name,
        "_update_": guard.update,
        "_write_": guard.write,
    }


def run(program: Program, scope: dict[str, Any]) -> Any:
    """Run a program that needs no event loop; returns what it returns, raises what it raises."""
    if program.asynchronous:
        raise RuntimeError("this program needs an event loop: use run_async")
    return types.FunctionType(program.code, scope)()


async def run_async(program: Program, scope: dict[str, Any]) -> Any:
    """Run any program; returns what it returns, raises what it raises."""
    result = types.FunctionType(program.code, scope)()
    return await result if program.asynchronous else result


# Driving an awaitable by hand would show the loop's futures to a script. Nothing can be read of
# them, but a script has no business with them either.


def _driven(obj: Any) -> bool:
    kind = type(obj)
    return type(kind) not in MARKERS and hasattr(kind, "__await__")


def _iter(obj: Any, *sentinel: Any) -> Any:
    if _driven(obj):
        raise TypeError(f"{type(obj).__name__!r} object can't be iterated: use 'await'")
    return iter(obj, *sentinel)


def _next(iterator: Any, *default: Any) -> Any:
    if _driven(iterator):
        raise TypeError(f"{type(iterator).__name__!r} object can't be iterated: use 'await'")
    return next(iterator, *default)


def _aiter(obj: Any) -> AsyncIterator[Any]:
    return aiter(obj)


async def _anext(iterator: Any, default: Any = _NO_DEFAULT) -> Any:
    if default is _NO_DEFAULT:
        return await anext(iterator)
    return await anext(iterator, default)
