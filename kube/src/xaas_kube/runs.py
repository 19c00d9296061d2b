"""One run's object: found by its uid, read live, written guarded.

The API server wants a namespace and a name; a run is asked for by its uid. The informer's memory
knows both, and is told of what was read and written here before its watch tells of it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from xaas_core.ports import Conflict, NotFound, Touch
from xaas_kube.client import JSON, METADATA, METADATA_LIST, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.feed import ChangeFeed
from xaas_kube.informer import PAGE, Informer
from xaas_kube.run_index import KnownRun, RunIndex, known_run
from xaas_kube.words import Label, Resource, path

NOT_OVER: Final = f"!{Label.OVER}"
"""Selects what wasn't put aside."""

CATCH_UP: Final = 0.015
CATCH_UP_PAUSE: Final = 0.003
"""Seconds, and seconds between looks, until a memory surely has what was written before."""

SLOWER: Final = 3
"""Where the API server takes longer to answer, so many times as long as that."""


class Runs:
    """The runs of the cluster; `live_only`: of them those that weren't put aside are watched."""

    def __init__(
        self,
        client: KubeClient,
        touched: Callable[[Touch], None],
        feed: ChangeFeed,
        *,
        live_only: bool,
    ) -> None:
        self._client = client
        self._live_only = live_only
        self.elsewhere: Callable[[str], tuple[str, str] | None] = lambda uid: None
        """Namespace and name of a run that was put aside, by its uid."""
        self.index = RunIndex(touched, feed, live_only=live_only)
        selector = NOT_OVER if live_only else None
        self.informer = Informer(client, path(Resource.RUNS, None), self.index, selector)

    def known(self, uid: str) -> KnownRun:
        """What is known of a run. Raises NotFound."""
        known = self.index.get(uid)
        if known is None:
            raise NotFound(f"there is no run {uid!r}")
        return known

    async def find(self, uid: str) -> KnownRun:
        """A run, also one that was put aside, or of which our watch hasn't told yet.

        Raises NotFound.
        """
        known = self.index.get(uid)
        return known if known is not None else known_run(await self.read(uid))

    async def read(self, uid: str) -> Json:
        """The object of a run, live. Raises NotFound."""
        item = await self._get(uid, JSON)
        self.tell(item)
        return item

    async def version(self, uid: str) -> str:
        """The version of a run's object, live, without all that it holds. Raises NotFound."""
        return str((await self._get(uid, METADATA))["metadata"]["resourceVersion"])

    async def _get(self, uid: str, accept: str) -> Json:
        namespace, name = await self._place(uid)
        try:
            with translated(f"run {uid!r}"):
                item = await self._client.get(path(Resource.RUNS, namespace, name), accept=accept)
        except NotFound:
            self._forget(uid)
            raise
        if item["metadata"]["uid"] != uid:
            self._forget(uid)
            raise NotFound(f"there is no run {uid!r}")
        return item

    def tell(self, item: Json) -> None:
        """Tell the informer of what was read or written, if it is one that is watched."""
        if not self._live_only or Label.OVER not in (item["metadata"].get("labels") or {}):
            self.informer.tell(item)

    async def _place(self, uid: str) -> tuple[str, str]:
        """Namespace and name of a run. Raises NotFound."""
        found = self._seen(uid)
        if found is None:
            await self.catch_up(Resource.RUNS, None, self.informer)
            found = self._seen(uid) or await self._look_for(uid)
        if found is None:
            raise NotFound(f"there is no run {uid!r}")
        return found

    async def _look_for(self, uid: str) -> tuple[str, str] | None:
        """Where a run lies of which the watch hasn't told: a watch can be dead for a minute.

        A runner that is told that its run is gone would drop its result.
        """
        for item in await list_all(self._client, path(Resource.RUNS, None), accept=METADATA_LIST):
            if item["metadata"]["uid"] == uid:
                return (item["metadata"]["namespace"], item["metadata"]["name"])
        return None

    def _seen(self, uid: str) -> tuple[str, str] | None:
        known = self.index.get(uid)
        return self.elsewhere(uid) if known is None else (known.namespace, known.name)

    def _forget(self, uid: str) -> None:
        known = self.index.get(uid)
        if known is not None:
            self.informer.forget(uid, known.version)

    async def patch(self, uid: str, patch: Json) -> Json:
        """Change a run's object by a merge patch. Raises NotFound, Conflict."""
        namespace, name = await self._place(uid)
        # The uid is a guard: an object of the same name isn't this run.
        guarded = {**patch, "metadata": {**patch.get("metadata", {}), "uid": uid}}
        with translated(f"run {uid!r}"):
            item = await self._client.patch(path(Resource.RUNS, namespace, name), guarded)
        self.tell(item)
        return item

    async def current(self, uid: str, version: str) -> KnownRun:
        """The run, if it is in the version `version`, as far as is known. Raises Conflict, NotFound."""
        if self.index.get(uid) is None:
            await self.read(uid)
        known = self.known(uid)
        if str(known.version) != version:
            raise Conflict(f"the run {uid} was written meanwhile")
        return known

    async def catch_up(self, resource: Resource, namespace: str | None, informer: Informer) -> None:
        """Wait until an informer has surely told what was written before, by whomever.

        The API server answers this list once its own memory has every write until now; the watch of
        the same memory then has it, too, and only has to arrive. Whether it has can't be seen where
        the newest write was one of something else, so there is an end to waiting.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        with translated(resource):
            found = await self._client.get(
                path(resource, namespace), {"fieldSelector": "metadata.name=-"}, METADATA_LIST
            )
        wanted = int(found["metadata"]["resourceVersion"])
        now = loop.time()
        end = now + max(CATCH_UP, SLOWER * (now - asked))
        while informer.version < wanted and loop.time() < end:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(CATCH_UP_PAUSE)

    async def all(self) -> list[Json]:
        """The objects of all runs there are, live."""
        return await list_all(self._client, path(Resource.RUNS, None))


async def list_all(
    client: KubeClient, where: str, selector: str | None = None, accept: str = JSON
) -> list[Json]:
    """All objects of a list, page by page."""
    params: dict[str, Any] = {"limit": PAGE, "labelSelector": selector}
    items: list[Json] = []
    while True:
        with translated("list"):
            found = await client.get(where, params, accept)
        items += found["items"] or ()  # null, where an empty list of metadata is meant
        params["continue"] = found["metadata"].get("continue")
        if not params["continue"]:
            return items
