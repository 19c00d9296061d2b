"""What a user is told about an error of a script."""

import asyncio
from typing import Any

import pytest

from xaas_runner import sandbox


def told(script: str) -> dict[str, Any]:
    program = sandbox.compile_script(script)
    scope = sandbox.scope(program, {"params": {}}, write=lambda text: None)
    try:
        asyncio.run(sandbox.run_async(program, scope))
    except BaseException as error:  # noqa: BLE001 - whatever a script raises
        return dict(sandbox.describe_error(error, program))
    pytest.fail("the script ended without an error")


def test_type_message_line_and_own_frames() -> None:
    assert told("def f(x):\n    return 1 / x\n\nf(0)") == {
        "type": "ZeroDivisionError",
        "message": "division by zero",
        "line": 2,
        "traceback": ["line 4: f(0)", "line 2, in f: return 1 / x"],
    }


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("\nparams.x", 2, "'dict' object has no attribute 'x' that a script can use"),
        ("import json\njson.codecs", 2, "module 'json' has no attribute 'codecs' for scripts"),
        ("params['a']['b'] += 1", 1, "'a'"),
        ("x = 1\nawait asyncio.sleep('x')", 2, "could not convert string to float: 'x'"),
        ("[].append = 1", 1, "attribute 'append' of 'list' object can't be set"),
        ("'a'[0] = 1", 1, "'str' object: its items can't be set or deleted by a script"),
        ("str.nope", 1, "class 'str' has no attribute 'nope' that a script can use"),
        (
            "y = (\n 'a'\n .upper()\n .nope()\n)",
            4,
            "'str' object has no attribute 'nope' that a script can use",
        ),
        ("y = (\n    'a'\n    .upper()\n    .index('b')\n)", 4, "substring not found"),
        (
            "def f(**k): pass\nf(**{'a': 1}, **{'a': 2})",
            2,
            "function() got multiple values for keyword argument 'a'",
        ),
        ("import typing\ntyping.List[int]()", 2, "Type List cannot be instantiated"),
        ("print(**5)", 1, "function() argument after ** must be a mapping, not int"),
        (
            "import copy\ncopy.deepcopy(1, 2)",
            2,
            "deepcopy() takes 1 positional argument but 2 were given",
        ),
        (
            "import functools\nfunctools.wraps(*5)",
            2,
            "functools.wraps() argument after * must be an iterable, not int",
        ),
        (
            "import json\n\njson.loads('{')",
            3,
            "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
    ],
)
def test_the_line_is_the_script_s_own(script: str, line: int, message: str) -> None:
    error = told(script)
    assert (error["line"], error["message"]) == (line, message)


def test_a_message_that_raises() -> None:
    script = "class E(Exception):\n    def __str__(self): raise ValueError('x')\nraise E()"
    assert told(script)["message"] == "(its message can't be shown)"


def test_a_message_that_is_huge() -> None:
    message = told("raise ValueError('é' * 10 ** 7)")["message"]
    assert message.endswith("é…")
    assert 8000 < len(message.encode()) <= 8192


def test_a_message_that_is_no_unicode() -> None:
    assert told("raise ValueError('\\ud800')")["message"] == "?"


def test_a_message_of_a_group_names_its_errors() -> None:
    script = "raise ExceptionGroup('some', [ValueError('a'), KeyError('b')])"
    assert told(script)["message"] == "some (2 sub-exceptions): ValueError: a; KeyError: 'b'"


def test_a_deep_traceback_is_cut() -> None:
    error = told("def f(n): return f(n + 1)\nf(0)")
    assert error["type"] == "RecursionError"
    assert len(error["traceback"]) == 20
    assert error["traceback"][0] == "line 2: f(0)"
    assert "more" in error["traceback"][9]


def test_a_cancelled_script() -> None:
    assert told("raise asyncio.CancelledError('x')")["type"] == "CancelledError"


def test_an_error_that_is_a_refusal() -> None:
    program = sandbox.compile_script("")
    error = sandbox.describe_error(sandbox.PolicyError("not so", 4), program)
    assert (error["message"], error["line"]) == ("not so", 4)


def test_big_numbers_and_dates_work_where_c_code_imports(capfd: pytest.CaptureFixture[str]) -> None:
    """Functions in C import modules through the script's own `__import__`."""
    script = """
import datetime
a, b = 10 ** 40000, 3 ** 20000
params['x'] = (a // b) * b + a % b == a
datetime.datetime.strptime('2020', '%Y').strftime('%Y')
async def never(): pass
params['y'] = '\\N{BULLET}'.encode('idna') if False else 1
return params"""
    program = sandbox.compile_script(script)
    scope = sandbox.scope(program, {"params": {}}, write=print)
    assert asyncio.run(sandbox.run_async(program, scope)) == {"x": True, "y": 1}
