"""What a script gets for a module: a name and the listed members, nothing else."""

from collections.abc import Mapping
from typing import Any, Final

MISSING: Final = object()


class Facade:
    """A module as scripts see it.

    It has no `__name__` on purpose: `from x import y` would go on to look in `sys.modules` for
    `<name>.y`, and find what the facade hides. That statement reads attributes without asking a
    guard, so there are no others than the members.
    """

    __slots__ = ("_label", "_members")

    def __init__(self, label: str, members: Mapping[str, Any]) -> None:
        self._label = label
        self._members = dict(members)

    def __getattribute__(self, name: str) -> Any:
        # Called by `from x import y` and by functions written in C: a script's own `x.y` goes
        # through the guard. So not even what every object has can be read of a facade, but for
        # what `isinstance` asks (and no script: names of members that begin with `_` are refused).
        if name == "__class__":
            return Facade
        members = _MEMBERS(self)
        if name[:1] == "_" or name not in members:
            raise AttributeError(f"no {name!r} for scripts")
        return members[name]

    def __repr__(self) -> str:
        return f"<module {_LABEL(self)!r}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a module can't be copied")

    @staticmethod
    def label(facade: "Facade") -> str:
        """The module's name."""
        return _LABEL(facade)  # type: ignore[no-any-return]

    @staticmethod
    def member(facade: "Facade", name: str) -> Any:
        """The member of that name, or MISSING."""
        return _MEMBERS(facade).get(name, MISSING)


_LABEL: Final[Any] = Facade.__dict__["_label"].__get__
_MEMBERS: Final[Any] = Facade.__dict__["_members"].__get__
