"""`print` for scripts."""

from collections.abc import Callable
from typing import Any

from xaas_runner.sandbox.formatting import exact

CHUNK = 8192
"""Characters handed on at a time."""


def make_print(write: Callable[[str], None]) -> Callable[..., None]:
    """A `print` that sends its text to `write`, in pieces of `CHUNK` characters at most."""

    def print(  # noqa: A001 - the name that a script sees
        *values: Any,
        sep: str | None = " ",
        end: str | None = "\n",
        file: Any = None,
        flush: Any = 0,
    ) -> None:
        if file is not None:
            raise TypeError("print writes to the step's log only: it takes no 'file'")
        between = " " if sep is None else _text(sep, "sep")
        last = "\n" if end is None else _text(end, "end")
        pending = ""
        for index, value in enumerate(values):
            piece = exact(str(value))
            pending += between + piece if index else piece
            pending = _flush(pending, write, 2 * CHUNK)
        pending = _flush(pending + last, write, CHUNK)
        if pending:
            write(pending)

    return print


def _text(value: Any, name: str) -> str:
    if type(value) is not str:
        raise TypeError(f"{name} must be None or a string")
    return value


def _flush(text: str, write: Callable[[str], None], limit: int) -> str:
    if len(text) <= limit:
        return text
    for start in range(0, len(text) - CHUNK, CHUNK):
        write(text[start : start + CHUNK])
    return text[(len(text) - 1) // CHUNK * CHUNK :]
