"""The rules for attributes: each is read and set by a guard, which decides by the object's type.

Names that start with an underscore are refused, but for what ordinary code can't do without, each
in one form that hands out nothing by which to go on:

    record._replace(…)         what a named tuple offers
    Parent.__init__(self, …)   a call of a special method, inside of a method
    super().method(…)          an attribute of a class's parents; `super()` itself is no value
    type(error).__name__       a name, as text; so is `function.__name__`
"""
# ruff: noqa: N802 - the names are those of the syntax tree's nodes

import ast
from typing import Any, TypeGuard

from xaas_runner.sandbox.scopes import Levels
from xaas_runner.sandbox.vocabulary import FORBIDDEN_ATTRIBUTES, METHODS, NAMEDTUPLE_METHODS

_NAME = "__name__"


class AttributeRules:
    """The part of the policy that looks at attributes; mixed into `Policy`."""

    scopes: Levels

    def check_attribute(self: Any, node: ast.Attribute) -> None:
        name = node.attr
        loads = isinstance(node.ctx, ast.Load)
        if name.startswith("_") and name != "_" and not (loads and name in NAMEDTUPLE_METHODS):
            self.error(node, f"{name!r}: attributes that start with '_' are not allowed")
        elif name in FORBIDDEN_ATTRIBUTES or name.endswith("__roles__"):
            self.error(node, f"{name!r}: this attribute is not allowed")

    def visit_Attribute(self: Any, node: ast.Attribute) -> ast.AST:
        name = ast.Constant(node.attr)
        if not isinstance(node.ctx, ast.Load):
            self.check_attribute(node)
            value = self.visit(node.value)
            node.value = self.guarded("_attribute_", value, value, name)
            return node
        if node.attr == _NAME:
            return self.visit_name_of(node)  # type: ignore[no-any-return]
        self.check_attribute(node)
        return self.read(node, "_getattr_")  # type: ignore[no-any-return]

    def visit_called(self: Any, node: ast.expr) -> ast.AST:
        """The function of a call: only there, and in a method, may it be a special method."""
        if (
            isinstance(node, ast.Attribute)
            and node.attr in METHODS
            and self.scopes.method is not None
        ):
            return self.read(node, "_special_")  # type: ignore[no-any-return]
        return self.visit(node)  # type: ignore[no-any-return]

    def read(self: Any, node: ast.Attribute, guard: str) -> ast.AST:
        name = ast.Constant(node.attr)
        if self.calls(node.value, "super"):
            owner, instance = self.arguments_of_super(node.value)
            return at_name(self.guarded("_inherited_", node, owner, instance, name), node)
        return at_name(self.guarded(guard, node, self.visit(node.value), name), node)

    def visit_name_of(self: Any, node: ast.Attribute) -> ast.AST:
        value: Any = node.value
        if self.calls(value, "type") and len(value.args) == 1 and not value.keywords:
            return self.guarded("_type_name_", node, self.visit(value.args[0]))  # type: ignore[no-any-return]
        return self.guarded("_name_", node, self.visit(value))  # type: ignore[no-any-return]

    def calls(self: Any, node: ast.expr, name: str) -> TypeGuard[ast.Call]:
        """Whether it is a call of a built-in function that a script has in such a place only."""
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == name
            and not any(isinstance(argument, ast.Starred) for argument in node.args)
            and not self.scopes.sees(name)
        )

    def arguments_of_super(self: Any, call: ast.Call) -> tuple[ast.expr, ast.expr]:
        if len(call.args) == 2 and not call.keywords:
            return self.visit(call.args[0]), self.visit(call.args[1])
        function = self.scopes.method
        arguments = function.args if function is not None else None
        names = [*arguments.posonlyargs, *arguments.args] if arguments is not None else []
        if call.args or call.keywords or not names:
            self.error(call, "'super()' needs a method with a first argument around it")
            return ast.Constant(None), ast.Constant(None)
        # `__class__` is what the compiler makes of the class around: a script can't name it.
        owner = ast.copy_location(ast.Name("__class__", ast.Load()), call)
        instance = ast.copy_location(ast.Name(names[0].arg, ast.Load()), call)
        return owner, instance

    def visit_AugAssign(self: Any, node: ast.AugAssign) -> ast.AST:
        """Python's own augmented assignment evaluates the target's object once: so does this."""
        target = node.target
        if isinstance(target, ast.Attribute):
            self.check_attribute(target)
            value = self.visit(target.value)
            name = ast.Constant(target.attr)
            target.value = self.guarded("_update_", target.value, value, name)
        else:
            node.target = self.visit(target)
        node.value = self.visit(node.value)
        return node


def at_name(node: ast.Call, attribute: ast.Attribute) -> ast.Call:
    """A call that stands for an attribute, or calls one, at the line of the attribute's name.

    So an error within a chain of methods that has several lines is told where Python tells it.
    """
    assert attribute.end_lineno is not None
    assert attribute.end_col_offset is not None
    if attribute.end_lineno != attribute.lineno:
        node.lineno = attribute.end_lineno
        node.col_offset = max(attribute.end_col_offset - len(attribute.attr.encode()), 0)
    return node
