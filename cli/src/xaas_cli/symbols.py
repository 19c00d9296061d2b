"""How states and times look: symbols, colours, words."""

import re
from datetime import datetime
from typing import Final

from rich.text import Text

from xaas_cli.states import Side, Status

SYMBOLS: Final = {
    Status.PENDING: "·",
    Status.RUNNING: "●",
    Status.SUCCEEDED: "✔",
    Status.FAILED: "✘",
    Status.SKIPPED: "–",
    Status.PROCESSING: "●",
    Status.COMPLETE: "✔",
    Status.ABORTED: "✘",
    Status.CANCELLING: "↺",
    Status.CANCELLED: "↩",
}

STYLES: Final = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.SUCCEEDED: "green",
    Status.FAILED: "bold red",
    Status.SKIPPED: "dim",
    Status.PROCESSING: "cyan",
    Status.COMPLETE: "bold green",
    Status.ABORTED: "bold red",
    Status.CANCELLING: "yellow",
    Status.CANCELLED: "bold yellow",
}

UNDO_WORDS: Final = {
    Status.PENDING: "",
    Status.RUNNING: "undoing",
    Status.SUCCEEDED: "undone",
    Status.FAILED: "undo failed",
    Status.SKIPPED: "nothing to undo",
}

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_UNDO_SYMBOLS: Final = {Status.RUNNING: "↺", Status.SUCCEEDED: "↩", Status.PENDING: " "}
_UNDO_STYLES: Final = {Status.RUNNING: "yellow", Status.SUCCEEDED: "yellow"}


def status_text(status: Status | str) -> Text:
    """A state with its symbol, coloured; a word this client doesn't know stays as it is."""
    try:
        known = Status(status)
    except ValueError:
        return Text(str(status))
    return Text(f"{SYMBOLS[known]} {known}", STYLES[known])


def task_symbol(status: Status, side: Side) -> Text:
    """The symbol of a task run."""
    symbol, style = SYMBOLS[status], STYLES[status]
    if side is Side.UNDO:
        symbol = _UNDO_SYMBOLS.get(status, symbol)
        style = _UNDO_STYLES.get(status, style)
    return Text(symbol, style)


def duration(seconds: float | None) -> str:
    """`12 ms`, `4.3 s`, `2 m 05 s`, `1 h 02 m`; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"


def clock(at: datetime) -> str:
    """A time of day, in the reader's own zone."""
    return at.astimezone().strftime("%H:%M:%S.%f")[:-3]


def date_and_time(text: str | None) -> str:
    """A time of the server's as a reader writes it, in the reader's own zone."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, word: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def tame(text: str) -> str:
    """Text of a script's with its control characters shown: a terminal obeys none of them."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
