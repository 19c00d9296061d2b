import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from xaas_cli.board import Board, Change
from xaas_cli.states import Side, Status
from xaas_cli.symbols import duration, tame
from xaas_cli.views import Lines, LiveView, line, picture, view_for

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def board(count: int = 4) -> Board:
    """A diamond of tasks, or a chain of `count`."""
    made = Board(
        "0123-id", "p", Status.CANCELLING, started=NOW - timedelta(seconds=9), finished=NOW
    )
    entries = [{"ref": "a", "name": "first", "dependsOn": []}]
    entries += [{"ref": ref, "name": f"mid-{ref}", "dependsOn": ["a"]} for ref in "bc"]
    entries += [{"ref": "d", "name": "last", "dependsOn": ["b", "c"]}]
    if count != 4:
        entries = [{"ref": str(n), "name": "t", "dependsOn": []} for n in range(count)]
    made.list_rows(entries)
    return made


def rendered(what: Board, room: int | None = None, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(picture(what, room))
    return [text.rstrip() for text in console.export_text().splitlines()]


def put(what: Board, ref: str, side: Side, status: Status, ms: int | None, note: str = "") -> None:
    cell = what.rows[ref].sides[side]
    cell.status, cell.note = status, note
    if ms is not None:
        cell.started, cell.finished, cell.at = NOW, NOW + timedelta(milliseconds=ms), NOW


def test_the_picture_shows_levels_states_times_and_why() -> None:
    shown = board()
    put(shown, "a", Side.DO, Status.SUCCEEDED, 12)
    put(shown, "b", Side.DO, Status.SUCCEEDED, 1500)
    put(shown, "b", Side.UNDO, Status.SUCCEEDED, 7)
    put(shown, "c", Side.DO, Status.FAILED, 30, "ValueError: no (step 0, line 2)")
    put(shown, "d", Side.UNDO, Status.SKIPPED, None, "NothingToUndo")
    head, *rows = rendered(shown)
    assert head.startswith("p  ↺ cancelling  2/4 tasks  ")
    assert head.endswith("  0123-id")
    assert rows == [
        "  ✔   a first       12 ms",
        "┌ ✔ ↩ b mid-b ← a   1.5 s undone 7 ms",
        "└ ✘   c mid-c ← a   30 ms ValueError: no (step 0, line 2)",
        "  · – d last  ← b c       nothing to undo",
    ]


def test_a_narrow_terminal_cuts_the_notes_first() -> None:
    shown = board()
    put(shown, "c", Side.DO, Status.FAILED, 30, "ValueError: " + "no " * 40)
    rows = rendered(shown, width=50)
    assert all(len(row) <= 50 for row in rows)
    assert any("c mid-c" in row and "ValueError" in row and row.endswith("…") for row in rows)


def test_where_not_all_fit_the_foremost_are_shown_and_the_rest_is_counted() -> None:
    shown = board(50)
    put(shown, "40", Side.DO, Status.FAILED, 5)
    put(shown, "45", Side.DO, Status.RUNNING, 5)
    put(shown, "3", Side.DO, Status.SUCCEEDED, 5)
    rows = rendered(shown, room=5)
    assert len(rows) == 1 + 4 + 1
    text = "\n".join(rows)
    assert " 40 t" in text
    assert " 45 t" in text
    assert " 3 " in text
    assert rows[-1] == "  … 46 more tasks: 46 pending"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(NOW, "p", Status.PROCESSING), "● run  p  processing"),
        (Change(NOW, "p", Status.CANCELLED, note="TaskFailed"), "↩ run  p  cancelled  TaskFailed"),
        (Change(NOW, "t", Status.RUNNING, "6", Side.DO), "● do   6  t  running"),
        (
            Change(NOW, "t", Status.SUCCEEDED, "6", Side.UNDO, 0.25),
            "✔ undo 6  t  succeeded  250 ms",
        ),
        (
            Change(NOW, "t", Status.FAILED, "6", Side.DO, 2.5, "KeyError: 'x'"),
            "✘ do   6  t  failed  2.5 s  KeyError: 'x'",
        ),
    ],
)
def test_lines(change: Change, said: str) -> None:
    text = line(change).plain
    assert text.endswith(said)
    assert text[2] == text[5] == ":"


def test_without_a_terminal_there_are_lines_however_long() -> None:
    out = io.StringIO()
    console = Console(file=out, width=40)
    view = view_for(console)
    assert isinstance(view, Lines)
    change = Change(NOW, "t", Status.FAILED, "6", Side.DO, 2.5, "why " * 50)
    view.changed(board(), [change, change])
    assert len(out.getvalue().splitlines()) == 2
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_there_is_a_picture() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=20, force_terminal=True, color_system="standard")
    view = view_for(console)
    assert isinstance(view, LiveView)
    with view:
        view.tick(board())
        view.changed(board(), [])
    assert out.getvalue().count("mid-b") >= 2
    assert "\x1b[1A" in out.getvalue()  # it draws over itself


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (1, "1.0 s"),
        (59.94, "59.9 s"),
        (65, "1 m 05 s"),
        (3720, "1 h 02 m"),
    ],
)
def test_durations(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


def test_a_terminal_obeys_nothing_in_a_scripts_text() -> None:
    assert tame("a\x1b[31mb\x07\tü\n") == "a\\x1b[31mb\\x07\tü\n"
