"""PipelineTasks."""

from typing import Any

import kopf

from xaas_core.ports import Kind
from xaas_kube.words import GROUP, VERSION, Resource
from xaas_operator.readiness import Readiness


def register(registry: kopf.OperatorRegistry, readiness: Readiness) -> None:
    """Have every change to one looked at."""

    @kopf.on.event(GROUP, VERSION, Resource.TASKS.value, registry=registry)
    async def changed(body: kopf.Body, **_: Any) -> None:
        readiness.changed(Kind.TASK, dict(body))
