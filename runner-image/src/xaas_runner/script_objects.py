"""What a script finds under the names `logger`, `context`, `secrets` and `Error`.

Small classes of our own, each with just what a script may read: the sandbox knows an object by
its exact type and shows the names listed in the `expose` calls here, nothing else. None of them
hands out the object behind it (a real `logging.Logger` leads to its handlers' files in two steps).
"""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from xaas_runner.contract import Context
from xaas_runner.sandbox import Handle, expose
from xaas_runner.step_log import StepLog

_FIELDS: Final = (
    "run_id",
    "pipeline",
    "ref",
    "task",
    "process_type",
    "step",
    "attempt",
    "namespace",
)


class Error(Exception):
    """What a script raises to fail its step with a code of its own: `Error(code, reason)`.

    Also raised by `callout`, `PipelineRun` and `SDKRunner`; `code` is then HTTP-like, or 0 where
    there was no answer at all.
    """

    def __init__(self, code: Any = 0, reason: Any = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (code {self.code})"


class Logger(Handle):
    """Writes to the step's log. `logger.info("took %d s", seconds)` formats as `logging` does.

    Of that module's keywords there is only `exc_info`: the others reach into how records are made
    and handled, and a script that needs them shall hear of it (TypeError).
    """

    def __init__(self, log: StepLog) -> None:
        self.__log = log

    def debug(self, message: Any, *args: Any, exc_info: Any = None) -> None:
        """Write a DEBUG record."""
        self.__write("DEBUG", message, args, exc_info)

    def info(self, message: Any, *args: Any, exc_info: Any = None) -> None:
        """Write an INFO record."""
        self.__write("INFO", message, args, exc_info)

    def warning(self, message: Any, *args: Any, exc_info: Any = None) -> None:
        """Write a WARNING record."""
        self.__write("WARNING", message, args, exc_info)

    warn = warning

    def error(self, message: Any, *args: Any, exc_info: Any = None) -> None:
        """Write an ERROR record."""
        self.__write("ERROR", message, args, exc_info)

    def critical(self, message: Any, *args: Any, exc_info: Any = None) -> None:
        """Write a CRITICAL record."""
        self.__write("CRITICAL", message, args, exc_info)

    fatal = critical

    def exception(self, message: Any, *args: Any, exc_info: Any = True) -> None:
        """Write an ERROR record that ends with the exception being handled."""
        self.__write("ERROR", message, args, exc_info)

    def __write(self, level: str, message: Any, args: tuple[Any, ...], exc_info: Any) -> None:
        error = _error(exc_info)
        text = _text(message)
        if args:
            values = args[0] if len(args) == 1 and isinstance(args[0], dict) else args
            try:
                text = text % values
            except Exception:  # noqa: BLE001 - whatever a script's own __str__ raises
                text = " ".join([text, *(_text(value) for value in args)])
        if error is not None:
            text = f"{text}: {type(error).__name__}: {_text(error)}"
        self.__log.record(level, text)


def _error(exc_info: Any) -> BaseException | None:
    """The exception that `exc_info` means, as `logging` has it: itself, the one in a triple like
    `sys.exc_info()`'s, or for anything else that is true the one being handled."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        if len(exc_info) != 3 or not isinstance(exc_info[1], BaseException | None):
            raise TypeError("logger: a tuple as exc_info is (type, exception, traceback)")
        return exc_info[1]
    return sys.exc_info()[1] if exc_info else None


def _text(value: Any) -> str:
    """Return `str(value)`, as an exact str; a script's failing `__str__` is named instead."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return str.__str__(str(value))
    except Exception as error:  # noqa: BLE001 - a script's own __str__
        return f"<{type(value).__name__}, whose text raises {type(error).__name__}>"


class ScriptContext(Handle):
    """The step's whereabouts, read-only: the fields of contract.Context."""

    __slots__ = ("__fields",)

    def __init__(self, fields: Context) -> None:
        self.__fields = fields

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            return self.__fields[name]  # type: ignore[literal-required]
        raise AttributeError(f"context has no {name!r}; it has {', '.join(_FIELDS)}")


class Secrets(Handle, Mapping[str, str]):
    """The values of the task's `secrets`, by name, read-only."""

    __slots__ = ("__values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.__values = dict(values)

    def __getitem__(self, name: str) -> str:
        if name not in self.__values:
            known = ", ".join(sorted(self.__values)) or "none"
            raise KeyError(f"the task's `secrets` don't list {name!r}; they list: {known}")
        return self.__values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self.__values))

    def __len__(self) -> int:
        return len(self.__values)

    def __repr__(self) -> str:
        return f"<secrets: {', '.join(sorted(self.__values))}>"


expose(
    Logger,
    ("debug", "info", "warning", "warn", "error", "critical", "fatal", "exception"),
)
expose(ScriptContext, _FIELDS)
expose(Secrets, ("get", "keys", "values", "items"))
expose(Error, ("code", "reason", "args", "add_note"))
