"""A step that is a container of its own: everything it needs to know is in its environment.

It asks to begin before anything else: while the gateway answers, what a step needs is imported. (Not where
that may take more memory than there is: of what can't run, no step shall begin.) Then the environment is
emptied, the process is locked down, and from there on it is a step like any other (`step`).
"""

import gc
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from xaas_runner import cgroup
from xaas_runner.contract import LAST_EXIT, Environment
from xaas_runner.gateway_client import Refused
from xaas_runner.step_calls import LEFT, RUNNER_ERROR, Order, StepCalls
from xaas_runner.stopping import Left

if TYPE_CHECKING:
    from xaas_runner.step import Step

IMPORTS_BYTES: Final = 24 * 1024 * 1024
"""More than all that is imported takes."""


def main() -> int:
    """Run the step that the environment names (contract.Environment); return an exit code."""
    sys.set_int_max_str_digits(0)
    try:
        order = _order_from_environment()
        calls = StepCalls(order)
        memory = cgroup.container_memory()
        if memory is None or memory > IMPORTS_BYTES:
            calls.ask()
    except (KeyError, ValueError, OSError) as error:
        sys.stderr.write(f"this container isn't a step: {type(error).__name__}: {error}\n")
        return 64
    except Left:
        return LEFT
    try:
        return _run(order, calls)
    except Left:
        return LEFT


def _run(order: Order, calls: StepCalls) -> int:
    """Run the step. Raises Left."""
    try:
        step = _prepared(order, calls)
    except Exception as defect:  # noqa: BLE001 - the step has begun, perhaps: it is told why it fails
        return _give_up(calls, defect)
    code = step.run()
    return 0 if code == LAST_EXIT else code  # to whoever runs containers, 0 alone is in order


def _prepared(order: Order, calls: StepCalls) -> "Step":
    """Import what runs a step, and lock the process down."""
    from xaas_runner import lockdown
    from xaas_runner.seccomp import Network
    from xaas_runner.step import Step

    gc.freeze()
    gc.enable()
    lockdown.forget_environment()
    lockdown.lock_down(
        lockdown.Limits(memory_bytes=cgroup.container_memory()),
        # The boundary is the pod's network policy; libraries in a task's image may need UDP.
        network=Network.INTERNET,
    )
    return Step(order, calls)


def _give_up(calls: StepCalls, defect: Exception) -> int:
    """Of a process that can't run a step: tell so if it has begun one. Raises Left."""
    message = f"this image can't run a step: {type(defect).__name__}: {defect}"
    sys.stderr.write(f"{message}\n")
    try:
        if calls.begin() is not None:
            calls.finish(calls.failed({"type": RUNNER_ERROR, "message": message}))
    except Refused:
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
