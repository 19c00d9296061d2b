"""One step: wait for its turn, begin, run the script, report how it ended.

    begin   recorded there before a line of the script runs; the answer holds script and params
    wait    if told to: held open by the gateway until it is this step's turn; then begin again
    script  in the sandbox, under `Stopper`'s eye
    finish  outcome, changes to params, error: offered until the gateway has answered

The report is built after the script has ended, from values only, by this module alone: neither an
exit code nor anything the script prints has a say in it. A script that was stopped from outside
reports no changes; one that raised reports those it had made, even if its error's text, which is code
of the script's too, doesn't end in time.

It runs in a process that is prepared already: forked by `warm`, or a container's (`container`). What it
says to the gateway is in `step_calls`. Its exit code is a hint only: 0 when the outcome was recorded or
the step was told to leave, LAST_EXIT when it was recorded and no step follows, LEFT when it was stopped
before it began.
"""

import json
import os
import sys
import time
from typing import Any, Final

from xaas_runner import lockdown
from xaas_runner.child_runs import Children, PipelineRuns, SDKRunners
from xaas_runner.contract import (
    LAST_EXIT,
    MAX_DELTA_WEIGHT,
    MAX_MESSAGE_BYTES,
    BeginAnswer,
    Bundle,
    DeltaOp,
    ErrorInfo,
    FinishCall,
    Outcome,
    weight,
)
from xaas_runner.delta import bundled, changes
from xaas_runner.gateway_client import Refused
from xaas_runner.params import NotJson, plain, to_text
from xaas_runner.script_objects import Error, Logger, ScriptContext, Secrets
from xaas_runner.script_run import ScriptRun, close_output, named, redirect_messages
from xaas_runner.step_calls import LEFT, RUNNER_ERROR, Order, StepCalls
from xaas_runner.step_log import Mask, StepLog
from xaas_runner.stopping import MESSAGES, Cause, Left, Stopped

LINGER_S: Final = 0.5
"""How long a process stays that waited for its work, once that is recorded. A container's end costs its
node more CPU than a short step does: it is to come after those steps that are begun at this moment."""

PARAMS_INVALID: Final = "ParamsInvalid"
"""Error type where a script left params that can't be recorded."""

_TOO_MANY: Final = "has more and deeper edits than fit a message"
_MAX_ERROR_CHARACTERS: Final = 16 * 1024
_MAX_TRACEBACK_LINES: Final = 100
_ROOM_FOR_DELTA: Final = MAX_MESSAGE_BYTES - 1024 * 1024  # in a finish message, beside the error


def run_step(order: Order) -> int:
    """Run the step in this process; return an exit code. From the main thread, once."""
    sys.set_int_max_str_digits(0)
    try:
        return Step(order, StepCalls(order)).run()
    except Left:
        return LEFT


