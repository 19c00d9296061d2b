"""One execution of a script: compiled, run with or without an event loop, and what it left."""

import sys
from collections.abc import Mapping
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

    def error(self) -> ErrorInfo:
        """Return the error that the script ended with, and let go of its frames."""
        error, self.raised = self.raised, None
        assert error is not None
        info = self._describe(error)
        error.__traceback__ = None
        if isinstance(error, MemoryError) and not info["message"]:
            info["message"] = "the step used up its memory limit"
        return info

    def _describe(self, error: BaseException) -> ErrorInfo:
        if isinstance(error, sandbox.PolicyError) and self._program is None:
            return {"type": "PolicyError", "message": error.reason, "line": error.line}
        if self._program is not None:
            return sandbox.describe_error(error, self._program)
        return {"type": type(error).__name__, "message": "the script can't be compiled"}


def _loop_message(context: Mapping[str, Any]) -> str:
    text = str(context.get("message", "asyncio"))
    error = context.get("exception")
    return text if error is None else f"{text}: {named(error)}"


def named(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the error's own text is the script's code
        return type(error).__name__


def redirect_messages(log: StepLog) -> None:
    """Whatever Python itself would write to stderr may quote the script: it goes by the log."""
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
        log.record("WARNING", f"{category.__name__}: {message}")

    def unraisable(event: "sys.UnraisableHookArgs") -> None:
        if event.exc_value is not None:
            log.record("WARNING", f"ignored: {named(event.exc_value)}")

    def in_thread(event: threading.ExceptHookArgs) -> None:
        if event.exc_value is not None:
            log.record("WARNING", f"in a thread: {named(event.exc_value)}")

    warnings.showwarning = showwarning
    sys.unraisablehook = unraisable
    threading.excepthook = in_thread
