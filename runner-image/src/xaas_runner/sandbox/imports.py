"""The rules for `import`: which modules a script may name, and which members of them.

The names of members are checked here as well as when the script runs, because `from x import y`
reads an attribute without asking a guard.
"""
# ruff: noqa: N802 - the names are those of the syntax tree's nodes

import ast
from typing import Any

from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.sandbox.on_request import ON_REQUEST, is_pythons_own, may_be_allowed


class ImportRules:
    """The part of the policy that looks at imports; mixed into `Policy`."""

    extra_imports: frozenset[str]

    def visit_Import(self: Any, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if self.check_import(node, alias.name):
                self.imports.add(alias.name)
            self.check_name(node, alias.asname or alias.name.partition(".")[0])
        self.check_lazy(node)
        return node

    def visit_ImportFrom(self: Any, node: ast.ImportFrom) -> ast.AST:
        self.check_lazy(node)
        if node.module == "__future__":
            return ast.copy_location(ast.Pass(), node)
        if node.level or node.module is None:
            self.error(node, "relative imports are not allowed")
            return node
        known = self.check_import(node, node.module)
        if known:
            self.imports.add(node.module)
        for alias in node.names:
            if alias.name == "*":
                self.error(node, "'import *' is not allowed: name what you need")
                continue
            if alias.name.startswith("_"):
                self.error(node, f"{alias.name!r}: names that start with '_' are not allowed")
            elif known:
                self.check_member(node, node.module, alias.name)
            self.check_name(node, alias.asname or alias.name)
        return node

    def check_lazy(self: Any, node: ast.Import | ast.ImportFrom) -> None:
        if getattr(node, "is_lazy", 0):
            self.error(node, "lazy imports are not allowed")

    def check_import(self: Any, node: ast.AST, module: str) -> bool:
        parent = any(name.startswith(f"{module}.") for name in self.extra_imports)
        if module not in MODULES and module not in self.extra_imports and not parent:
            allowed = ", ".join(sorted({*MODULES, *self.extra_imports}))
            reason = f"import of {module!r} is not allowed; allowed are {allowed}"
            self.error(node, reason + _advice(module))
            return False
        if module == "asyncio":
            self.needs_loop(node)
        return True

    def check_member(self: Any, node: ast.AST, module: str, name: str) -> None:
        names = MODULES.get(module) or ON_REQUEST.get(module)
        if names is not None and name not in names:
            allowed = ", ".join(sorted(names))
            self.error(node, f"{module!r} has no {name!r} for scripts; it has {allowed}")


def _advice(module: str) -> str:
    if module in ON_REQUEST:
        return f" (a task opens {module!r} by its allowedImports)"
    if may_be_allowed(module):
        return ""
    advice = f" (no setting can open {module!r}: it would undo the sandbox"
    if is_pythons_own(module):
        advice += f"; of Python's own modules a task's allowedImports open {', '.join(ON_REQUEST)}"
    return f"{advice})"
