"""Runs that were put aside: over, and out of the operator's watches.

Of these the operator watches the metadata only, and only to see whether somebody wants something of
one after all (a rollback, with kubectl or by REST). A run is put aside with the generation that was
seen then as the value of its label: a greater one is a wish that came later.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from xaas_core.ports import NotFound, StoreError
from xaas_kube.client import Json, KubeClient
from xaas_kube.informer import Informer
from xaas_kube.words import Label, Resource, path

AGAIN: Final = 2.0
"""Seconds until a run is tried again that couldn't be taken back."""

log = logging.getLogger(__name__)


class RetiredRuns:
    """The sink of the informer of retired runs' metadata. `revive(namespace, name)` takes one back."""

    def __init__(self, client: KubeClient, revive: Callable[[str, str], Awaitable[None]]) -> None:
        self._revive = revive
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self.informer = Informer(
            client, path(Resource.RUNS, None), self, Label.OVER.value, metadata_only=True
        )

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        meta = item["metadata"]
        if str(meta.get("generation", "")) == meta["labels"].get(Label.OVER):
            return
        if "deletionTimestamp" in meta or meta["uid"] in self._under_way:
            return
        task = asyncio.create_task(self._take_back(meta["namespace"], meta["name"]))
        self._under_way[meta["uid"]] = task
        task.add_done_callback(lambda _: self._under_way.pop(meta["uid"], None))

    def gone(self, uid: str) -> None:
        """See `informer.Sink`. Deleted, or taken back."""

    async def _take_back(self, namespace: str, name: str) -> None:
        while True:
            try:
                await self._revive(namespace, name)
                return
            except NotFound:
                return
            except StoreError as error:
                log.warning("the run %s/%s can't be taken back yet: %s", namespace, name, error)
                await asyncio.sleep(AGAIN)
