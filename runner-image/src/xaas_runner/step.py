"""One step: wait for its turn, begin, run the script, report how it ended.

    begin   recorded there before a line of the script runs; the answer holds script and params
    wait    if told to: held open by the gateway until it is this step's turn; then begin again
    script  in the sandbox, under `Stopper`'s eye
    finish  outcome, changes to params, error: offered until the gateway has answered

The report is built after the script has ended, from values only, by this module alone: neither an
exit code nor anything the script prints has a say in it. A script that was stopped from outside
reports no changes; one that raised reports those it had made.

`run_step` serves a process that is prepared already: forked by `warm`, or a container's
(`container`). Its exit code is a hint only: 0 when the outcome was recorded or the step was told
to leave, LAST_EXIT when it was recorded and no step follows, LEFT when it was stopped before it
began.
"""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from xaas_runner import lockdown
from xaas_runner.child_runs import Children, PipelineRuns, SDKRunners
from xaas_runner.contract import (
    BEGIN_PATH,
    FINISH_PATH,
    LAST_EXIT,
    MAX_DELTA_WEIGHT,
    MAX_MESSAGE_BYTES,
    WAIT_PATH,
    Answer,
    BeginAnswer,
    BeginCall,
    Bundle,
    DeltaOp,
    ErrorInfo,
    FinishCall,
    Outcome,
    WaitCall,
    weight,
)
from xaas_runner.gateway_client import GatewayClient, Refused
from xaas_runner.params import NotJson, bundled, changes, plain, to_text
from xaas_runner.script_objects import Error, Logger, ScriptContext, Secrets
from xaas_runner.script_run import ScriptRun, named, redirect_messages
from xaas_runner.step_log import Mask, StepLog
from xaas_runner.stopping import MESSAGES, Cause, Left, Phase, Stopped, Stopper

PATIENCE_MS: Final = 20_000
"""How long the gateway may hold a `wait`."""

LEFT: Final = 143
"""Exit code of a step that was stopped (SIGTERM) before it began."""

LINGER_S: Final = 0.5
"""How long a process stays that waited for its work, once that is recorded. A container's end costs its
node more CPU than a short step does: it is to come after those steps that are begun at this moment."""

PARAMS_INVALID: Final = "ParamsInvalid"
"""Error type where a script left params that can't be recorded."""

RUNNER_ERROR: Final = "RunnerError"
"""Error type where the runner itself failed, after begin."""

_TOO_MANY: Final = "has more and deeper edits than fit a message"
_LEAST_PAUSE_S: Final = 0.1
_MAX_ERROR_CHARACTERS: Final = 16 * 1024
_MAX_TRACEBACK_LINES: Final = 100
_ROOM_FOR_DELTA: Final = MAX_MESSAGE_BYTES - 1024 * 1024  # in a finish message, beside the error


class Order(NamedTuple):
    """What a process needs to know to run a step. `runner` names the process to the gateway;
    `max_wait`: seconds that it waits before its turn is certain."""

    gateway: str
    token: str
    step: int
    secrets: Mapping[str, str]
    runner: str = ""
    max_wait: float = math.inf


def run_step(order: Order) -> int:
    """Run the step in this process; return an exit code. From the main thread, once."""
    sys.set_int_max_str_digits(0)
    stopper = Stopper()
    try:
        stopper.install()
        return _Step(order, stopper).run()
    except Left:
        return LEFT