class Step:
    """The step of an order."""

    def __init__(self, order: Order, calls: StepCalls) -> None:
        self._order = order
        self._calls = calls
        self._stopper = calls.stopper
        self._mask = Mask(order.secrets.values())
        # Of its own: 1 and 2 are closed to the script.
        self._log = StepLog(self._mask, os.dup(1))
        calls.gateway.on_trouble = lambda text: self._log.record("WARNING", text)
        redirect_messages(self._log)

    def run(self) -> int:
        """Run the step; return an exit code. Raises Left."""
        try:
            begun = self._calls.begin()
        except Refused:
            return 0
        if begun is None:
            return 0
        try:
            finish = self._execute(begun)
        except Exception as defect:  # noqa: BLE001 - ours; a step that began is never lost by it
            self._stopper.end()
            error: ErrorInfo = {"type": RUNNER_ERROR, "message": named(defect)}
            finish = self._calls.failed(self._clean(error))
        code = self._deliver(finish)
        if self._calls.was_idle:
            time.sleep(LINGER_S)
        return code

    # --- the script ---

    def _execute(self, begun: BeginAnswer) -> FinishCall:
        # As text: the script edits the object itself.
        before = json.dumps(begun["params"])
        run = ScriptRun(self._log, begun, self._objects(begun))
        close_output(self._log)
        trouble, cause = self._stopper.oversee(
            lambda: self._play(run), self._budget_s(begun), self._cut_off
        )
        elapsed_ms = self._calls.elapsed_ms()
        lockdown.release_headroom()
        if cause is not None:
            return self._stopped(cause, elapsed_ms)
        finish = self._calls.failed(None, elapsed_ms)
        unfit = None if trouble is None else self._unfit(trouble)
        if unfit is None:
            try:
                finish["delta"] = self._delta(before, run.left)
            except (NotJson, MemoryError) as error:
                unfit = self._unfit(error)
        if run.error is not None:
            self._describe(run, unfit, finish, self._budget_s(begun))
        elif unfit is not None:
            finish["error"] = self._clean(_params_error(unfit, None))
        else:
            finish["outcome"] = Outcome.SUCCEEDED.value
        return finish

    def _play(self, run: ScriptRun) -> None:
        """Run the script and make plain what it left: its own code may have a part in both."""
        raised = None
        try:
            run.go(self._stopper)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises, it has failed
            raised = error
        lockdown.release_headroom()
        if raised is not None:
            run.fail(raised, self._mask.hide)
        run.left = plain(run.params())

    def _budget_s(self, begun: BeginAnswer) -> float | None:
        """Seconds that the script may take, counted from begin's answer; None: any."""
        budget_ms = begun.get("budget_ms")
        return None if budget_ms is None else (budget_ms - self._calls.elapsed_ms()) / 1000

    def _objects(self, begun: BeginAnswer) -> dict[str, Any]:
        children = Children(self._calls.gateway, self._order.step, self._mask)
        return {
            "params": begun["params"],
            "logger": Logger(self._log),
            "context": ScriptContext(begun["context"]),
            "secrets": Secrets(self._order.secrets),
            "Error": Error,
            "PipelineRun": PipelineRuns(children),
            "SDKRunner": SDKRunners(children),
        }

    # --- after the script ---

    def _describe(
        self, run: ScriptRun, unfit: str | None, finish: FinishCall, budget_s: float | None
    ) -> None:
        """Put the error that the script raised into `finish`, which is complete before its text is
        asked for: if that doesn't come in time, it is done without."""

        def put(error: ErrorInfo) -> None:
            clean = self._clean(error)
            finish["error"] = clean if unfit is None else self._clean(_params_error(unfit, clean))

        def cut_off(cause: Cause) -> None:
            os._exit(self._deliver(finish, apart=True))

        assert run.error is not None
        put(run.error)
        self._stopper.oversee(lambda: put(run.full_error(self._mask.hide)), budget_s, cut_off)

    def _unfit(self, trouble: BaseException) -> str:
        """Why params can't be recorded."""
        if isinstance(trouble, NotJson):
            return trouble.told(self._mask.hide)
        if isinstance(trouble, MemoryError):
            return "params are too large for the step's memory limit"
        return f"params can't be read: {type(trouble).__name__}"

    def _delta(self, before: str, new: dict[str, Any]) -> list[DeltaOp | Bundle]:
        """Return what changed. Raises NotJson for params that can't be recorded."""
        old = json.loads(before)
        size = total = 0
        for op in changes(old, new):
            if self._order.secrets and op["op"] == "set":
                self._refuse_secrets(op)
            size += len(to_text(op).encode()) + 1
            total += weight(op["path"])
            if total > MAX_DELTA_WEIGHT:
                raise NotJson(tuple(op["path"][:1]), _TOO_MANY)
        if size <= _ROOM_FOR_DELTA:
            return [*changes(old, new)]
        delta = bundled(changes(old, new))
        if len(to_text(delta).encode()) > _ROOM_FOR_DELTA:
            raise NotJson((), _TOO_MANY)
        return delta

    def _refuse_secrets(self, op: DeltaOp) -> None:
        path = tuple(op["path"])
        named = next((path[: i + 1] for i, key in enumerate(path) if self._mask.finds(key)), None)
        place = named or self._mask.place(op["value"], path)
        if place is not None:
            raise NotJson(place, "holds a secret's value; what is in params is stored")

    def _stopped(self, cause: Cause, elapsed_ms: int) -> FinishCall:
        error: ErrorInfo = {"type": cause.value, "message": MESSAGES[cause], "line": None}
        return {**self._calls.failed(error, elapsed_ms), "terminated": True}

    def _cut_off(self, cause: Cause) -> None:
        """Report and end the process: called from a signal handler, the script being anywhere."""
        stopped = self._stopped(cause, self._calls.elapsed_ms())
        os._exit(self._deliver(stopped, apart=True))

    def _deliver(self, finish: FinishCall, *, apart: bool = False) -> int:
        """Report the outcome; return the exit code."""
        self._log.close()
        try:
            return 0 if self._calls.finish(finish, apart=apart) else LAST_EXIT
        except Refused as refused:
            self._log.record("WARNING", f"the outcome wasn't taken: {refused}")
            return 0

    def _clean(self, error: ErrorInfo) -> ErrorInfo:
        """Return the error without secrets, without text that isn't Unicode, and not too long."""

        def text(value: object, most: int = _MAX_ERROR_CHARACTERS) -> str:
            shown = self._mask.hide(str(value))
            shown = shown if len(shown) <= most else shown[:most] + "…"
            return shown.encode("utf-8", "backslashreplace").decode()

        clean: ErrorInfo = {
            "type": text(error["type"], 200),
            "message": text(error["message"]),
            "line": error.get("line"),
        }
        lines = error.get("traceback") or []
        if lines:
            clean["traceback"] = [text(line, 2000) for line in lines[:_MAX_TRACEBACK_LINES]]
        return clean


def _params_error(text: str, error: ErrorInfo | None) -> ErrorInfo:
    if error is None:
        return {"type": PARAMS_INVALID, "message": text, "line": None}
    # The script had failed already: that stays the error, and this is why no edit counts.
    return {**error, "message": f"{error['message']} (its edits don't count: {text})"}
