"""Changes of all runs as a stream, and cursors that any server understands."""

from collections.abc import Iterable

import pytest

from xaas_core.engine.history import Change
from xaas_core.engine.states import RunState, Side, TaskState
from xaas_core.ports import Logged
from xaas_kube import feed
from xaas_kube.feed import SLACK, ChangeFeed, Cursor, Entry, entries, replay
from xaas_kube.run_objects import logged

A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
START = 10_000_000
NOW = Cursor("l", START)


def texts(*times: int) -> list[str]:
    """A log with a change recorded at each of `times`."""
    return [logged(Change(RunState.PROCESSING, at), at) for at in times]


def told(found: Iterable[Logged] | None) -> list[tuple[str, int]]:
    assert found is not None
    return [(each.run, each.sequence) for each in found]


def settled(server: str = "1", **logs: list[str]) -> ChangeFeed:
    made = ChangeFeed(START, server)
    for run, log in logs.items():
        made.add({"a": A, "b": B}[run], log, 0)
    made.settle()
    return made


def test_what_was_there_at_the_start_comes_in_the_order_of_its_time() -> None:
    made = settled(a=texts(START + 1, START + 4), b=texts(START + 2, START + 3))
    assert told(made.read(Cursor("l", 0), 10)) == [(A, 1), (B, 1), (B, 2), (A, 2)]


def test_a_known_cursor_goes_on_right_after_it() -> None:
    made = settled(a=texts(START + 5))
    (first,) = made.read(Cursor("l", 0), 10) or []
    made.add(B, texts(START + 1), 0)  # recorded before, told after
    assert told(made.read(Cursor.read(first.cursor), 10)) == [(B, 1)]


def test_another_servers_cursor_loses_nothing_that_was_told_late() -> None:
    there, here = settled("1"), settled("2")
    there.add(A, texts(START + 100), 0)
    cursor = there.last
    assert cursor is not None
    here.add(B, texts(START + 90), 0)  # this one the other server hadn't told yet
    here.add(A, texts(START + 100, START + 110), 0)
    assert set(told(here.read(cursor, 10))) >= {(B, 1), (A, 2)}


def test_a_cursor_of_before_what_is_kept_is_to_be_replayed() -> None:
    old = START - feed.KEPT_FOR - 1
    made = settled(a=texts(old), b=texts(START))
    assert made.floor > 0
    assert made.read(Cursor("e", old, A, 1), 10) is None
    assert told(made.read(Cursor("e", START + SLACK, A, 9), 10)) == [(B, 1)]


def test_a_replay_pages_through_all_of_it_once() -> None:
    every = [*entries(A, texts(1, 2, 2, 9)), *entries(B, texts(1, 3, 8))]
    cursor, found = Cursor("e", 0, A, 1), []
    while part := replay(every, cursor, 2):
        found += told(part)
        cursor = Cursor.read(part[-1].cursor)
    assert found == [(A, 1), (B, 1), (A, 2), (A, 3), (B, 2), (B, 3), (A, 4)]


def test_a_replay_begins_a_slack_before_a_foreign_cursor() -> None:
    every = [
        Entry(at, A, number, Change(RunState.PROCESSING, at))
        for number, at in enumerate((0, SLACK, 2 * SLACK), 1)
    ]
    assert told(replay(every, Cursor("e", 2 * SLACK, A, 3), 10)) == [(A, 2), (A, 3)]


def test_a_removed_runs_changes_go_with_it() -> None:
    made = settled(a=texts(START), b=texts(START + 1))
    made.drop(A)
    assert told(made.read(Cursor("l", 0), 10)) == [(B, 1)]


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "KEPT", 10)
    made = settled()
    made.add(A, texts(*range(START, START + 30)), 0)
    assert made.last == Cursor("e", START + 29, A, 30, "1")
    assert made.read(Cursor("l", 0), 100) is None
    assert told(made.read(Cursor("e", START + 28, A, 29, "1"), 100)) == [(A, 30)]


def test_changes_come_back_from_the_log_as_they_were() -> None:
    changes = [
        Change(RunState.PROCESSING, 7, message="é"),
        Change(TaskState.RUNNING, 3, "タスク 1", Side.UNDO, 2, 1),
        Change(TaskState.SUCCEEDED, 9, "a", Side.DO),
    ]
    written = [logged(change, 8) for change in changes]
    assert [each.change for each in entries(A, written)] == changes
    assert {each.at for each in entries(A, written)} == {8}


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "e1-a-1-1", "e1-0-1-1; DROP", "q1-0-0-0"])
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        Cursor.read(text)