class _Step:
    def __init__(self, order: Order, stopper: Stopper) -> None:
        self._order = order
        self._stopper = stopper
        self._nonce = os.urandom(16).hex()
        self._mask = Mask(order.secrets.values())
        self._log = StepLog(self._mask)
        self._gateway = self._client()
        self._was_idle = False
        self._begun_at = 0.0
        self._started_at = time.monotonic()
        redirect_messages(self._log)

    def _client(self, token: str = "") -> GatewayClient:
        return GatewayClient(
            self._order.gateway,
            token or self._order.token,
            on_trouble=lambda text: self._log.record("WARNING", text),
        )

    def run(self) -> int:
        """Run the step; return an exit code."""
        try:
            begun = self._begin()
        except Refused:
            return 0
        if begun is None:
            return 0
        try:
            finish = self._execute(begun)
        except Exception as defect:  # noqa: BLE001 - ours; a step that began is never lost by it
            self._stopper.end()
            finish = self._failed({"type": RUNNER_ERROR, "message": named(defect)})
        code = self._deliver(finish, self._gateway)
        if self._was_idle:
            time.sleep(LINGER_S)
        return code

    # --- before the script ---

    def _begin(self) -> BeginAnswer | None:
        """Return begin's `go`, or None when told to leave.

        Mostly it is this step's turn already, so it asks to begin first and waits only if told to.
        """
        call: BeginCall = {
            "step": self._order.step,
            "nonce": self._nonce,
            "runner": self._order.runner or f"pid-{os.getpid()}",
        }
        while True:
            # From here on a stop is only noted: whether the step has begun is known when the
            # answer is here.
            self._stopper.phase = Phase.BEGINNING
            answer: BeginAnswer = self._gateway.call(BEGIN_PATH, call)
            self._begun_at = time.monotonic()
            decision: str = answer["answer"]
            if decision == Answer.GO:
                return answer
            if decision == Answer.LEAVE:
                return None
            self._stopper.phase = Phase.WAITING
            if self._stopper.cause is not None:
                raise Left
            if not self._may_begin():
                return None

    def _may_begin(self) -> bool:
        patience_ms = int(min(PATIENCE_MS, 1000 * self._order.max_wait))
        call: WaitCall = {"step": self._order.step, "patience_ms": patience_ms}
        while True:
            since = time.monotonic()
            answer = self._gateway.call(WAIT_PATH, call, held_s=patience_ms / 1000)
            decision = answer.get("answer")
            if "token" in answer:
                self._was_idle = True
                self._gateway.become(answer["token"])
            if decision in (Answer.GO, Answer.LEAVE):
                return bool(decision == Answer.GO)
            if answer.get("early") and time.monotonic() - self._started_at > self._order.max_wait:
                return False
            if time.monotonic() - since < _LEAST_PAUSE_S:
                time.sleep(_LEAST_PAUSE_S)

    # --- the script ---

    def _execute(self, begun: BeginAnswer) -> FinishCall:
        # As text: the script edits the object itself.
        before = json.dumps(begun["params"])
        run = ScriptRun(self._log, begun, self._objects(begun))
        try:
            try:
                budget_ms = begun.get("budget_ms")
                self._stopper.begin(None if budget_ms is None else budget_ms / 1000, self._cut_off)
                run.go(self._stopper)
            except BaseException as error:  # noqa: BLE001 - whatever it raises, it has failed
                run.raised = error
            cause = self._stopper.end()
        except Stopped:
            cause = self._stopper.end()
        elapsed_ms = self._elapsed_ms()
        lockdown.release_headroom()
        if cause is not None:
            return self._stopped(cause, elapsed_ms)
        return self._ended(before, run, elapsed_ms)

    def _objects(self, begun: BeginAnswer) -> dict[str, Any]:
        children = Children(self._gateway, self._order.step, self._mask)
        return {
            "params": begun["params"],
            "logger": Logger(self._log),
            "context": ScriptContext(begun["context"]),
            "secrets": Secrets(self._order.secrets),
            "Error": Error,
            "PipelineRun": PipelineRuns(children),
            "SDKRunner": SDKRunners(children),
        }

    def _elapsed_ms(self) -> int:
        return int((time.monotonic() - self._begun_at) * 1000)

    # --- after the script ---

    def _ended(self, before: str, run: ScriptRun, elapsed_ms: int) -> FinishCall:
        error = self._clean(run.error()) if run.raised is not None else None
        try:
            delta = self._delta(before, run.params())
        except (NotJson, MemoryError) as trouble:
            delta = []
            text = str(trouble) or "params are too large for the step's memory limit"
            error = self._clean(_params_error(text, error))
        finish = self._failed(error, elapsed_ms)
        finish["delta"] = delta
        if error is None:
            finish["outcome"] = Outcome.SUCCEEDED.value
        return finish

    def _delta(self, before: str, params: Any) -> list[DeltaOp | Bundle]:
        """Return what changed. Raises NotJson for params that can't be recorded."""
        old, new = json.loads(before), plain(params)
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
        return {**self._failed(error, elapsed_ms), "terminated": True}

    def _failed(self, error: ErrorInfo | None, elapsed_ms: int | None = None) -> FinishCall:
        return {
            "step": self._order.step,
            "nonce": self._nonce,
            "outcome": Outcome.FAILED.value,
            "elapsed_ms": self._elapsed_ms() if elapsed_ms is None else elapsed_ms,
            "delta": [],
            "error": error,
            "terminated": False,
        }

    def _cut_off(self, cause: Cause) -> None:
        """Report and end the process: called from a signal handler, the script being anywhere."""
        # A connection of its own: the other one may be in the middle of something.
        client = self._client(self._gateway.token)
        os._exit(self._deliver(self._stopped(cause, self._elapsed_ms()), client))

    def _deliver(self, finish: FinishCall, gateway: GatewayClient) -> int:
        """Report the outcome; return the exit code."""
        self._log.close()
        try:
            answer = gateway.call(FINISH_PATH, finish)
        except Refused as refused:
            self._log.record("WARNING", f"the outcome wasn't taken: {refused}")
            return 0
        return LAST_EXIT if answer.get("next") is False else 0

    def _clean(self, error: ErrorInfo) -> ErrorInfo:
        """Return the error without secrets, without text that isn't Unicode, and not too long."""

        def text(value: object, most: int = _MAX_ERROR_CHARACTERS) -> str:
            shown = self._mask.hide(str(value)[: 2 * most])
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
