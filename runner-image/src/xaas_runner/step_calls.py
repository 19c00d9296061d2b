"""What one step and the gateway say to each other: begin, wait, finish.

Imports little, so that a process can ask to begin first, and import the sandbox meanwhile.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from xaas_runner.contract import (
    BEGIN_PATH,
    FINISH_PATH,
    WAIT_PATH,
    Answer,
    BeginAnswer,
    BeginCall,
    ErrorInfo,
    FinishCall,
    Outcome,
    WaitCall,
)
from xaas_runner.gateway_client import GatewayClient
from xaas_runner.stopping import Left, Phase, Stopper

PATIENCE_MS: Final = 20_000
"""How long the gateway may hold a `wait`."""

RUNNER_ERROR: Final = "RunnerError"
"""Error type where the runner itself failed, after begin."""

LEFT: Final = 143
"""Exit code of a step that was stopped (SIGTERM) before it began."""

_LEAST_PAUSE_S: Final = 0.1


class Order(NamedTuple):
    """What a process needs to know to run a step. `runner` names the process to the gateway;
    `max_wait`: seconds that it waits before its turn is certain."""

    gateway: str
    token: str
    step: int
    secrets: Mapping[str, str]
    runner: str = ""
    max_wait: float = math.inf


class StepCalls:
    """Speaks for the step of an order. From the main thread, once: the step's signals are ours from
    here on. Raises Left if one has come."""

    def __init__(self, order: Order) -> None:
        self.step = order.step
        self.gateway = GatewayClient(order.gateway, order.token)
        self.stopper = Stopper()
        self.was_idle = False
        self._order = order
        self._nonce = os.urandom(16).hex()
        self._asked: Callable[[], tuple[BeginAnswer, float]] | None = None
        self._begun_at = 0.0
        self._started_at = time.monotonic()
        self.stopper.install()

    def ask(self) -> None:
        """Ask to begin, and return at once. A stop is only noted until `begin` has the answer."""
        self.stopper.phase = Phase.BEGINNING
        self._asked = self._ask()

    def begin(self) -> BeginAnswer | None:
        """Return begin's `go`, or None when told to leave. Raises Refused; Left when stopped before.

        Mostly it is this step's turn already, so it asks to begin first and waits only if told to.
        """
        while True:
            # From here on a stop is only noted: whether the step has begun is known when the
            # answer is here.
            self.stopper.phase = Phase.BEGINNING
            asked, self._asked = self._asked or self._ask(), None
            answer, age = asked()
            # A script's time is counted from when the answer came, be it read later.
            self._begun_at = time.monotonic() - age
            decision: str = answer["answer"]
            if decision == Answer.GO:
                return answer
            if decision == Answer.LEAVE:
                return None
            self.stopper.phase = Phase.WAITING
            if self.stopper.cause is not None:
                raise Left
            if not self._may_begin():
                return None

    def elapsed_ms(self) -> int:
        """Milliseconds since begin was answered."""
        return int((time.monotonic() - self._begun_at) * 1000)

    def failed(self, error: ErrorInfo | None, elapsed_ms: int | None = None) -> FinishCall:
        """What to finish with if the step has failed, without changes."""
        return {
            "step": self.step,
            "nonce": self._nonce,
            "outcome": Outcome.FAILED.value,
            "elapsed_ms": self.elapsed_ms() if elapsed_ms is None else elapsed_ms,
            "delta": [],
            "error": error,
            "terminated": False,
        }

    def finish(self, call: FinishCall, *, apart: bool = False) -> bool:
        """Report the outcome; the answer is whether another step follows, as far as is known. Raises
        Refused. `apart`: by a connection of its own, for others may be in the middle of something."""
        gateway = self._apart() if apart else self.gateway
        return gateway.call(FINISH_PATH, call).get("next") is not False

    def _ask(self) -> Callable[[], tuple[BeginAnswer, float]]:
        call: BeginCall = {
            "step": self.step,
            "nonce": self._nonce,
            "runner": self._order.runner or f"pid-{os.getpid()}",
        }
        return self.gateway.ask(BEGIN_PATH, call)

    def _may_begin(self) -> bool:
        patience_ms = int(min(PATIENCE_MS, 1000 * self._order.max_wait))
        call: WaitCall = {"step": self.step, "patience_ms": patience_ms}
        while True:
            since = time.monotonic()
            answer = self.gateway.call(WAIT_PATH, call, held_s=patience_ms / 1000)
            decision = answer.get("answer")
            if "token" in answer:
                self.was_idle = True
                self.gateway.become(answer["token"])
            if decision in (Answer.GO, Answer.LEAVE):
                return bool(decision == Answer.GO)
            if answer.get("early") and time.monotonic() - self._started_at > self._order.max_wait:
                return False
            if time.monotonic() - since < _LEAST_PAUSE_S:
                time.sleep(_LEAST_PAUSE_S)

    def _apart(self) -> GatewayClient:
        on_trouble = self.gateway.on_trouble
        return GatewayClient(self._order.gateway, self.gateway.token, on_trouble=on_trouble)
