"""Where names live: what kind of scope a line is in, and which names a function binds."""

import ast
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple


class Scope(Enum):
    """A kind of scope."""

    SCRIPT = auto()
    FUNCTION = auto()
    CLASS = auto()
    COMPREHENSION = auto()


class Level(NamedTuple):
    """One scope among those around a line; `bound`: the names bound in it so far."""

    scope: Scope
    node: ast.AST | None
    bound: set[str]


class Levels(list[Level]):
    """The scopes around a line, the script's own first."""

    def __init__(self) -> None:
        super().__init__([Level(Scope.SCRIPT, None, set())])

    @property
    def statement(self) -> Level:
        """The scope of the statement that the line is part of: where `:=` binds its name."""
        return next(level for level in reversed(self) if level.scope is not Scope.COMPREHENSION)

    @property
    def method(self) -> ast.AST | None:
        """The innermost function, if a class is around it."""
        function = self.statement
        inside = any(level.scope is Scope.CLASS for level in self)
        return function.node if inside and function.scope is Scope.FUNCTION else None

    def sees(self, name: str) -> bool:
        """Whether the script has bound `name` where the line would find it."""
        return any(
            name in level.bound
            for level in self
            if level.scope is not Scope.CLASS or level is self[-1]
        )


_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def binds(function: ast.AST, name: str) -> bool:
    """Whether `name` is a variable of this very function (not of one inside it)."""
    return any(found == name for found in _bound_names(function))


def _bound_names(function: ast.AST) -> Iterator[str]:
    arguments = getattr(function, "args", None)
    if isinstance(arguments, ast.arguments):
        # Not what is in their default values: a lambda there has parameters of its own.
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        yield from (each.arg for each in (*every, arguments.vararg, arguments.kwarg) if each)
    body = getattr(function, "body", None)
    pending: list[ast.AST] = list(body) if isinstance(body, list) else []
    outer: set[str] = set()
    found: list[str] = []
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.append(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
        elif isinstance(node, ast.alias):
            found.append(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.append(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.append(node.rest)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(node.name)
        if isinstance(node, ast.comprehension):
            pending += [node.iter, *node.ifs]  # its target is the comprehension's own
        elif not isinstance(node, _NESTED):
            pending.extend(ast.iter_child_nodes(node))
    yield from (name for name in found if name not in outer)
