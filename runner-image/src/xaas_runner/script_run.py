"""One execution of a script: compiled, run with or without an event loop, and what it left."""

import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TextIO

from xaas_runner import sandbox
from xaas_runner.callout import Callouts
from xaas_runner.contract import BeginAnswer, ErrorInfo
from xaas_runner.step_log import StepLog
from xaas_runner.stopping import Stopper

LOOSE_TASKS_S: Final = 1.0
"""How long tasks that the script left running may take to end."""


class ScriptRun:
    """One script's execution, and what it left."""

    def __init__(self, log: StepLog, begun: BeginAnswer, objects: dict[str, Any]) -> None:
        self._log = log
        self._source = begun["script"]
        self._imports = begun.get("allowed_imports") or []
        self._objects = objects
        self._program: sandbox.Program | None = None
        self._scope: dict[str, Any] = objects
        self.raised: BaseException | None = None
        self.error: ErrorInfo | None = None
        self.left: dict[str, Any] = {}  # its params, made plain

    def go(self, stopper: Stopper) -> None:
        """Compile and run the script. Raises what it raises."""
        program = sandbox.compile_script(self._source, allowed_imports=self._imports)
        self._program = program
        callouts = Callouts(asynchronous=program.asynchronous)
        objects = {**self._objects, "callout": callouts.callout}
        self._scope = sandbox.scope(program, objects, write=self._log.print)
        try:
            if program.asynchronous:
                self._go_async(program, stopper)
            else:
                sandbox.run(program, self._scope)
        finally:
            # Garbage that is found later stays: a generator's `finally` is code of the script's.
            gc.disable()
            callouts.join(lambda text: self._log.record("WARNING", text))

    def _go_async(self, program: sandbox.Program, stopper: Stopper) -> None:
        import asyncio

        loop = asyncio.new_event_loop()
        # asyncio's own handler would write the script's text to stderr, unmasked.
        loop.set_exception_handler(
            lambda _, context: self._log.record("WARNING", _loop_message(context))
        )
        task = loop.create_task(sandbox.run_async(program, self._scope))
        stopper.watch(task)
        try:
            loop.run_until_complete(task)
        finally:
            # What the script left running ends with it; what refuses to is left behind.
            loose = asyncio.all_tasks(loop)
            for other in loose:
                other.cancel()
            if loose:
                loop.run_until_complete(asyncio.wait(loose, timeout=LOOSE_TASKS_S))

    def params(self) -> Any:
        """Return the script's `params`: whatever is bound to the name now."""
        return self._scope.get("params")

    def fail(self, error: BaseException, hide: Callable[[str], str]) -> None:
        """Note the error that the script ended with, without its text, and let go of its frames: the
        `finally` of a generator that was left there runs now."""
        self.raised = error
        self.error = self._describe(error, hide, asked=False)
        error.__traceback__ = None

    def full_error(self, hide: Callable[[str], str]) -> ErrorInfo:
        """Return the error with its text, which is code of the script's."""
        assert self.raised is not None
        assert self.error is not None
        message = self._describe(self.raised, hide, asked=True)["message"]
        if isinstance(self.raised, MemoryError) and not message:
            message = "the step used up its memory limit"
        return {**self.error, "message": message}

    def _describe(self, error: BaseException, hide: Callable[[str], str], asked: bool) -> ErrorInfo:
        if isinstance(error, sandbox.PolicyError) and self._program is None:
            return {"type": "PolicyError", "message": error.reason, "line": error.line}
        if self._program is not None:
            return sandbox.describe_error(error, self._program, hide=hide, asked=asked)
        return {"type": type(error).__name__, "message": "the script can't be compiled"}


def _loop_message(context: Mapping[str, Any]) -> str:
    text = str(context.get("message", "asyncio"))
    error = context.get("exception")
    return text if error is None else f"{text}: {named(error)}"


def named(error: BaseException) -> str:
    """Return an error's type and text, without raising."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - the error's own text is the script's code
        return type(error).__name__


def close_output(log: StepLog) -> None:
    """From now on only the log can write to the log.

    There is more that writes to 1 and 2 than can be known: what a script can make a library print, or
    Python complain about where a hook of ours fails.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(nothing, output)
    os.close(nothing)
    # Of a defect of ours there shall be a trace.
    sys.excepthook = lambda kind, error, _: log.record(
        "ERROR", f"the runner failed: {named(error)}"
    )


def redirect_messages(log: StepLog) -> None:
    """What Python itself would write to stderr may quote the script: it goes by the log."""
    import threading
    import warnings

    def showwarning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        told = named(message) if isinstance(message, Warning) else f"{category.__name__}: {message}"
        log.record("WARNING", told)

    def unraisable(event: "sys.UnraisableHookArgs") -> None:
        if event.exc_value is not None:
            log.record("WARNING", f"ignored: {named(event.exc_value)}")

    def in_thread(event: threading.ExceptHookArgs) -> None:
        if event.exc_value is not None:
            log.record("WARNING", f"in a thread: {named(event.exc_value)}")

    warnings.showwarning = showwarning
    sys.unraisablehook = unraisable
    threading.excepthook = in_thread
