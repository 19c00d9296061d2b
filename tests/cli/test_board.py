from typing import Any

import pytest
from tests.cli.kit.events import RUN, Events, at, run, task

from xaas_cli.board import Board, note
from xaas_cli.demo import disorder
from xaas_cli.states import Side, Status


def test_events_move_states_and_tell_how_long_it_took() -> None:
    board, events = Board(RUN), Events()
    for event in (events.run("processing"), events.task("a", "running")):
        assert board.hear(event) is not None
    events.sequence += 40
    change = board.hear(events.task("a", "succeeded"))
    assert change is not None
    assert (change.ref, change.side, change.status) == ("a", Side.DO, Status.SUCCEEDED)
    assert change.seconds == pytest.approx(0.041)
    assert board.rows["a"].sides[Side.DO].status is Status.SUCCEEDED


def test_repeated_and_foreign_events_change_nothing() -> None:
    board, events = Board(RUN), Events()
    begun, ended = events.task("a", "running"), events.task("a", "succeeded")
    assert board.hear(begun) is not None
    assert board.hear(ended) is not None
    assert board.hear(begun) is None
    assert board.hear(ended) is None
    assert board.hear(events.run("complete", "another")) is None
    assert board.rows["a"].sides[Side.DO].status is Status.SUCCEEDED
    assert board.status is Status.PENDING


def test_an_event_older_than_the_snapshot_moves_nothing_backwards() -> None:
    board, events = Board(RUN), Events()
    late = events.task("a", "running")
    done = task("a", "succeeded", started_at=at(1), finished_at=at(9))
    changes = board.see(run("processing"), [done])
    assert [change.status for change in changes] == [Status.SUCCEEDED, Status.PROCESSING]
    assert board.hear(late) is None
    assert board.rows["a"].sides[Side.DO].status is Status.SUCCEEDED


def test_a_snapshot_while_events_come_tells_only_why() -> None:
    board, events = Board(RUN), Events()
    board.hear(events.task("a", "running"))
    board.hear(events.task("a", "failed"))
    error = {"type": "KeyError", "message": "'x'", "step": 1, "line": 3}
    ahead = task("b", "running", started_at=at(9))
    failed = task("a", "failed", error=error, started_at=at(1), finished_at=at(2))
    assert board.see(run("cancelling", reason="TaskFailed"), [failed, ahead], states=False) == []
    assert board.rows["a"].sides[Side.DO].note == "KeyError: 'x' (step 1, line 3)"
    assert board.rows["b"].sides[Side.DO].status is Status.PENDING
    assert board.status is Status.PENDING
    assert board.reason == "TaskFailed"


def test_recovery_makes_what_failed_pending_again() -> None:
    board, events = Board(RUN), Events()
    for event in (
        events.run("processing"),
        events.task("a", "succeeded"),
        events.task("b", "failed"),
        events.run("aborted"),
        events.task("a", "succeeded", "undo"),
        events.task("b", "failed", "undo"),
    ):
        board.hear(event)
    assert board.at_rest
    board.hear(events.run("processing"))
    assert {cell.status for row in board.rows.values() for cell in row.sides.values()} == {
        Status.PENDING
    }
    assert not board.at_rest


@pytest.mark.parametrize(
    ("status", "running", "rests"),
    [
        ("pending", False, False),
        ("processing", False, False),
        ("aborted", False, True),
        ("aborted", True, False),
        ("cancelling", False, False),
        ("cancelled", False, True),
        ("complete", False, True),
    ],
)
def test_at_rest(status: str, running: bool, rests: bool) -> None:
    board = Board(RUN)
    board.see(run(status), [task("a", "running" if running else "pending")])
    assert board.at_rest is rests


DIAMOND = [
    {"ref": "end", "name": "t", "dependsOn": ["left", "right"]},
    {"ref": "right", "name": "t", "dependsOn": ["start"]},
    {"ref": "left", "name": "t", "dependsOn": ["start"]},
    {"ref": "start", "name": "t", "dependsOn": []},
]


def test_rows_are_arranged_by_the_dag() -> None:
    board = Board(RUN)
    board.list_rows(DIAMOND)
    assert [(row.ref, row.level) for row in board.rows.values()] == [
        ("start", 0),
        ("right", 1),
        ("left", 1),
        ("end", 2),
    ]


def test_a_definition_that_was_edited_since_arranges_nothing() -> None:
    board = Board(RUN)
    board.see(run("complete"), [task("b", "succeeded"), task("a", "succeeded")])
    board.arrange([{"ref": "a", "name": "t", "dependsOn": []}])
    assert list(board.rows) == ["b", "a"]


def undone(*order: str) -> Board:
    board, events = Board(RUN), Events()
    board.list_rows(DIAMOND)
    for ref in board.rows:
        board.hear(events.task(ref, "running"))
    for ref in order:
        board.hear(events.task(ref, "running", "undo"))
        board.hear(events.task(ref, "succeeded", "undo"))
    return board


def test_the_order_of_undos_is_told() -> None:
    assert undone("end", "left", "right", "start").undone() == ["end", "left", "right", "start"]


def test_the_demo_checks_the_order_of_undos() -> None:
    assert disorder(undone("end", "left", "right", "start"), DIAMOND) == []
    [wrong] = disorder(undone("end", "left", "start", "right"), DIAMOND)
    assert "right was undone after start" in wrong
    [wrong] = disorder(undone("end", "left", "right"), DIAMOND)
    assert "start wasn't undone" in wrong


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "skipped", "reason": "ConditionFalse"}, "ConditionFalse"),
        ({"status": "succeeded", "reason": None}, ""),
        ({"status": "failed", "reason": "Timeout", "error": None}, "Timeout"),
        (
            {"status": "failed", "error": {"type": "E", "message": "one\ntwo", "step": None}},
            "E: one",
        ),
        (
            {"status": "failed", "error": {"type": "E", "message": "\x1b[2Jx", "step": 0}},
            r"E: \x1b[2Jx (step 0)",
        ),
    ],
)
def test_notes_are_one_harmless_line(fields: dict[str, Any], said: str) -> None:
    assert note(fields) == said
