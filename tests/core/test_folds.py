"""Folds that are kept say what a fold of the whole history says."""

from random import Random
from typing import Any

import pytest
from tests.core.kit.play import Play

from xaas_core.engine.folds import Folds
from xaas_core.engine.history import Change, History
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.engine.states import RunState, Side, TaskState
from xaas_core.lag import behind
from xaas_core.ports import Stored
from xaas_core.testing.builders import chain

PLAN = chain("a", "b", "c")


def story() -> tuple[Change, ...]:
    """A run that fails, is rolled back in part, recovered, and rolled back."""
    play = Play(PLAN).play("run a+ b+ c! -c+ -b!")
    play.play("recovery b+ c+")
    play.play("rollback -c+ -b+ -a+")
    return tuple(play.history)


def told(history: History) -> tuple[Any, ...]:
    """All that a history says."""
    return (history.state, history.cells, history.length, history.last_at, history.counts())


def test_any_beginning_in_any_order() -> None:
    changes, folds = story(), Folds()
    assert len(changes) > 20
    chance = Random(1)
    for _ in range(200):
        length = chance.randrange(len(changes) + 1)
        found = folds.of("run", PLAN.graph, changes[:length])
        assert told(found) == told(History(PLAN.graph, changes[:length]))


def test_what_is_given_out_stays_as_it_is() -> None:
    changes, folds = story(), Folds()
    first = folds.of("run", PLAN.graph, changes[:5])
    before = told(first.copy())
    copied = first.copy()
    copied.append(changes[5])
    folds.of("run", PLAN.graph, changes)
    assert told(first) == before
    assert told(copied) == told(History(PLAN.graph, changes[:6]))


def test_another_history_of_the_same_run_is_folded_anew() -> None:
    """A store that was put back to an older state, and went on otherwise."""
    folds = Folds()
    begun = (Change(RunState.PROCESSING, 1),)
    one = (*begun, Change(TaskState.RUNNING, 2, "a", Side.DO, 1, 1))
    other = (*begun, Change(RunState.CANCELLING, 3), Change(RunState.CANCELLED, 4))
    folds.of("run", PLAN.graph, one)
    assert folds.of("run", PLAN.graph, other).state is RunState.CANCELLED
    again: Plan = chain("a", "b", "c")
    assert folds.of("run", again.graph, one).graph is again.graph


def test_only_so_much_is_kept() -> None:
    folds = Folds(kept=12)
    changes = story()
    for uid in ("one", "two", "three"):
        folds.of(uid, PLAN.graph, changes)
    assert list(folds._folds) == ["two", "three"]


# --- records that are older than that ---

DO = ("a", Side.DO)
BEGUN = Change(TaskState.RUNNING, 2, "a", Side.DO, 1, 1)
ENDED = Change(TaskState.SUCCEEDED, 3, "a", Side.DO, 2, 1)


def stored(number: int, *, over: bool) -> dict[Any, Stored[TaskRecord]]:
    """The record of `a` with so many attempts."""
    step = StepRecord(0, 2, "n")
    attempts = [Attempt(n, 0, 1, (0,), steps=(step,), ended_at=3) for n in range(1, number)]
    last = Attempt(number, 0, 1, (0,), steps=(step,), ended_at=3 if over else None)
    return {DO: Stored(TaskRecord(*DO, attempts=(*attempts, last)), "1")}


@pytest.mark.parametrize(
    ("changes", "records", "is_behind"),
    [
        ((), {}, False),
        ((BEGUN,), {}, True),
        ((BEGUN,), stored(1, over=False), False),
        ((BEGUN, ENDED), stored(1, over=True), True),
        ((BEGUN, ENDED), stored(2, over=False), True),
        ((BEGUN, ENDED), stored(2, over=True), False),
        ((BEGUN, ENDED), stored(3, over=False), False),
    ],
)
def test_a_record_must_know_what_the_history_says(
    changes: tuple[Change, ...], records: Any, is_behind: bool
) -> None:
    history = History(PLAN.graph, (Change(RunState.PROCESSING, 1), *changes))
    assert behind(history, records) == ([DO] if is_behind else [])
    assert behind(history, records, [("b", Side.DO)]) == []


def test_nor_is_it_forgotten_when_the_task_runs_again() -> None:
    """After a recovery it is pending; what its attempts did is still owed an undo."""
    changes = [Change(RunState.PROCESSING, 1), BEGUN]
    changes += [Change(TaskState.FAILED, 3, "a", Side.DO, 1, 1)]
    changes += [Change(RunState.ABORTED, 4), Change(RunState.PROCESSING, 5)]
    history = History(PLAN.graph, changes)
    assert history.do("a").state is TaskState.PENDING
    assert behind(history, {}) == [DO]
    assert behind(history, stored(1, over=False)) == [DO]
    assert behind(history, stored(1, over=True)) == []
