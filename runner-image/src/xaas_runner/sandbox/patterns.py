"""The rules for `match`: a pattern is an attribute access in disguise.

`case object(gi_frame=f)` reads any attribute of anything, past every guard. So a class pattern that
looks inside names a built-in data type, with one positional pattern (which then stands for the whole
value); one that doesn't, `case Point():`, asks what `isinstance` does, of any class that has a plain
name. Values are literals. Every name that a pattern captures is a plain string in the tree and is checked
here.
"""
# ruff: noqa: N802, N815 - the names are those of the syntax tree's nodes

import ast
from typing import Any

from xaas_runner.sandbox.vocabulary import MATCHABLE


class PatternRules:
    """The part of the policy that looks at `match`; mixed into `Policy`."""

    classes: dict[str, int]

    def visit_Match(self: Any, node: ast.Match) -> ast.AST:
        return self.node_contents_visit(node)  # type: ignore[no-any-return]

    visit_match_case = visit_MatchOr = visit_MatchSequence = visit_MatchSingleton = visit_Match

    def visit_MatchAs(self: Any, node: ast.MatchAs | ast.MatchStar) -> ast.AST:
        self.check_name(node, node.name)
        return self.node_contents_visit(node)  # type: ignore[no-any-return]

    visit_MatchStar = visit_MatchAs

    def visit_MatchMapping(self: Any, node: ast.MatchMapping) -> ast.AST:
        self.check_name(node, node.rest)
        for key in node.keys:
            if not _is_literal(key):
                self.error(key, "a key in a pattern must be a literal")
        node.patterns = [self.visit(pattern) for pattern in node.patterns]
        return node

    def visit_MatchValue(self: Any, node: ast.MatchValue) -> ast.AST:
        if not _is_literal(node.value):
            self.error(node, "a value in a pattern must be a literal; use 'case x if x == …'")
        return node

    def visit_MatchClass(self: Any, node: ast.MatchClass) -> ast.AST:
        name = node.cls.id if isinstance(node.cls, ast.Name) else None
        inside = node.patterns or node.kwd_attrs
        if name is None:
            self.error(node, "the class of a pattern must be a plain name: give it one first")
        elif not inside:
            self.visit(node.cls)
        elif name not in MATCHABLE or node.kwd_attrs or len(node.patterns) > 1:
            allowed = ", ".join(sorted(MATCHABLE))
            reason = (
                f"a class pattern with something in it must be one of {allowed}, with one pattern"
            )
            self.error(node, reason)
        else:
            self.classes.setdefault(name, node.lineno)
        node.patterns = [self.visit(pattern) for pattern in node.patterns]
        return node


def _is_literal(node: ast.expr) -> bool:
    """Constants, negative numbers and complex ones: `1`, `-1`, `1 + 2j`."""
    if isinstance(node, ast.BinOp):
        return _is_literal(node.left) and _is_literal(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    return isinstance(node, ast.Constant)
