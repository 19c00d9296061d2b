"""From the text of a script or a condition to code that may run."""

import ast
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.sandbox.policy import Policy
from xaas_runner.sandbox.vocabulary import ENTRY, SCRIPT_FILE

MAX_SOURCE: Final = 1024 * 1024
"""Longest script, in characters: a pipeline's definitions are limited to 1 MiB."""

_DEPTH: Final = 12_000
"""Python frames for the check of a deeply nested tree; the compiler has a limit of its own."""


class PolicyError(Exception):
    """A script that doesn't compile, or says what the policy refuses."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason, line)
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        return self.reason if self.line is None else f"line {self.line}: {self.reason}"


class Program(NamedTuple):
    """A compiled script or condition.

    `code` is the code of a function without arguments, whose globals are the script's variables;
    `asynchronous`: a coroutine function, it needs a running event loop. `imports` are the modules
    that it names; `scope` loads them.
    """

    code: types.CodeType
    asynchronous: bool
    source: str
    allowed_imports: frozenset[str]
    imports: frozenset[str] = frozenset()
    presets: frozenset[str] = frozenset()


def compile_script(source: str, *, allowed_imports: Iterable[str] = ()) -> Program:
    """Compile the body of an async function. Raises PolicyError."""
    return _Compilation(source, allowed_imports, condition=False).program()


def compile_condition(source: str, *, allowed_imports: Iterable[str] = ()) -> Program:
    """Compile an expression, or a body with `return`; no await. Raises PolicyError."""
    return _Compilation(source, allowed_imports, condition=True).program()


class _Compilation:
    """One script on its way through parser, policy and compiler."""

    def __init__(self, source: str, allowed_imports: Iterable[str], *, condition: bool) -> None:
        if type(source) is not str:
            raise PolicyError("a script must be a text")
        if len(source) > MAX_SOURCE:
            raise PolicyError(f"longer than {MAX_SOURCE} characters")
        self.source = source
        self.allowed = frozenset(allowed_imports)
        self.condition = condition

    def program(self) -> Program:
        with _told_as_policy_error():
            return self._program()

    def _program(self) -> Program:
        text = self.source
        if self.condition and "\n" not in text.strip():
            text = text.strip()
        tree = ast.parse(text, SCRIPT_FILE)
        if self.condition:
            self._accept_expression(tree)
        policy = Policy(self.allowed, condition=self.condition)
        with _room_to_recurse():
            body = policy.check(tree)
        presets = {name for name in policy.loaded if name in MODULES and name not in policy.own}
        if "asyncio" in presets:
            policy.needs_loop(tree)
        if self.condition and not policy.returns:
            policy.error(tree, "a condition is an expression, or a body with 'return'")
        if policy.violations:
            line, reason = min(policy.violations)
            raise PolicyError(reason, line)
        return Program(
            _compile(body, policy.asynchronous),
            policy.asynchronous,
            self.source,
            self.allowed,
            frozenset(policy.imports),
            frozenset(presets),
        )

    @staticmethod
    def _accept_expression(tree: ast.Module) -> None:
        """An expression is short for `return <expression>`."""
        if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
            expression = tree.body[0]
            tree.body[0] = ast.copy_location(ast.Return(expression.value), expression)


def _compile(body: list[ast.stmt], asynchronous: bool) -> types.CodeType:
    """The body as a function whose own variables are globals.

    So `return` and `await` are legal, a new `params` can be seen afterwards, and functions see each
    other. The names to declare global are what the compiler takes for the function's variables.
    """
    code = _function_code(body, asynchronous)
    names = [name for name in code.co_varnames + code.co_cellvars if name == "_" or name[0] != "_"]
    if names:
        body = [ast.Global(names=sorted(set(names)), lineno=1, col_offset=0), *body]
        code = _function_code(body, asynchronous)
    return code.replace(co_name=SCRIPT_FILE, co_qualname=SCRIPT_FILE)


def _function_code(body: list[ast.stmt], asynchronous: bool) -> types.CodeType:
    kind = ast.AsyncFunctionDef if asynchronous else ast.FunctionDef
    arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    function: Any = kind(
        name=ENTRY, args=arguments, body=body or [ast.Pass()], decorator_list=[], returns=None
    )
    if "type_params" in kind._fields:
        function.type_params = []
    function.lineno, function.col_offset = 1, 0
    module = ast.fix_missing_locations(ast.Module(body=[function], type_ignores=[]))
    code = compile(module, SCRIPT_FILE, "exec", dont_inherit=True, optimize=0)
    found = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return found[0]


@contextmanager
def _room_to_recurse() -> Iterator[None]:
    """Python frames are cheap: only the parser and the compiler need the C stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEPTH))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextmanager
def _told_as_policy_error() -> Iterator[None]:
    """Whatever the parser and the compiler raise ends as a PolicyError."""
    reason, line = "", None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
            return
        except SyntaxError as error:
            line = error.lineno or None
            reason = str(error.msg)
        except (RecursionError, MemoryError):
            reason = "too deeply nested or too large to compile"
        except (ValueError, OverflowError) as error:
            reason = f"can't be compiled: {error}"
    raise PolicyError(reason, line)
