"""Every move of the tables happens in some scenario, and none that isn't in them."""

from collections.abc import Iterator

import pytest
from tests.core.kit import rules
from tests.core.kit.play import Play, conditions

from xaas_core.engine.facts import Settings
from xaas_core.engine.history import Change
from xaas_core.engine.states import OPERATIONS, RUN_MOVES, TASK_MOVES, RunState
from xaas_core.testing.builders import plan, task_plan

TASKS = plan(
    task_plan("a"),
    task_plan("b", "a", condition="x"),
    task_plan("c", "a", steps=0),
    task_plan("d", "bc", condition="x"),
)
SCENARIOS = [
    "cancel",
    "run a+ d+ rollback -d+ -a+",
    "run a> cancel a. -a+",
    "run a+ d! cancel -d! cancel -d! recovery d+",
    "run a! recovery a! cancel -a+",
]


def played() -> Iterator[Play]:
    """All scenarios."""
    for scenario in SCENARIOS:
        yield Play(TASKS, Settings(auto_rollback=False), conditions({"b": False})).play(scenario)
    yield Play(TASKS, judge=conditions({"b": "raises"})).play("run a+ -a+")


def test_every_move_of_a_run_happens() -> None:
    moves = {move for play in played() for move in play.rules.moves}
    assert moves == {(old, new) for old, row in RUN_MOVES.items() for new in row}


def test_every_move_of_a_task_run_happens() -> None:
    moves = {move for play in played() for move in play.rules.task_moves}
    assert moves == {(old, new) for old, row in TASK_MOVES.items() for new in row}


def test_every_operation_is_granted_somewhere() -> None:
    granted = {(reply.operation, reply.state) for play in played() for reply in play.replies}
    assert granted == {(op, to) for row in OPERATIONS.values() for op, to in row.items()}


def test_the_second_telling_of_the_rules_does_object() -> None:
    play = Play(TASKS).play("run a+")
    with pytest.raises(rules.Broken, match="complete without"):
        play.rules.heard(Change(RunState.COMPLETE, play.now))
