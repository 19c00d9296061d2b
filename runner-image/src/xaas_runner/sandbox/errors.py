"""What a user is told about an error of a script."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from xaas_runner.contract import ErrorInfo
from xaas_runner.sandbox.formatting import exact
from xaas_runner.sandbox.program import PolicyError, Program
from xaas_runner.sandbox.vocabulary import SCRIPT_FILE

MAX_MESSAGE_BYTES: Final = 8 * 1024
_MAX_LINES: Final = 20
_MAX_LINE: Final = 200
_MAX_CAUSES: Final = 5
_SILENT: Final = "(its message can't be shown)"

Hide = Callable[[str], str]


def describe_error(
    error: BaseException, program: Program, *, hide: Hide = str, asked: bool = True
) -> ErrorInfo:
    """Type, message, line and traceback of an error, in terms of the script only.

    The message is 8 KiB at most, in UTF-8; the traceback has the script's own lines, 20 at most.
    `hide` masks texts, before they are cut. The message is code of the script: it may raise, which
    doesn't matter, or take its time. Where it isn't `asked`, no code of the script runs.
    """
    lines = _frames(error)
    line = error.line if isinstance(error, PolicyError) else None
    if lines:
        line = lines[-1][0]
    return {
        "type": hide(type(error).__name__)[:_MAX_LINE],
        "message": _capped(_message(error, hide) if asked else _SILENT),
        "line": line,
        "traceback": _traceback(lines, program, hide),
    }


def _message(error: BaseException, hide: Hide) -> str:
    if isinstance(error, PolicyError):
        return hide(error.reason)
    message = _text(error, hide)
    causes: Any = ()
    with suppress(BaseException):  # the script may have overridden it
        causes = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    if type(causes) is tuple and causes:
        told = [
            f"{hide(type(cause).__name__)}: {_text(cause, hide)[:_MAX_LINE]}"
            for cause in causes[:_MAX_CAUSES]
        ]
        message += ": " + "; ".join(told)
    return message


def _text(error: BaseException, hide: Hide) -> str:
    shown = _SILENT
    with suppress(BaseException):  # the script's own __str__ may raise anything
        shown = hide(exact(str(error)))
    return shown


def _capped(text: str) -> str:
    encoded = text[:MAX_MESSAGE_BYTES].encode("utf-8", "replace")
    if len(encoded) <= MAX_MESSAGE_BYTES and len(text) <= MAX_MESSAGE_BYTES:
        return encoded.decode()
    return encoded[: MAX_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"


def _frames(error: BaseException) -> list[tuple[int, str]]:
    """Line and function of each frame of the script, outermost first."""
    found: list[tuple[int, str]] = []
    entry: Any = error.__traceback__
    while entry is not None:
        code = entry.tb_frame.f_code
        if code.co_filename == SCRIPT_FILE:
            found.append((entry.tb_lineno, code.co_qualname))
        entry = entry.tb_next
    return found


def _traceback(frames: list[tuple[int, str]], program: Program, hide: Hide) -> list[str]:
    source = program.source.split("\n")
    told = []
    for line, function in frames:
        text = source[line - 1].strip() if 0 < line <= len(source) else ""
        where = f"line {line}" if function == SCRIPT_FILE else f"line {line}, in {function}"
        told.append(hide(f"{where}: {text}")[:_MAX_LINE])
    if len(told) > _MAX_LINES:
        half = _MAX_LINES // 2
        told = [*told[: half - 1], f"… {len(told) - _MAX_LINES + 1} more …", *told[-half:]]
    return told
