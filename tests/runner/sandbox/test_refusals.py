"""What is refused when a script or a condition is compiled: the line and the reason."""

import sys

import pytest

from xaas_runner import sandbox
from xaas_runner.sandbox import PolicyError

REFUSALS = [
    ("import os", 1, "import of 'os' is not allowed; allowed are asyncio, base64, "),
    ("x = 1\n\nimport os.path", 3, "import of 'os.path' is not allowed"),
    ("from os import system", 1, "import of 'os' is not allowed"),
    ("import urllib.request", 1, "import of 'urllib.request' is not allowed"),
    ("from urllib import request", 1, "'urllib' has no 'request' for scripts; it has parse"),
    ("from json import codecs", 1, "'json' has no 'codecs' for scripts; it has JSONDecodeError, "),
    ("from json import *", 1, "'import *' is not allowed"),
    ("from . import x", 1, "relative imports are not allowed"),
    ("from json import _default_encoder as e", 1, "'_default_encoder': names that start with '_'"),
    ("from json import __class__ as f", 1, "'__class__': names that start with '_'"),
    ("import json as _j", 1, "'_j': names that start with '_' are not allowed"),
    ("def f():\n    import sys", 2, "import of 'sys' is not allowed"),
    ("x = eval('1')", 1, "'eval' is not available in a script"),
    ("\nopen('f')", 2, "'open' is not available in a script"),
    ("type(1)", 1, "'type' is not available in a script"),
    ("class A:\n    def f(self):\n        return super()", 3, "'super' is not available"),
    ("class A:\n    def f(self):\n        x = super\n", 3, "'super' is not available"),
    ("class A:\n    def f(self):\n        super().x = 1", 3, "'super' is not available"),
    (
        "class A:\n    def f(self):\n        return super().__init__",
        3,
        "'__init__': attributes that",
    ),
    ("class A:\n    def f(self):\n        return A.__init__", 3, "'__init__': attributes that"),
    ("class A:\n    def f(self):\n        A.__new__(A)", 3, "'__new__': attributes that start"),
    ("class A:\n    def f(self):\n        super().__class__", 3, "'__class__': attributes that"),
    (
        "class A:\n    def f():\n        super().x",
        3,
        "'super()' needs a method with a first argument",
    ),
    ("class A:\n    x = super().x", 2, "'super()' needs a method with a first argument"),
    ("def f(x):\n    super().x", 2, "'super()' needs a method with a first argument"),
    ("A.__init__(1)", 1, "'__init__': attributes that start with '_' are not allowed"),
    ("x.__name__ = 1", 1, "'__name__': attributes that start with '_' are not allowed"),
    ("if __name__ == '__main__': pass", 1, "'__name__': names that start with '_'"),
    ("type(x).__class__", 1, "'__class__': attributes that start with '_' are not allowed"),
    ("type(x, y).__name__", 1, "'type' is not available in a script"),
    ("raise SystemExit(0)", 1, "'SystemExit' is not available in a script"),
    ("class K(BaseException): pass", 1, "'BaseException' is not available in a script"),
    ("__import__('os')", 1, "'__import__': names that start with '_' are not allowed"),
    ("_x = 1", 1, "'_x': names that start with '_' are not allowed"),
    ("def f(_x): pass", 1, "'_x': names that start with '_' are not allowed"),
    ("x = 1\nx.__class__", 2, "'__class__': attributes that start with '_' are not allowed"),
    ("x._private = 1", 1, "'_private': attributes that start with '_' are not allowed"),
    ("x._asdict = 1", 1, "'_asdict': attributes that start with '_' are not allowed"),
    ("f(_x=1)", 1, "'_x': keywords that start with '_' are not allowed"),
    ("g.gi_frame", 1, "'gi_frame': this attribute is not allowed"),
    ("print = 1", 1, "'print' is a reserved name"),
    ("global _x", 1, "'_x': names that start with '_' are not allowed"),
    ("class A:\n    def __getattr__(self, n): pass", 2, "'__getattr__': names that start with '_'"),
    ("class A:\n    __slots__ = ()", 2, "'__slots__': names that start with '_' are not allowed"),
    ("class A(metaclass=f): pass", 1, "keywords in a class definition are not allowed"),
    ("class A(str): pass", 1, "'str' can't be a base class"),
    ("class A(*b): pass", 1, "starred base classes are not allowed"),
    (
        "match x:\n    case object(a=1): pass",
        2,
        "a class pattern with something in it must be one of bool, ",
    ),
    (
        "match x:\n    case A(1): pass",
        2,
        "a class pattern with something in it must be one of bool, ",
    ),
    ("match x:\n    case a.B(): pass", 2, "the class of a pattern must be a plain name"),
    ("match x:\n    case _A(): pass", 2, "'_A': names that start with '_' are not allowed"),
    ("match x:\n    case type(): pass", 2, "'type' is not available in a script"),
    ("match x:\n    case a.b: pass", 2, "a value in a pattern must be a literal"),
    ("match x:\n    case {a.b: 1}: pass", 2, "a key in a pattern must be a literal"),
    ("int = 1\nmatch x:\n    case int(n): pass", 3, "'int' is redefined: it can't be matched"),
    ("x = 1\nyield x", 2, "'yield' outside function"),
    ("def f():\n    await g()", 2, "'await' outside async function"),
    ("if True:\nx = 1", 2, "expected an indented block"),
    ("x = (1", 1, "'(' was never closed"),
    ("x = 1\nx +", 2, "invalid syntax"),
    ("break", 1, "'break' outside loop"),
    ("nonlocal x", 1, "nonlocal"),
    ("def f(a, a): pass", 1, "duplicate argument 'a' in function definition"),
    ("x = 1\n_y = 2\n_z = 3", 2, "'_y'"),
]


