"""Plans on Kubernetes: written once, read often, never changed."""

import json
from collections import OrderedDict
from typing import Final

from xaas_core.engine.plan import Plan
from xaas_core.ports import AlreadyExists, Conflict, NotFound
from xaas_kube import plan_objects
from xaas_kube.client import KubeClient
from xaas_kube.errors import translated
from xaas_kube.names import plan_name
from xaas_kube.run_index import KnownRun
from xaas_kube.words import revisions

KEPT: Final = 16 * 1024 * 1024
"""Characters of plans that are kept decoded, the most recently used."""


class Plans:
    """The plans of runs."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._kept: OrderedDict[str, tuple[Plan, int]] = OrderedDict()
        self._size = 0

    async def read(self, known: KnownRun) -> Plan | None:
        """The plan of a run; None if it isn't made yet."""
        kept = self._kept.get(known.uid)
        if kept is not None:
            self._kept.move_to_end(known.uid)
            return kept[0]
        try:
            with translated("plan"):
                item = await self._client.get(revisions(known.namespace, plan_name(known.uid)))
        except NotFound:
            return None
        plan = plan_objects.read(item)
        self._keep(known.uid, plan, len(json.dumps(item["data"])))
        return plan

    async def write(self, known: KnownRun, plan: Plan) -> None:
        """Make the plan of a run. Raises Conflict if it is made already."""
        body = plan_objects.new({"metadata": known.metadata}, plan)
        try:
            with translated("plan"):
                item = await self._client.create_plainly(revisions(known.namespace), body)
        except AlreadyExists:
            raise Conflict("the run is planned already") from None
        self._keep(known.uid, plan, len(json.dumps(item["data"])))

    def _keep(self, uid: str, plan: Plan, size: int) -> None:
        _, before = self._kept.get(uid, (None, 0))  # read by two at a time
        self._kept[uid] = (plan, size)
        self._size += size - before
        while self._size > KEPT and len(self._kept) > 1:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._size -= dropped
