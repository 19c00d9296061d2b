"""kopf, the operator's shell: login, and the watches of definitions.

What comes in numbers (runs, task runs, Jobs, pods) is watched by our own informers: kopf's handling
of one event costs more than a millisecond of CPU. docs/decisions/ says more.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kopf

from xaas_operator.handlers import pipelines, pipelinetasks
from xaas_operator.readiness import Readiness


async def run_shell(
    readiness: Readiness,
    kubeconfig: Path | None,
    identity: str,
    take_signals: Callable[[], object],
) -> None:
    """Run kopf until cancelled. `take_signals` takes the process's signals back from it."""
    registry = kopf.OperatorRegistry()
    _log_in(registry, kubeconfig)
    pipelinetasks.register(registry, readiness)
    pipelines.register(registry, readiness)
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            kopf.operator(
                registry=registry,
                settings=_settings(),
                standalone=True,
                clusterwide=True,
                # By itself it would look for the name of a user, whom an image need not have.
                identity=identity,  # type: ignore[arg-type]
                ready_flag=ready,
            )
        )
        # It would keep SIGTERM to itself, and end alone.
        await ready.wait()
        take_signals()


def _log_in(registry: kopf.OperatorRegistry, kubeconfig: Path | None) -> None:
    if kubeconfig is None:
        kopf.on.login(registry=registry)(_as_service_account)
    else:
        os.environ["KUBECONFIG"] = str(kubeconfig)  # the only way to tell kopf
        kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)


def _as_service_account(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """As the pod's account, at the address that the pod was given: kopf by itself looks for a name,
    so that without a name service the operator would end again and again."""
    found: kopf.ConnectionInfo | None = kopf.login_with_service_account(settings=settings)
    if found is None:
        return None
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    address = f"[{host}]" if ":" in host else host
    return replace(found, server=f"https://{address}:{port}")


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # replicas agree by a Lease
    settings.posting.enabled = False  # our own events tell more
    settings.scanning.disabled = True  # the kinds are there, or nothing works
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 15.0
    settings.queueing.error_delays = (1, 1, 2, 3, 5)  # seconds; a handler must not wait for minutes
    return settings
