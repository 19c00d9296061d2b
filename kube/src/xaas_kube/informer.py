"""An informer: tells of every object of a list, and of every change to one, for ever.

Theory of operation. First all objects are listed, page by page; then a watch tells what happens from
the list's version on. A watch may end, die silently, repeat itself or be too old; whatever happens,
the informer lists again if it must, and *compares*: what vanished while nobody looked is told, too.
So its sink hears of every object's newest state in the end, though not of every state before, and
never of an older one after a newer one.

What is listed may be less than what is watched (`Scope`): objects that are many and never change any
more needn't be listed, and a watch without a selector tells of each change to the others all the same.

Resource versions are compared as numbers: that is how etcd counts them, and Kubernetes has promised
it since 1.35.
"""

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Protocol

from xaas_kube.client import (
    JSON,
    METADATA,
    METADATA_LIST,
    ApiError,
    Json,
    KubeClient,
    Unreachable,
)

PAGE: Final = 500
"""Objects of one page of a list."""

WATCH_SECONDS: Final = 300
"""A watch is renewed after this long; cheap, and finds out what went wrong."""

QUIET: Final = 100.0
"""Seconds without any event, bookmarks included (one a minute), after which a watch is dead."""

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
"""Seconds until the next try after a failure; doubled each time, with jitter."""

REMEMBERED: Final = 10_000
"""Objects that are gone and known as such."""

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Who is told. Called from the event loop, one call at a time."""

    def seen(self, item: Json) -> None:
        """An object is new, or has changed: this is its newest state."""

    def gone(self, uid: str) -> None:
        """An object is gone."""


@dataclass(frozen=True)
class Scope:
    """What is to be listed: what label selectors select, one list for each (None: everything).

    `expected`: uids of objects that are known and must be in these lists, or else are gone. `since`: the
    resource version from which to watch, if it isn't that of the first list. `told` is called when all
    that was listed has been told.
    """

    selectors: Sequence[str | None]
    expected: AbstractSet[str]
    since: str = ""
    told: Callable[[], None] = lambda: None


class Informer:
    """Lists and watches `path`; `selector` is a label selector. `run` it as a task.

    `metadata_only`: of each object only its metadata is asked for. `scope`, if there is one, says what
    is listed, and everything is watched.
    """

    def __init__(
        self,
        client: KubeClient,
        path: str,
        sink: Sink,
        selector: str | None = None,
        *,
        metadata_only: bool = False,
        scope: Callable[[], Awaitable[Scope]] | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._sink = sink
        self._selector = selector
        self._scope = self._all if scope is None else scope
        self._accept = (METADATA_LIST, METADATA) if metadata_only else (JSON, JSON)
        self._versions: dict[str, int] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._at = ""  # the version that the watch has got to
        self._listing = asyncio.Lock()
        self.synced = asyncio.Event()
        """Set when the first list was told."""

    @property
    def version(self) -> int:
        """Everything up to this resource version was told."""
        return int(self._at or 0)

    async def run(self) -> None:
        """Inform until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not self._at:
                    await self._list()
                await self._watch()
                pause = FIRST_PAUSE
            except (ApiError, Unreachable) as error:
                if isinstance(error, ApiError) and error.code == 410:
                    log.info("%s: the watch is too old, listing again", self._path)
                    self._at = ""
                    continue
                wish = error.retry_after if isinstance(error, ApiError) else None
                log.warning("%s: %s; again in %.1f s", self._path, error, wish or pause)
                await asyncio.sleep(wish or pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE)

    async def until_synced(self, running: "asyncio.Task[None]") -> None:
        """Wait for the first list; `running` is the task of `run`, whose error is raised."""
        synced = asyncio.create_task(self.synced.wait())
        await asyncio.wait({synced, running}, return_when=asyncio.FIRST_COMPLETED)
        synced.cancel()
        if running.done():
            running.result()

    async def refresh(self) -> None:
        """List now, and tell what the watch may not have told yet. Raises ApiError, Unreachable."""
        await self._list()

    def tell(self, item: Json) -> bool:
        """Tell of an object that was just written: its watch event then is no news.

        False if this, or something newer, was told before.
        """
        uid, version = _identity(item)
        if max(self._versions.get(uid, -1), self._gone.get(uid, -1)) >= version:
            return False
        self._versions[uid] = version
        self._gone.pop(uid, None)
        item["metadata"].pop("managedFields", None)  # a third of an object, and of no use here
        try:
            self._sink.seen(item)
        except Exception:  # whatever is wrong with one object, the others are told of
            log.exception("%s: %s can't be understood", self._path, item["metadata"].get("name"))
            self.release(uid)
        return True

    def forget(self, uid: str, version: int) -> None:
        """Tell that an object is gone since `version`, if that wasn't told yet."""
        # The answer to a write of before may be still on its way: it must not bring it back.
        self._gone[uid] = version
        self._gone.move_to_end(uid)
        if len(self._gone) > REMEMBERED:
            self._gone.popitem(last=False)
        if self._versions.pop(uid, None) is not None:
            self._sink.gone(uid)

    def release(self, uid: str) -> None:
        """Let go of an object that is there still; the sink isn't told. It may be told of again."""
        self._versions.pop(uid, None)

    async def _all(self) -> Scope:
        return Scope((self._selector,), set(self._versions))

    async def _list(self) -> None:
        async with self._listing:
            await self._list_all(await self._scope())

    async def _list_all(self, scope: Scope) -> None:
        # What was known before the lists began, and isn't in them, is gone. (What was written meanwhile
        # may not be in them either, and is there all the same.)
        since, listed = scope.since, set[str]()
        for selector in scope.selectors:
            version = await self._list_selected(selector, listed)
            since = since or version
        self._at = since
        for uid in scope.expected - listed:
            self.forget(uid, self.version)
        scope.told()
        self.synced.set()

    async def _list_selected(self, selector: str | None, listed: set[str]) -> str:
        """Tell of one list, and note who is in it; the answer is its version."""
        params: dict[str, Any] = {"limit": PAGE, "labelSelector": selector}
        while True:
            page = await self._client.get(self._path, params, self._accept[0])
            for item in page["items"] or ():  # null, where an empty list of metadata is meant
                listed.add(item["metadata"]["uid"])
                self.tell(item)
            params["continue"] = page["metadata"].get("continue")
            if not params["continue"]:
                return str(page["metadata"]["resourceVersion"])

    async def _watch(self) -> None:
        params = {
            "labelSelector": self._selector,
            "resourceVersion": self._at,
            "allowWatchBookmarks": True,
            "timeoutSeconds": WATCH_SECONDS,
        }
        async for event in self._client.watch(self._path, params, QUIET, self._accept[1]):
            self._take(event["type"], event["object"])

    def _take(self, kind: str, item: Json) -> None:
        if kind == "ERROR":
            code = int(item.get("code") or 500)
            raise ApiError(
                code, str(item.get("reason")), str(item.get("message")), item.get("details")
            )
        self._at = item["metadata"]["resourceVersion"]
        if kind == "DELETED":
            # Of a selector: it may merely not be selected any more.
            self.forget(*_identity(item))
        elif kind != "BOOKMARK":
            self.tell(item)


def _identity(item: Json) -> tuple[str, int]:
    meta: Mapping[str, Any] = item["metadata"]
    return meta["uid"], int(meta["resourceVersion"])
