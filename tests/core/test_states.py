"""The tables of moves, against a second copy of the contract's tables."""

from itertools import product

import pytest
from tests.core.kit import rules

from xaas_core.engine.states import (
    AT_REST,
    ENDED,
    OPERATIONS,
    OVER,
    RUN_MOVES,
    SATISFIED,
    TASK_MOVES,
    IllegalMove,
    Operation,
    RunState,
    TaskState,
    check_run_move,
    check_task_move,
)

RUN_PAIRS = list(product(RunState, RunState))
TASK_PAIRS = list(product(TaskState, TaskState))


def test_the_words_are_the_contracts() -> None:
    assert set(RunState) == {
        "pending",
        "processing",
        "complete",
        "aborted",
        "cancelling",
        "cancelled",
    }
    assert set(TaskState) == {"pending", "running", "succeeded", "failed", "skipped"}
    assert set(Operation) == {"run", "cancel", "recovery", "rollback"}
    assert sorted(OVER) == ["cancelled", "complete"]
    assert sorted(AT_REST) == ["aborted", "cancelled", "complete"]
    assert sorted(SATISFIED) == ["skipped", "succeeded"]
    assert sorted(ENDED) == ["failed", "skipped", "succeeded"]


def test_every_state_has_a_row() -> None:
    assert set(RUN_MOVES) == set(OPERATIONS) == set(RunState)
    assert set(TASK_MOVES) == set(TaskState)


@pytest.mark.parametrize(("old", "new"), RUN_PAIRS)
def test_a_run_moves_as_the_contract_says_and_no_other_way(old: RunState, new: RunState) -> None:
    if (old, new) in rules.RUN:
        check_run_move(old, new)
        assert new in RUN_MOVES[old]
    else:
        with pytest.raises(IllegalMove, match=f"{old} -> {new}"):
            check_run_move(old, new)


@pytest.mark.parametrize(("old", "new"), TASK_PAIRS)
def test_a_task_run_moves_as_the_contract_says_and_no_other_way(
    old: TaskState, new: TaskState
) -> None:
    if (old, new) in rules.TASK:
        check_task_move("a/do", old, new)
        assert new in TASK_MOVES[old]
    else:
        with pytest.raises(IllegalMove, match=f"a/do: {old} -> {new}"):
            check_task_move("a/do", old, new)


@pytest.mark.parametrize(("state", "operation"), list(product(RunState, Operation)))
def test_operations_lead_where_the_contract_says(state: RunState, operation: Operation) -> None:
    assert OPERATIONS[state].get(operation) == rules.OPERATIONS.get((state, operation))


def test_operations_are_moves() -> None:
    for state, row in OPERATIONS.items():
        assert set(row.values()) <= RUN_MOVES[state]
