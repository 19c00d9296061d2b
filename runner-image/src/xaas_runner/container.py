"""A step that is a container of its own: everything it needs to know is in its environment.

It asks to begin before anything else: while the gateway answers, what a step needs is imported, the
environment is emptied, and the process is locked down. From there on it is a step like any other (`step`).
"""

import gc
import json
import os
import sys
from typing import TYPE_CHECKING

from xaas_runner.contract import LAST_EXIT, Environment
from xaas_runner.gateway_client import Refused
from xaas_runner.step_calls import RUNNER_ERROR, Order, StepCalls
from xaas_runner.stopping import Left

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Run the step that the environment names (contract.Environment); return an exit code."""
    try:
        order = _order_from_environment()
        calls = StepCalls(order)
    except (KeyError, ValueError, OSError) as error:
        sys.stderr.write(f"this container isn't a step: {type(error).__name__}: {error}\n")
        return 64
    try:
        run_step = _prepared()
    except Exception as defect:  # noqa: BLE001 - the step has begun, perhaps: it is told why it fails
        return _give_up(calls, defect)
    code = run_step(order, calls)
    return 0 if code == LAST_EXIT else code  # to whoever runs containers, 0 alone is in order


def _prepared() -> "Callable[[Order, StepCalls], int]":
    """Import what runs a step, and lock the process down."""
    from xaas_runner import lockdown
    from xaas_runner.seccomp import Network
    from xaas_runner.step import run_step

    gc.freeze()
    gc.enable()
    lockdown.forget_environment()
    lockdown.lock_down(
        lockdown.Limits(memory_bytes=lockdown.container_memory()),
        # The boundary is the pod's network policy; libraries in a task's image may need UDP.
        network=Network.INTERNET,
    )
    return run_step


def _give_up(calls: StepCalls, defect: Exception) -> int:
    """Of a process that can't run a step: tell it if it has begun one."""
    message = f"this image can't run a step: {type(defect).__name__}: {defect}"
    sys.stderr.write(f"{message}\n")
    try:
        if calls.begin() is not None:
            calls.finish(calls.failed({"type": RUNNER_ERROR, "message": message}))
    except (Refused, Left):
        pass
    return 64


def _order_from_environment() -> Order:
    secrets: dict[str, str] = {}
    folder = os.environ.get(Environment.SECRETS)
    names = json.loads(os.environ.get(Environment.SECRET_NAMES, "[]"))
    for number, name in enumerate(names):
        with open(os.path.join(folder or "", str(number)), encoding="utf-8", newline="") as file:
            secrets[name] = file.read()
    return Order(
        gateway=os.environ[Environment.GATEWAY],
        token=os.environ[Environment.TOKEN],
        step=int(os.environ[Environment.STEP]),
        secrets=secrets,
        runner=os.uname().nodename,
        max_wait=float(os.environ.get(Environment.MAX_WAIT, "inf")),
    )
