"""What a script may say: the check of its syntax tree, and the rewriting of it.

A subclass of RestrictedPython's transformer. Its rule is kept: a node that nobody has looked at is
refused, so a new Python brings no new rights. What differs:

* Reading and writing attributes, and writing items, go through guards that decide by the exact type
  of the object (`guards`). Iterating, unpacking, reading items and augmented assignment to names
  run plain operators: they reach nothing that a guard wouldn't have to hand out again.
* Async syntax, `match`, `except*`, augmented assignment and annotations are allowed, in the form in
  which they hide no attribute access. Annotations are dropped, never evaluated.
* Names that start with an underscore are refused wherever a name can be written, so that no script
  can read or replace a guard.
"""
# ruff: noqa: N802, N815 - the names are those of the syntax tree's nodes

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from RestrictedPython.transformer import RestrictingNodeTransformer, copy_locations

from xaas_runner.sandbox.attributes import AttributeRules, at_name
from xaas_runner.sandbox.imports import ImportRules
from xaas_runner.sandbox.on_request import opened
from xaas_runner.sandbox.patterns import PatternRules
from xaas_runner.sandbox.scopes import Level, Levels, Scope, binds
from xaas_runner.sandbox.vocabulary import (
    DATA_TYPES,
    FIELDS,
    FORBIDDEN_NAMES,
    METHODS,
    RESERVED,
)

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Policy(  # type: ignore[misc]
    AttributeRules, ImportRules, PatternRules, RestrictingNodeTransformer
):
    """Checks and rewrites one script.

    `violations` lists `(line, reason)`; only when it is empty may the tree be compiled.
    """

    def __init__(self, allowed_imports: Iterable[str], *, condition: bool) -> None:
        super().__init__()
        self.extra_imports = opened(allowed_imports)
        self.condition = condition
        self.violations: list[tuple[int, str]] = []
        self.asynchronous = False
        self.returns = False  # has a `return` of its own, outside of functions
        self.imports: set[str] = set()
        self.bound: set[str] = set()  # in any scope
        self.loaded: dict[str, int] = {}  # name: first line
        self.classes: dict[str, int] = {}  # names of class patterns: first line
        self.scopes = Levels()

    @property
    def own(self) -> set[str]:
        """The names that are bound in the script's own scope."""
        return self.scopes[0].bound

    def check(self, tree: ast.Module) -> list[ast.stmt]:
        """The rewritten body of a script."""
        body = self.statements(tree.body)
        for name, line in self.loaded.items():
            if name in FORBIDDEN_NAMES and name not in self.bound:
                self.violations.append((line, f"{name!r} is not available in a script"))
        for name, line in self.classes.items():
            if name in self.bound:
                self.violations.append((line, f"{name!r} is redefined: it can't be matched"))
        return body

    def statements(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [self.visit(statement) for statement in body]

    # Reports

    def error(self, node: ast.AST, info: str) -> None:
        self.violations.append((getattr(node, "lineno", 1), info))

    def not_allowed(self, node: ast.AST) -> None:
        self.error(node, f"{_SPOKEN.get(type(node).__name__, type(node).__name__)} is not allowed")

    def needs_loop(self, node: ast.AST) -> None:
        self.asynchronous = True
        if self.condition:
            self.error(node, "a condition can't use await or async")

    # Names

    def check_name(self, node: Any, name: str | None, allow_magic_methods: bool = False) -> None:
        if name is None:
            return
        if name.startswith("_") and name != "_":
            in_class = self.scopes[-1].scope is Scope.CLASS
            if not (allow_magic_methods and in_class and name in METHODS):
                self.error(node, f"{name!r}: names that start with '_' are not allowed")
        elif name in RESERVED or name.endswith("__roles__"):
            self.error(node, f"{name!r} is a reserved name")
        self.bound.add(name)
        self.scopes[-1].bound.add(name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load):
            if node.id.startswith("_") and node.id != "_":
                self.error(node, f"{node.id!r}: names that start with '_' are not allowed")
            self.loaded.setdefault(node.id, node.lineno)
        else:
            self.check_name(node, node.id)
        return node

    def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.AST:
        self.scopes.statement.bound.add(node.target.id)
        return self.plain(node)

    def visit_Global(self, node: ast.Global) -> ast.AST:
        for name in node.names:
            self.check_name(node, name)
        self.own.update(node.names)
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST | list[ast.stmt]:
        """A script's own variables are its globals: `nonlocal` may mean one of them."""
        for name in node.names:
            self.check_name(node, name)
        functions = [level.node for level in self.scopes[1:-1] if level.scope is Scope.FUNCTION]
        own = [n for n in node.names if not any(f is not None and binds(f, n) for f in functions)]
        if len(self.scopes) < 2 or not own:
            return node
        self.own.update(own)
        statements: list[ast.stmt] = [ast.Global(names=own)]
        others = [name for name in node.names if name not in own]
        if others:
            statements.append(ast.Nonlocal(names=others))
        for statement in statements:
            copy_locations(statement, node)
        if len(statements) == 1:
            return statements[0]
        block = ast.If(test=ast.Constant(True), body=statements, orelse=[])
        copy_locations(block, node)
        return block

    def guarded(self, guard: str, node: Any, *arguments: ast.expr) -> ast.Call:
        call = ast.Call(func=ast.Name(guard, ast.Load()), args=list(arguments), keywords=[])
        copy_locations(call, node)
        return call

    # Items

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node.value = self.visit(node.value)
        node.slice = self.visit(node.slice)
        if not isinstance(node.ctx, ast.Load):
            node.value = self.guarded("_write_", node.value, node.value)
        return node

    # Assignment

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        return self.node_contents_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        here = self.scopes[-1]
        name = node.target.id if isinstance(node.target, ast.Name) and node.simple else None
        if here.scope is Scope.CLASS and name is not None:
            fields = getattr(here.node, FIELDS, [])
            fields.append((name, _field_kind(node.annotation)))
            setattr(here.node, FIELDS, fields)
        target = self.visit(node.target)
        statement: ast.stmt = ast.Pass()
        if node.value is not None:
            statement = ast.Assign(targets=[target], value=self.visit(node.value))
        elif here.scope is Scope.FUNCTION and name is not None:
            # Never executed, but the name is the function's own by it, as by the annotation.
            nothing = ast.Assign(targets=[target], value=ast.Constant(None))
            statement = ast.If(test=ast.Constant(False), body=[nothing], orelse=[])
        copy_locations(statement, node)
        return statement

    # Calls

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`**` could carry private keywords to a function of ours: it is checked when called."""
        if isinstance(node.func, ast.Attribute):
            at_name(node, node.func)
        node.func = self.visit_called(node.func)  # type: ignore[assignment]
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        if all(keyword.arg is not None for keyword in node.keywords):
            return node
        node.args.insert(0, node.func)
        node.func = ast.Name("_apply_", ast.Load())
        copy_locations(node.func, node.args[0])
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg is not None and node.arg.startswith("_"):
            self.error(node, f"{node.arg!r}: keywords that start with '_' are not allowed")
        return self.node_contents_visit(node)

    # Functions and classes

    @contextmanager
    def inside(self, scope: Scope, node: ast.AST) -> Iterator[None]:
        self.scopes.append(Level(scope, node, set()))
        yield
        self.scopes.pop()

    def visit_FunctionDef(self, node: _Function) -> ast.AST:
        self.check_name(node, node.name, allow_magic_methods=True)
        if getattr(node, "type_params", None):
            self.error(node, "type parameters are not allowed")
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        node.args = self.visit(node.args)
        node.returns = None
        with self.inside(Scope.FUNCTION, node):
            self.check_function_argument_names(node)
            node.body = self.statements(node.body)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.needs_loop(node)
        return self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args = self.visit(node.args)
        with self.inside(Scope.FUNCTION, node):
            self.check_function_argument_names(node)
            node.body = self.visit(node.body)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if len(self.scopes) == 1:
            self.returns = True
        return self.node_contents_visit(node)

    def visit_Yield(self, node: ast.Yield | ast.YieldFrom) -> ast.AST:
        if self.scopes.statement.scope is not Scope.FUNCTION:
            self.error(node, "'yield' outside function")
        return self.node_contents_visit(node)

    visit_YieldFrom = visit_Yield

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.check_name(node, node.name)
        if node.keywords:
            self.error(node, "keywords in a class definition are not allowed")
        if getattr(node, "type_params", None):
            self.error(node, "type parameters are not allowed")
        self.check_bases(node)
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        node.bases = [self.visit(base) for base in node.bases]
        with self.inside(Scope.CLASS, node):
            node.body = self.statements(node.body)
        fields = getattr(node, FIELDS, None)
        if fields:
            record = ast.Assign([ast.Name(FIELDS, ast.Store())], ast.Constant(_constant(fields)))
            copy_locations(record, node)
            node.body.append(record)
        hook = ast.keyword("metaclass", ast.Name("__metaclass__", ast.Load()))
        copy_locations(hook, node)
        node.keywords = [hook]
        return node

    def check_bases(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            if isinstance(base, ast.Starred):
                self.error(node, "starred base classes are not allowed")
        if len(node.bases) == 1 and isinstance(node.bases[0], ast.Name):
            name = node.bases[0].id
            if name in DATA_TYPES and name != "object" and name not in self.bound:
                self.error(node, f"{name!r} can't be a base class")

    # Statements and expressions that the base class refuses or rewrites

    def visit_Await(self, node: ast.Await | ast.AsyncFor | ast.AsyncWith) -> ast.AST:
        self.needs_loop(node)
        return self.node_contents_visit(node)

    visit_AsyncFor = visit_AsyncWith = visit_Await

    def visit_ListComp(self, node: ast.ListComp) -> Any:
        with self.inside(Scope.COMPREHENSION, node):
            return super().visit_ListComp(node)

    def visit_SetComp(self, node: ast.SetComp) -> Any:
        with self.inside(Scope.COMPREHENSION, node):
            return super().visit_SetComp(node)

    def visit_DictComp(self, node: ast.DictComp) -> Any:
        with self.inside(Scope.COMPREHENSION, node):
            return super().visit_DictComp(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> Any:
        with self.inside(Scope.COMPREHENSION, node):
            return super().visit_GeneratorExp(node)

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        if node.is_async:
            self.needs_loop(node.target)
        return self.node_contents_visit(node)

    def plain(self, node: ast.AST) -> ast.AST:
        return self.node_contents_visit(node)

    visit_For = visit_With = visit_TryStar = plain

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = self.check(node)
        return node

    def visit_TemplateStr(self, node: ast.AST) -> ast.AST:
        self.not_allowed(node)
        return node


_SPOKEN = {"TypeAlias": "a 'type' statement", "TemplateStr": "a t-string"}


def _constant(fields: list[tuple[str, str]]) -> Any:
    return tuple(fields)  # the compiler takes a tuple of constants, whatever the types say


def _field_kind(annotation: ast.expr) -> str:
    """`field`, or the name of the marker that dataclasses and typing give a meaning of its own."""
    while isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    name = annotation.attr if isinstance(annotation, ast.Attribute) else ""
    if isinstance(annotation, ast.Name):
        name = annotation.id
    return name if name in ("ClassVar", "InitVar", "KW_ONLY") else "field"
