"""What a script gets for a module: a name and the listed members, nothing else."""

from collections.abc import Mapping
from typing import Any, Final

MISSING: Final = object()


class Facade:
    """A module as scripts see it.

    It has no `__name__` on purpose: `from x import y` would go on to look in `sys.modules` for
    `<name>.y`, and find what the facade hides. Its own attributes are private, because that
    statement reads attributes without asking a guard.
    """

    __slots__ = ("_label", "_members")

    def __init__(self, label: str, members: Mapping[str, Any]) -> None:
        self._label = label
        self._members = dict(members)

    def __getattr__(self, name: str) -> Any:
        # Called by `from x import y` only: a script's own `x.y` goes through the guard.
        if name in Facade.__slots__ or name not in self._members:
            raise AttributeError(f"no {name!r} for scripts")
        return self._members[name]

    def __repr__(self) -> str:
        return f"<module {self._label!r}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a module can't be copied")

    @staticmethod
    def label(facade: "Facade") -> str:
        """The module's name."""
        return facade._label  # noqa: SLF001 - a method in all but name

    @staticmethod
    def member(facade: "Facade", name: str) -> Any:
        """The member of that name, or MISSING."""
        return facade._members.get(name, MISSING)  # noqa: SLF001 - likewise
