"""Which records are older than the history that follows from them, and must be read."""

import pytest

from xaas_core.engine.history import Change, History
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.engine.states import RunState, Side, TaskState
from xaas_core.lag import behind
from xaas_core.ports import Stored
from xaas_core.testing.builders import chain

KEY = ("a", Side.DO)
INTENT = Attempt(1, 0, 1, (0,))
BEGUN = INTENT.with_step(StepRecord(0, 2, "pod", "nonce"))


def ended(attempt: Attempt) -> Attempt:
    return Attempt(attempt.number, 0, 1, (0,), steps=attempt.steps, ended_at=3)


def told(*moves: tuple[TaskState, int]) -> History:
    changes = [Change(RunState.PROCESSING, 1)]
    changes += [Change(state, 2, "a", Side.DO, attempt, 1) for state, attempt in moves]
    return History(chain("a").graph, changes)


RUNNING = told((TaskState.RUNNING, 1))
FAILED = told((TaskState.RUNNING, 1), (TaskState.FAILED, 1))


@pytest.mark.parametrize(
    ("history", "attempts", "is_behind"),
    [
        (told(), (), False),
        (told(), (INTENT,), False),
        (RUNNING, (), True),
        (RUNNING, (INTENT,), True),  # it was told that it runs, so its begin is recorded
        (RUNNING, (BEGUN,), False),
        (RUNNING, (ended(BEGUN),), False),
        (RUNNING, (ended(BEGUN), Attempt(2, 0, 3, (0,))), False),  # a retry is intended
        (FAILED, (BEGUN,), True),
        (FAILED, (ended(BEGUN),), False),
    ],
)
def test_a_record_is_behind_that_knows_less_than_the_history(
    history: History, attempts: tuple[Attempt, ...], is_behind: bool
) -> None:
    records = {KEY: Stored(TaskRecord("a", Side.DO, attempts=attempts), "1")} if attempts else {}
    assert behind(history, records) == ([KEY] if is_behind else [])
