"""What the evaluator's process adds to the port's contract: it is replaced, checks are kept."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from xaas_core.ports import Script, ScriptKind, Unavailable
from xaas_local import companion
from xaas_local.evaluator import ProcessEvaluator

pytestmark = pytest.mark.anyio

TRUE = Script("1 == 1", ScriptKind.CONDITION)


@pytest.fixture
async def evaluator() -> AsyncIterator[ProcessEvaluator]:
    evaluator = ProcessEvaluator()
    await evaluator.start_up()
    yield evaluator
    await evaluator.close()


def pid(evaluator: ProcessEvaluator) -> int:
    assert evaluator._companion.pid is not None
    return evaluator._companion.pid


async def test_killed_under_a_request(evaluator: ProcessEvaluator) -> None:
    slow = Script("x = 0\nfor i in range(3000000):\n    x += 1\nreturn x", ScriptKind.CONDITION)
    asked = [asyncio.create_task(evaluator.evaluate(slow, {}, {})) for _ in range(3)]
    await asyncio.sleep(0.02)
    before = pid(evaluator)
    os.kill(before, 9)
    assert [found.value for found in await asyncio.gather(*asked)] == [True] * 3
    assert pid(evaluator) != before


async def test_killed_again_and_again(
    evaluator: ProcessEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companion, "_LONGEST_PAUSE", 0.05)
    endless = Script("while True: pass\nreturn 1", ScriptKind.CONDITION)
    asked = asyncio.create_task(evaluator.evaluate(endless, {}, {}))
    killed: set[int] = set()
    while not asked.done():
        if evaluator._waiting and evaluator._companion.pid not in {None, *killed}:
            killed.add(pid(evaluator))
            os.kill(pid(evaluator), 9)
        await asyncio.sleep(0.01)
    with pytest.raises(Unavailable, match="again and again"):
        await asked
    assert (await evaluator.evaluate(TRUE, {}, {})).value is True


async def test_checks_are_remembered(evaluator: ProcessEvaluator) -> None:
    scripts = [Script("x = 1", ScriptKind.SCRIPT), Script("x =", ScriptKind.SCRIPT)]
    found = await evaluator.check(scripts)
    await evaluator.close()
    assert await evaluator.check(scripts) == found
    with pytest.raises(Unavailable):
        await evaluator.check([Script("x = 2", ScriptKind.SCRIPT)])


async def test_memory_of_checks_is_bounded(
    evaluator: ProcessEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xaas_core.evaluation.KEPT_CHECKS", 3)
    for number in range(6):
        await evaluator.check([Script(f"x = {number}", ScriptKind.SCRIPT)])
    assert len(evaluator._checked) == 3


async def test_many_scripts_at_once(evaluator: ProcessEvaluator) -> None:
    sources = [f"x{number} = '{'ä' * 1500}'" for number in range(900)]
    sources[500] += " +"
    found = await evaluator.check([Script(source, ScriptKind.SCRIPT) for source in sources])
    assert [number for number, finding in enumerate(found) if finding] == [500]


async def test_what_is_too_large_is_a_failure(evaluator: ProcessEvaluator) -> None:
    found = await evaluator.evaluate(Script("\udc80", ScriptKind.CONDITION), {}, {})
    assert found.failure is not None
    assert (await evaluator.evaluate(TRUE, {}, {})).value is True


async def test_closed_or_never_started() -> None:
    evaluator = ProcessEvaluator()
    with pytest.raises(Unavailable, match="isn't started"):
        await evaluator.evaluate(TRUE, {}, {})
    await evaluator.close()


async def test_what_the_machine_has_no_process_for_is_unavailable(
    evaluator: ProcessEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(message: dict[str, Any]) -> bool:
        evaluator.hear({"id": message["id"], "unavailable": "no process can be made"})
        return True

    monkeypatch.setattr(evaluator._companion, "send", send)
    with pytest.raises(Unavailable, match="no process"):
        await evaluator.check([TRUE])
    with pytest.raises(Unavailable, match="no process"):
        await evaluator.evaluate(TRUE, {}, {})
