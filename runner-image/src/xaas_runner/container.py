"""A step that is a container of its own: everything it needs to know is in its environment.

The environment is read and emptied before anything else; then the process is locked down, and from
there on it is a step like any other (`step`).
"""

import json
import os
import sys

from xaas_runner import lockdown
from xaas_runner.contract import LAST_EXIT, Environment
from xaas_runner.seccomp import Network
from xaas_runner.step import Order, run_step


def main() -> int:
    """Run the step that the environment names (contract.Environment); return an exit code."""
    try:
        order = _order_from_environment()
    except (KeyError, ValueError, OSError) as error:
        sys.stderr.write(f"this container isn't a step: {type(error).__name__}: {error}\n")
        return 64
    lockdown.forget_environment()
    lockdown.lock_down(
        lockdown.Limits(memory_bytes=lockdown.container_memory()),
        # The boundary is the pod's network policy; libraries in a task's image may need UDP.
        network=Network.INTERNET,
    )
    code = run_step(order)
    return 0 if code == LAST_EXIT else code  # to whoever runs containers, 0 alone is in order


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
