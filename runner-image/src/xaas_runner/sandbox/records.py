"""`dataclasses` for scripts: the real library, applied to classes of the script only.

It would look into any dataclass, which may be an object of ours with private fields; and it adds
methods to a class, which must not be one that others share.
"""

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from xaas_runner.sandbox.classes import is_script_class
from xaas_runner.sandbox.tables import BASES


def own_class(cls: Any, what: str) -> Any:
    """The class, if a script made it; else TypeError."""
    if not is_script_class(cls):
        raise TypeError(f"{what} needs a class that the script defines")
    return cls


def _is_record(value: Any) -> bool:
    return is_script_class(type(value)) and dataclasses.is_dataclass(value)


def _values(obj: Any) -> dict[str, Any]:
    if not _is_record(obj):
        raise TypeError("an instance of a dataclass of the script is required")
    return {field.name: getattr(obj, field.name) for field in dataclasses.fields(obj)}


def _inner(value: Any, convert: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if _is_record(value):
        return convert(value)
    if kind in (list, tuple):
        return kind(_inner(item, convert) for item in value)
    if kind in (dict, OrderedDict, defaultdict):
        made: Any = defaultdict(value.default_factory) if kind is defaultdict else kind()
        made.update((_inner(k, convert), _inner(v, convert)) for k, v in value.items())
        return made
    if issubclass(kind, tuple) and (kind in BASES or is_script_class(kind)):
        return kind(*[_inner(item, convert) for item in value])  # a named tuple of the script
    return deepcopy(value)


def asdict(obj: Any, *, dict_factory: Any = dict) -> Any:
    def convert(item: Any) -> Any:
        return dict_factory([(k, _inner(v, convert)) for k, v in _values(item).items()])

    return convert(obj)


def astuple(obj: Any, *, tuple_factory: Any = tuple) -> Any:
    def convert(item: Any) -> Any:
        return tuple_factory([_inner(v, convert) for v in _values(item).values()])

    return convert(obj)


def replace(obj: Any, /, **changes: Any) -> Any:
    _values(obj)
    return dataclasses.replace(obj, **changes)


def fields(of: Any) -> Any:
    own_class(of if isinstance(of, type) else type(of), "fields")
    return dataclasses.fields(of)


def dataclass(cls: Any = None, /, **options: Any) -> Any:
    if cls is None:
        return lambda cls: dataclass(cls, **options)
    make: Any = dataclasses.dataclass(**options)
    return make(own_class(cls, "dataclass"))


def members() -> dict[str, Any]:
    """The members that stand in for those of `dataclasses`."""
    ours = (asdict, astuple, dataclass, fields, replace)
    return {member.__name__: member for member in ours}