@pytest.mark.parametrize(("source", "line", "reason"), REFUSALS)
def test_a_refusal_names_line_and_reason(source: str, line: int, reason: str) -> None:
    with pytest.raises(PolicyError) as caught:
        sandbox.compile_script(source)
    assert caught.value.reason.startswith(reason) or reason == "nonlocal"
    assert (caught.value.line, str(caught.value)[:8]) == (line, f"line {line}: "[:8])


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("await f()", "a condition can't use await or async"),
        ("async def f(): pass\nreturn 1", "a condition can't use await or async"),
        ("[x async for x in y]", "a condition can't use await or async"),
        ("asyncio.sleep(1)", "a condition can't use await or async"),
        ("import asyncio\nreturn 1", "a condition can't use await or async"),
        ("x = 1", "a condition is an expression, or a body with 'return'"),
        ("", "a condition is an expression, or a body with 'return'"),
        ("def f():\n    return 1", "a condition is an expression, or a body with 'return'"),
        ("params.__class__", "'__class__': attributes that start with '_' are not allowed"),
        ("open('x')", "'open' is not available in a script"),
        ("params['a'] ==", "invalid syntax"),
    ],
)
def test_a_condition_is_refused(source: str, reason: str) -> None:
    with pytest.raises(PolicyError) as caught:
        sandbox.compile_condition(source)
    assert caught.value.reason == reason
    assert caught.value.line == 1


DEEP = {
    "terms": "x = " + "1 + " * 50_000 + "1",
    "signs": "x = " + "-" * 20_000 + "1",
    "nots": "x = " + "not " * 20_000 + "1",
    "attributes": "x = a" + ".b" * 20_000,
    "calls": "x = f" + "()" * 20_000,
    "items": "x = a" + "[0]" * 20_000,
    "brackets": "x = " + "[" * 5000 + "]" * 5000,
    "lambdas": "x = " + "lambda: " * 5000 + "1",
    "elifs": "if 0: pass\n" + "elif 0: pass\n" * 5000,
    "powers": "x = " + "2 ** " * 20_000 + "1",
    "conditionals": "x = " + "1 if 1 else " * 20_000 + "1",
    "f-strings": "x = " + "f'{" * 200 + "1" + "}'" * 200,
    "number": "x = " + "9" * 5000,
    "nul": "x = 1\0",
    "surrogate": "x = '\ud800'",
    "too long": "#" * 2_000_000,
    "blocks": "".join(" " * i + "if 1:\n" for i in range(200)) + " " * 200 + "pass",
    "loops": "".join(" " * i + "while 1:\n" for i in range(50)) + " " * 50 + "pass",
}


@pytest.mark.parametrize("name", DEEP)
def test_no_text_crashes_the_compiler(name: str) -> None:
    sys.set_int_max_str_digits(4300)  # Python's own; the product's processes allow more
    with pytest.raises(PolicyError) as caught:
        sandbox.compile_script(DEEP[name])
    assert caught.value.reason


def test_a_script_must_be_a_text() -> None:
    with pytest.raises(PolicyError, match="must be a text"):
        sandbox.compile_script(b"x = 1")  # type: ignore[arg-type]


def test_what_only_shows_when_a_class_is_made() -> None:
    for source in ("S = [str][0]\nclass A(S): pass", "class B: pass\nclass A(B, dict): pass"):
        program = sandbox.compile_script(source)
        with pytest.raises(TypeError, match="can't be a base class"):
            sandbox.run(program, sandbox.scope(program, {}, write=print))
