"""Ordinary code of users: it works, and gives what Python gives."""

import asyncio
import copy
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaas_runner import sandbox

START = {"n": 3, "names": ["b", "a"], "d": {}}
CASES = tomllib.loads(Path(__file__).with_name("language.toml").read_text())["case"]


def run_here(script: str) -> dict[str, Any]:
    program = sandbox.compile_script(script)
    scope = sandbox.scope(program, {"params": copy.deepcopy(START)}, write=lambda text: None)
    if program.asynchronous:
        asyncio.run(sandbox.run_async(program, scope))
    else:
        sandbox.run(program, scope)
    result: dict[str, Any] = scope["params"]
    return result


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in CASES])
def test_ordinary_code_works(case: dict[str, str]) -> None:
    expected = {**START, **json.loads(case["changes"])}
    expected = {key: value for key, value in expected.items() if value is not None}
    assert _as_lists(run_here(case["script"])) == _as_lists(expected)


def test_long_expressions_and_statements() -> None:
    terms = f"params['x'] = {' + '.join(['1'] * 400)}\n"
    branches = "".join(f"elif params['x'] == {i}: y = {i}\n" for i in range(300, 600))
    params = run_here(f"{terms}if 0: y = 0\n{branches}params['y'] = y")
    assert (params["x"], params["y"]) == (400, 400)


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("params['vendor'] == 'cisco' and len(params['ports']) > 2", True),
        ("  params['vendor'] == 'x'  ", False),
        ("params.get('nope')", None),
        ("all(p > 0 for p in params['ports'])", True),
        ("tasks['a'] == 'succeeded'", True),
        ("if params['ports']:\n    return 'yes'\nreturn 'no'", "yes"),
        ("import re\nreturn bool(re.match('c', params['vendor']))", True),
        ("re.match('c', params['vendor']).group()", "c"),
        ("(\n params['vendor']\n)", "cisco"),
        ("return 5", 5),
        ("f'{params[\"vendor\"]:>7}'", "  cisco"),
        ("def f(x):\n    return x + 1\nreturn f(1)", 2),
    ],
)
def test_a_condition_has_a_value(source: str, expected: object) -> None:
    program = sandbox.compile_condition(source)
    objects = {"params": {"vendor": "cisco", "ports": [1, 2, 3]}, "tasks": {"a": "succeeded"}}
    assert sandbox.run(program, sandbox.scope(program, objects, write=print)) == expected


def test_print_is_handed_on_in_pieces() -> None:
    pieces: list[str] = []
    source = "print('a', 1, None, sep='-', end='!')\nprint()\nprint('x' * 30000, 'y' * 10)"
    program = sandbox.compile_script(source)
    sandbox.run(program, sandbox.scope(program, {}, write=pieces.append))
    assert "".join(pieces) == f"a-1-None!\n{'x' * 30000} {'y' * 10}\n"
    assert pieces[:2] == ["a-1-None!", "\n"]
    assert max(map(len, pieces)) <= 8192


@pytest.mark.parametrize("call", ["print(1, file=params)", "print(1, sep=2)", "print(1, end=2)"])
def test_print_refuses_what_it_does_not_know(call: str) -> None:
    with pytest.raises(TypeError):
        run_here(call)


def test_programs_know_whether_they_need_a_loop() -> None:
    assert not sandbox.compile_script("params['x'] = 1").asynchronous
    for script in (
        "await f()",
        "async def f(): pass",
        "import asyncio",
        "asyncio.sleep(1)",
        "async for x in y: pass",
        "[x async for x in y]",
    ):
        assert sandbox.compile_script(script).asynchronous, script


def test_run_needs_a_program_without_a_loop() -> None:
    program = sandbox.compile_script("await f()")
    with pytest.raises(RuntimeError):
        sandbox.run(program, sandbox.scope(program, {}, write=print))


def test_run_async_runs_any_program() -> None:
    program = sandbox.compile_script("return 5")
    assert asyncio.run(sandbox.run_async(program, sandbox.scope(program, {}, write=print))) == 5


class Device:
    """An object of ours that scripts get."""

    kind = "switch"

    def __init__(self) -> None:
        self.name = "a"
        self.secret = "s"

    def __getattr__(self, name: str) -> Callable[[], str]:
        return lambda: name


def test_exposed_names_of_an_object() -> None:
    class Fixed(Device):
        pass

    class Dynamic(Device):
        pass

    sandbox.expose(Fixed, ["kind"], writable=["name"])
    sandbox.expose(Dynamic, ["kind"], dynamic=True)
    script = """
fixed.name = fixed.kind
params['x'] = [fixed.name, dynamic.anything(), hasattr(fixed, 'secret'), hasattr(fixed, 'other')]
for name in ('kind', 'secret', 'other'):
    try:
        setattr(fixed, name, 1)
    except AttributeError:
        params[name] = 'kept'"""
    program = sandbox.compile_script(script)
    params: dict[str, Any] = {}
    objects = {"fixed": Fixed(), "dynamic": Dynamic(), "params": params}
    sandbox.run(program, sandbox.scope(program, objects, write=print))
    assert params.pop("x") == ["switch", "anything", False, False]
    assert params == {"kind": "kept", "secret": "kept", "other": "kept"}


def test_private_names_can_not_be_exposed() -> None:
    with pytest.raises(ValueError, match="_secret"):
        sandbox.expose(Device, ["_secret"])
