"""The fold: states from a list of changes, and what returns to pending in which round."""

import pytest

from xaas_core.engine.graph import Graph
from xaas_core.engine.history import Change, History
from xaas_core.engine.states import IllegalMove, Reason, RunState, Side, TaskState

DIAMOND = Graph({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})


def changes(text: str) -> list[Change]:
    """Changes from words: `processing`, `a:running`, and `-a:failed` for the undo of a."""
    found = []
    for at, word in enumerate(text.split(), 1):
        ref, _, state = word.rpartition(":")
        if ref:
            side = Side.UNDO if ref.startswith("-") else Side.DO
            found.append(Change(TaskState(state), at, ref.lstrip("-"), side, attempt=at))
        else:
            found.append(Change(RunState(state), at))
    return found


def fold(text: str) -> History:
    """The history of `text` on the diamond."""
    return History(DIAMOND, changes(text))


def dos(text: str) -> str:
    """States of the do side after `text`, by their first letters: `s` skipped, `o` succeeded."""
    letters = {"pending": ".", "running": "r", "succeeded": "o", "failed": "x", "skipped": "s"}
    return "".join(letters[cell.state] for cell in fold(text).cells[Side.DO].values())


A_OK = "a:running a:succeeded "
B_OK = "b:running b:succeeded "
C_OK = "c:running c:succeeded "
D_BAD = "d:running d:failed "
FAILED = "processing " + A_OK + B_OK + C_OK + D_BAD + "aborted "


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FAILED, "ooo."),
        ("processing a:skipped b:failed aborted ", "s..."),
        ("processing " + A_OK + "c:running b:running b:failed aborted ", "o.r."),
        (FAILED + "cancelling -d:skipped -c:running -c:failed aborted ", "oo.."),
        (FAILED + "cancelling -d:running -d:failed aborted ", "ooo."),
        # undone: c; and what depends on it
        (FAILED + "cancelling -d:skipped -c:running -c:succeeded -b:failed aborted ", "o..."),
        # everything below a goes with it
        (
            FAILED + "cancelling -d:skipped -b:skipped -c:skipped -a:running -a:failed aborted ",
            "....",
        ),
        # an undo that was skipped took nothing back
        (FAILED + "cancelling -d:skipped -c:skipped -b:failed aborted ", "o.o."),
        # after a second abort: a stands though it was undone in the life before
        (
            FAILED
            + "cancelling -d:skipped -b:skipped -c:skipped -a:running -a:failed aborted "
            + "processing a:skipped b:failed aborted ",
            "s...",
        ),
        # a failed undo that was renewed, and didn't get to run, still counts as undone
        (
            FAILED
            + "cancelling -d:skipped -c:failed aborted cancelling -b:running -b:failed aborted ",
            "o...",
        ),
    ],
)
def test_what_stands(before: str, after: str) -> None:
    assert dos(before + "processing") == after
    folded = fold(before + "processing")
    assert {cell.state for cell in folded.cells[Side.UNDO].values()} == {TaskState.PENDING}


def test_rounds_go_up_with_each_return_to_pending() -> None:
    folded = fold(FAILED + "cancelling -d:failed aborted cancelling -d:failed aborted processing")
    assert {ref: cell.round for ref, cell in folded.cells[Side.DO].items()} == {
        "a": 0,
        "b": 0,
        "c": 0,
        "d": 1,
    }
    assert {ref: cell.round for ref, cell in folded.cells[Side.UNDO].items()} == {
        "a": 1,
        "b": 1,
        "c": 1,
        "d": 2,
    }


def test_a_renewed_rollback_resets_only_what_failed() -> None:
    folded = fold(FAILED + "cancelling -d:skipped -c:running -c:succeeded -b:failed aborted")
    folded.append(Change(RunState.CANCELLING, 99))
    states = {ref: cell.state.value for ref, cell in folded.cells[Side.UNDO].items()}
    assert states == {"a": "pending", "b": "pending", "c": "succeeded", "d": "skipped"}


@pytest.mark.parametrize(
    "text",
    [
        "complete",
        "processing pending",
        "processing a:running a:pending",
        "processing a:succeeded a:running",
        "processing a:skipped a:failed",
        "cancelled processing",
        "processing complete cancelled",
    ],
)
def test_an_illegal_move_raises(text: str) -> None:
    with pytest.raises(IllegalMove):
        fold(text)


def test_times() -> None:
    folded = fold(FAILED)
    assert (folded.started_at, folded.processing_since, folded.finished_at) == (1, 1, None)
    cell = folded.do("b")
    assert (cell.started_at, cell.finished_at, cell.attempt) == (4, 5, 5)
    folded.append(Change(RunState.PROCESSING, 50))
    assert (folded.started_at, folded.processing_since, folded.finished_at) == (1, 50, None)
    cell = folded.do("d")
    assert (cell.state, cell.started_at, cell.finished_at, cell.attempt) == (
        "pending",
        None,
        None,
        0,
    )
    assert (folded.length, folded.last_at) == (11, 50)


def test_finished_at_is_there_while_the_run_is_over() -> None:
    folded = fold("processing a:skipped b:skipped c:skipped d:skipped complete")
    assert folded.finished_at == 6
    folded.append(Change(RunState.CANCELLING, 7))
    assert folded.finished_at is None


def test_counts_are_of_the_do_side() -> None:
    counts = fold(FAILED + "cancelling -d:running").counts()
    assert counts == {
        "total": 4,
        "pending": 0,
        "running": 0,
        "succeeded": 3,
        "failed": 1,
        "skipped": 0,
    }


def test_a_rollback_that_follows_keeps_the_aborts_reason_and_a_recovery_clears_it() -> None:
    folded = fold("processing")
    folded.append(Change(RunState.ABORTED, 2, reason=Reason.TIMEOUT, message="too long"))
    folded.append(Change(RunState.CANCELLING, 3))
    assert (folded.reason, folded.message) == (Reason.TIMEOUT, "too long")
    folded.append(Change(RunState.CANCELLED, 4))
    assert folded.reason == Reason.TIMEOUT
    folded = fold("processing aborted processing")
    assert (folded.reason, folded.message) == (Reason.NONE, "")
