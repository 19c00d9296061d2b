"""Protocols: classes of scripts whose instances are all objects that have certain members."""

from typing import Any, Final

from xaas_runner.sandbox.classes import ScriptType
from xaas_runner.sandbox.inheritance import definer, mro, own
from xaas_runner.sandbox.tables import MARKERS
from xaas_runner.sandbox.vocabulary import METHODS

PROTOCOL: Final = "__script_protocol__"
"""Where a protocol keeps whether it is `@runtime_checkable`. A script can't name it."""

_MEMBER_METHODS: Final = METHODS - {"__init__"}


class ProtocolType(ScriptType):
    """The metaclass of protocols, and of what is derived from them.

    Members are looked up without calling anything that the script wrote.
    """

    def __instancecheck__(self, instance: Any) -> bool:
        if PROTOCOL in own(self) and _conforms(self, type(instance), instance):
            return True
        return type.__instancecheck__(self, instance)

    def __subclasscheck__(self, other: Any) -> bool:
        if PROTOCOL in own(self):
            if not all(_members(self).values()):
                raise TypeError("Protocols with non-method members don't support issubclass()")
            if _conforms(self, other):
                return True
        return type.__subclasscheck__(self, other)


MARKERS.add(ProtocolType)


def runtime_checkable(cls: Any) -> Any:
    """`typing.runtime_checkable`."""
    if type(cls) is not ProtocolType or PROTOCOL not in own(cls):
        raise TypeError("@runtime_checkable can be only applied to protocol classes")
    setattr(cls, PROTOCOL, True)
    return cls


def _conforms(protocol: Any, kind: Any, instance: Any = None) -> bool:
    """Whether the class, or what is set at the instance itself, has all members."""
    if not own(protocol)[PROTOCOL]:
        raise TypeError(
            "Instance and subclass checks can only be used with @runtime_checkable protocols"
        )
    classes = mro(kind)
    if issubclass(kind, type):
        classes = mro(instance) + classes
    has_fields = type(kind) in MARKERS and hasattr(instance, "__dict__")
    fields = instance.__dict__ if has_fields else {}
    for name, is_method in _members(protocol).items():
        found = definer(classes, name)
        if name not in fields and (found is None or (is_method and own(found)[name] is None)):
            return False
    return True


def _members(protocol: Any) -> dict[str, bool]:
    """The members of a protocol, and of those that it is derived from: whether it is a method."""
    members: dict[str, bool] = {}
    for cls in mro(protocol):
        namespace = own(cls)
        if PROTOCOL not in namespace:
            continue
        for name in (*namespace, *namespace.get("__annotations__", ())):
            if name[:1] != "_" or name in _MEMBER_METHODS:
                members.setdefault(name, callable(namespace.get(name)))
    return members
