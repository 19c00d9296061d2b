"""Two ways to show a run while it goes: a live picture on a terminal, lines elsewhere."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xaas_cli.board import Board, Change, Row, now
from xaas_cli.states import OVER, Side, Status
from xaas_cli.symbols import (
    STYLES,
    SYMBOLS,
    UNDO_WORDS,
    clock,
    duration,
    plural,
    status_text,
    task_symbol,
)

FRAME_S: Final = 0.1
"""Between two pictures: smooth enough for the running durations, and idle enough."""

MARGIN: Final = 4
"""Lines of a terminal that the picture leaves to its head and what is below."""

FEWEST_ROWS: Final = 5

AFTER_WIDTH: Final = 24
"""Columns for the refs that a task waits for."""


class View(Protocol):
    """Shows a board. `changed` is called with what changed, `tick` all the time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def changed(self, board: Board, changes: Sequence[Change]) -> None:
        """Show what changed."""

    def tick(self, board: Board) -> None:
        """Show that time passes."""


def view_for(console: Console) -> View:
    """The picture on a terminal, lines elsewhere."""
    return (
        LiveView(console)
        if console.is_terminal and not console.is_dumb_terminal
        else Lines(console)
    )


class Lines:
    """One line per change."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def changed(self, board: Board, changes: Sequence[Change]) -> None:
        for change in changes:
            # soft_wrap: a line stays a line, however long, for whatever reads it.
            self._console.print(line(change), soft_wrap=True, highlight=False)

    def tick(self, board: Board) -> None:
        return None


def line(change: Change) -> Text:
    """`14:03:07.123  ✔ do   6  Open-account  succeeded  120 ms`."""
    text = Text(f"{clock(change.at)}  ")
    style = STYLES[change.status]
    if change.ref is None:
        text.append(f"{SYMBOLS[change.status]} run  ", style)
        text.append(f"{change.name}  ")
    else:
        text.append(f"{SYMBOLS[change.status]} {change.side or '':4} ", style)
        text.append(f"{change.ref}  {change.name}  ")
    text.append(change.status, style)
    if change.seconds is not None:
        text.append(f"  {duration(change.seconds)}")
    if change.note:
        text.append(f"  {change.note}")
    return text


class LiveView:
    """The DAG's tasks, level by level, drawn over and over in one place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def changed(self, board: Board, changes: Sequence[Change]) -> None:
        self.tick(board)

    def tick(self, board: Board) -> None:
        room = max(FEWEST_ROWS, self._console.height - MARGIN)
        self._live.update(picture(board, room), refresh=True)


def picture(board: Board, room: int | None = None) -> RenderableType:
    """The run as it is now; at most `room` tasks of it, those that matter most."""
    rows = list(board.rows.values())
    shown = rows if room is None or len(rows) <= room else _foremost(rows, room - 1)
    undoing = board.status in (Status.CANCELLING, Status.CANCELLED) or any(
        row.sides[Side.UNDO].status is not Status.PENDING for row in rows
    )
    parts: list[RenderableType] = [_head(board), _table(shown, undoing)]
    if len(shown) < len(rows):
        parts.append(_rest([row for row in rows if row not in shown]))
    return Group(*parts)


def _head(board: Board) -> Text:
    cells = [row.sides[Side.DO].status for row in board.rows.values()]
    done = sum(status in (Status.SUCCEEDED, Status.SKIPPED) for status in cells)
    text = Text()
    text.append(board.name, "bold")
    text.append("  ")
    text.append_text(status_text(board.status))
    text.append(f"  {done}/{len(cells)} tasks")
    if board.started is not None:
        end = board.finished if board.status in OVER else None
        text.append(f"  {duration(((end or now()) - board.started).total_seconds())}")
    text.append(f"  {board.id}", "dim")
    return text


def _table(rows: Sequence[Row], undoing: bool) -> Table:
    # The last column takes what the others leave, and is cut before any of them is.
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(5):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=AFTER_WIDTH)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    moment = now()
    for bracket, row in zip(_brackets(rows), rows, strict=True):
        do, undo = row.sides[Side.DO], row.sides[Side.UNDO]
        table.add_row(
            Text(bracket, "dim"),
            task_symbol(do.status, Side.DO),
            task_symbol(undo.status, Side.UNDO),
            Text(row.ref, "bold"),
            Text(row.name),
            Text(f"← {' '.join(row.after)}" if row.after else "", "dim"),
            duration(do.seconds(moment)),
            _note(row, moment, undoing),
        )
    return table


def _note(row: Row, moment: datetime, undoing: bool) -> Text:
    do, undo = row.sides[Side.DO], row.sides[Side.UNDO]
    parts: list[tuple[str, str]] = []
    if undoing and UNDO_WORDS[undo.status]:
        text = f"{UNDO_WORDS[undo.status]} {duration(undo.seconds(moment))}".rstrip()
        parts.append((text, "yellow" if undo.started else "dim"))
    parts += [
        (cell.note, STYLES[cell.status])
        for cell in (do, undo)
        if cell.status is Status.FAILED or (cell.status is Status.SKIPPED and cell is do)
    ]
    if do.attempt > 1:
        parts.append((f"attempt {do.attempt}", "dim"))
    return Text("  ").join(Text(text, style) for text, style in parts if text)


def _brackets(rows: Sequence[Row]) -> Iterable[str]:
    """Tasks of one level run side by side: a bracket joins them."""
    for index, row in enumerate(rows):
        above = index > 0 and rows[index - 1].level == row.level
        below = index + 1 < len(rows) and rows[index + 1].level == row.level
        yield {(False, True): "┌", (True, True): "├", (True, False): "└"}.get((above, below), " ")


_WEIGHT: Final = {Status.FAILED: 0, Status.RUNNING: 1}


def _foremost(rows: Sequence[Row], room: int) -> list[Row]:
    """The rows to show where not all fit: failed, running, then the latest."""

    def key(row: Row) -> tuple[int, float]:
        cells = row.sides.values()
        latest = max(cell.at for cell in cells)
        weight = min(_WEIGHT.get(cell.status, 2) for cell in cells)
        return weight, -latest.timestamp() if latest.year > 1 else 0.0

    chosen = {row.ref for row in sorted(rows, key=key)[:room]}
    return [row for row in rows if row.ref in chosen]


def _rest(rows: Sequence[Row]) -> Text:
    counts: dict[Status, int] = {}
    for row in rows:
        status = row.sides[Side.DO].status
        counts[status] = counts.get(status, 0) + 1
    listed = ", ".join(f"{count} {status}" for status, count in counts.items())
    return Text(f"  … {plural(len(rows), 'more task')}: {listed}", "dim")
