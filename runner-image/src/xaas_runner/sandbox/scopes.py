"""Where names live: what kind of scope a line is in, and which names a function binds."""

import ast
from collections.abc import Iterator
from enum import Enum, auto


class Scope(Enum):
    """What encloses a statement most closely."""

    SCRIPT = auto()
    FUNCTION = auto()
    CLASS = auto()


_NESTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def binds(function: ast.AST, name: str) -> bool:
    """Whether `name` is a variable of this very function (not of one inside it)."""
    return any(found == name for found in _bound_names(function))


def _bound_names(function: ast.AST) -> Iterator[str]:
    arguments = getattr(function, "args", None)
    if isinstance(arguments, ast.arguments):
        yield from (node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg))
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
        if not isinstance(node, _NESTED):
            pending.extend(ast.iter_child_nodes(node))
    yield from (name for name in found if name not in outer)
