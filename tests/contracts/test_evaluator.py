"""`Evaluator`: checks and conditions."""

import asyncio

import pytest

from xaas_core.ports import Evaluator, Script, ScriptKind

pytestmark = pytest.mark.anyio


def script(source: str, *imports: str) -> Script:
    return Script(source, ScriptKind.SCRIPT, imports)


def condition(source: str) -> Script:
    return Script(source, ScriptKind.CONDITION)


async def test_checks_come_in_order(evaluator: Evaluator) -> None:
    scripts = [
        script("params['a'] = 1\nawait asyncio.sleep(1)"),
        script("x = 1\nx = ="),
        condition("params['a'] > 1"),
        script("x = 1\n\nimport os"),
        condition("return 1"),
        script("x = 1\nx = ="),
    ]
    found = await evaluator.check(scripts)
    assert [finding and finding.line for finding in found] == [None, 2, None, 3, None, 2]
    assert found[3] is not None
    assert "os" in found[3].reason
    assert await evaluator.check(scripts) == found
    assert await evaluator.check([]) == []


async def test_allowed_imports_count(evaluator: Evaluator) -> None:
    found = await evaluator.check([script("import csv"), script("import csv", "csv")])
    assert [finding is None for finding in found] == [False, True]


async def test_truth(evaluator: Evaluator) -> None:
    params = {"vendor": "cisco", "ports": [1, 2, 3], "float": 1.0}
    tasks = {"a": "succeeded"}
    for source, value in (
        ("params['vendor'] == 'cisco' and len(params['ports']) > 2", True),
        ("params['vendor'] == 'x'", False),
        ("[]", False),
        ("'text'", True),
        ("tasks['a'] == 'succeeded'", True),
        ("isinstance(params['float'], float)", True),
        ("if params['ports']:\n    return 0\nreturn 1", False),
    ):
        found = await evaluator.evaluate(condition(source), params, tasks)
        assert (found.value, found.failure) == (value, None), source


async def test_an_error_is_told(evaluator: Evaluator) -> None:
    found = await evaluator.evaluate(condition("x = 1\nreturn params['no such']"), {}, {})
    assert found.value is False
    assert found.failure is not None
    assert (found.failure.type, found.failure.line) == ("KeyError", 2)
    assert "no such" in found.failure.message


async def test_params_are_a_copy(evaluator: Evaluator) -> None:
    params = {"a": [1]}
    found = await evaluator.evaluate(condition("params['a'].append(2)\nreturn True"), params, {})
    assert (found.value, params) == (True, {"a": [1]})


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    ["while True: pass\nreturn 1", "9 ** 9 ** 9 ** 9", "[0] * 10**9", "'x' * 200 * 1024 * 1024"],
)
async def test_bombs_are_bounded_and_others_go_on(evaluator: Evaluator, source: str) -> None:
    bomb = asyncio.create_task(evaluator.evaluate(condition(source), {}, {}))
    for _ in range(5):
        assert (await evaluator.evaluate(condition("1 == 1"), {}, {})).value is True
    found = await bomb
    assert found.value is False
    assert found.failure is not None
    assert found.failure.message
