"""Putting runs aside when they are over, and taking them back.

A run that is over gets a label that takes it, and its task runs, out of the operator's watches: the
past costs nothing. Its value is the run's own uid, in short, and the generation that was seen then. Of
runs put aside the operator watches the metadata only, and only to see whether somebody wants something
of one after all (a rollback, with kubectl or by REST): another generation is a wish that came later, and
another uid a copy that was never put aside at all.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final
from weakref import WeakValueDictionary

from xaas_core.admission import Refused
from xaas_core.ports import NotFound, StoreError
from xaas_kube import run_objects
from xaas_kube.client import METADATA, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.informer import Informer
from xaas_kube.records import Records
from xaas_kube.run_index import KnownRun
from xaas_kube.runs import Runs, list_all
from xaas_kube.words import FINALIZER, Label, Resource, path

AT_ONCE: Final = 8
"""Labels of task runs that are written at once: the live runs come first."""

AGAIN: Final = 2.0
"""Seconds until a run is tried again that couldn't be taken back."""

TIDY_EVERY: Final = 60.0
"""Seconds between looks for records that were left in the watch; they are rare, and do no harm."""

log = logging.getLogger(__name__)


class Retirement:
    """Puts runs aside and takes them back; the sink of the informer of those put aside.

    The run goes first, and comes back last: one that isn't put aside has all its records in the
    operator's watch, wherever a crash comes. What is left then of one that is, `tidy` puts aside.
    """

    def __init__(self, client: KubeClient, runs: Runs, records: Records) -> None:
        self._client = client
        self._runs = runs
        self._records = records
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._places: dict[str, tuple[str, str]] = {}
        self._wanted: dict[str, tuple[str, str]] = {}
        self._leads = False
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._few = asyncio.Semaphore(AT_ONCE)
        runs.elsewhere = self._places.get
        self.informer = Informer(
            client, path(Resource.RUNS, None), self, Label.OVER.value, metadata_only=True
        )

    def _lock(self, uid: str) -> asyncio.Lock:
        """One thing at a time for each run."""
        return self._locks.setdefault(uid, asyncio.Lock())

    async def retire(self, known: KnownRun) -> None:
        """Put a run aside, and let go of it. Raises Conflict if it was written meanwhile."""
        patch: Json = {
            "metadata": {
                # Guarded: a wish that comes now must not be taken for one that was seen.
                "resourceVersion": str(known.version),
                "labels": {Label.OVER.value: _mark(known.uid, known.generation)},
                "finalizers": list(known.others),
            }
        }
        async with self._lock(known.uid):
            with contextlib.suppress(NotFound):
                retired = await self._runs.patch(known.uid, patch)
                self._places[known.uid] = (known.namespace, known.name)
                self._runs.informer.forget(known.uid, int(retired["metadata"]["resourceVersion"]))
            # Those that are seen: one that isn't (a watch that is dead) is put aside by `tidy`.
            await self._label_all(self._records.cache.items(known.uid), "true")

    async def tidy(self) -> None:
        """Take back what is wanted, and put aside what was left behind. The leader's, until cancelled.

        One replica takes a run back, and it is the one that decides about it: its own memory then has
        all records before it has the run.
        """
        self._leads = True
        for uid, place in self._wanted.items():
            self._begin(uid, place)
        while True:
            for uid in self._records.cache.runs():
                try:
                    await self._tidy(uid)
                except StoreError as error:
                    log.warning("records of the run %s can't be put aside yet: %s", uid, error)
            await asyncio.sleep(TIDY_EVERY)

    async def _tidy(self, uid: str) -> None:
        async with self._lock(uid):
            place = self._places.get(uid)
            if place is None:
                return
            with translated("run"):
                run = await self._client.get(path(Resource.RUNS, *place), accept=METADATA)
            meta = run["metadata"]
            if meta["uid"] == uid and Label.OVER in (meta.get("labels") or {}):
                await self._label_all(self._records.cache.items(uid), "true")

    async def revive(self, uid: str, namespace: str, name: str) -> None:
        """Take a run back of which somebody wants something now."""
        async with self._lock(uid):
            await self._revive(namespace, name)

    async def _revive(self, namespace: str, name: str) -> None:
        where = path(Resource.RUNS, namespace, name)
        with translated(f"PipelineRun {name!r}"):
            item = await self._client.get(where)
        if not _is_wanted(item["metadata"]):
            return  # another one took it back already, and nothing is wanted of it any more
        uid = item["metadata"]["uid"]
        selector = f"{Label.RUN}={uid}"
        records = await list_all(self._client, path(Resource.TASK_RUNS, namespace), selector)
        await self._label_all(records, None)
        # Its records are in the memory, all of them, before anybody decides about it.
        for record in await list_all(self._client, path(Resource.TASK_RUNS, namespace), selector):
            self._records.informer.tell(record)
        self._records.cache.complete(uid)
        metadata: Json = {
            "uid": uid,
            # Guarded: others may hold on to it, too, from now on, or let go of it.
            "resourceVersion": item["metadata"]["resourceVersion"],
            "labels": {Label.OVER.value: None},
        }
        if "deletionTimestamp" not in item["metadata"]:  # then none can be added
            metadata["finalizers"] = [*run_objects.finalizers_of_others(item), FINALIZER]
        patch = {"metadata": metadata}
        with translated(f"PipelineRun {name!r}"):
            self._runs.tell(await self._client.patch(where, patch))

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        meta = item["metadata"]
        uid = meta["uid"]
        place = self._places[uid] = (meta["namespace"], meta["name"])
        if not _is_wanted(meta):
            self._wanted.pop(uid, None)
            return
        self._wanted[uid] = place
        if self._leads:
            self._begin(uid, place)

    def gone(self, uid: str) -> None:
        """See `informer.Sink`. Deleted, or taken back."""
        self._places.pop(uid, None)
        self._wanted.pop(uid, None)

    def _begin(self, uid: str, place: tuple[str, str]) -> None:
        if uid not in self._under_way:
            task = asyncio.create_task(self._take_back(uid, *place))
            self._under_way[uid] = task
            task.add_done_callback(lambda _: self._under_way.pop(uid, None))

    async def _take_back(self, uid: str, namespace: str, name: str) -> None:
        while True:
            try:
                await self.revive(uid, namespace, name)
                return
            except NotFound:
                return
            except (StoreError, Refused) as error:
                log.warning("the run %s/%s can't be taken back yet: %s", namespace, name, error)
                await asyncio.sleep(AGAIN)

    async def _label_all(self, items: Sequence[Json], value: str | None) -> None:
        await asyncio.gather(*(self._label(item, value) for item in items))

    async def _label(self, item: Json, value: str | None) -> None:
        async with self._few:
            await self._label_one(item, value)

    async def _label_one(self, item: Json, value: str | None) -> None:
        meta = item["metadata"]
        where = path(Resource.TASK_RUNS, meta["namespace"], meta["name"])
        patch = {"metadata": {"uid": meta["uid"], "labels": {Label.OVER.value: value}}}
        with contextlib.suppress(NotFound), translated("task run"):
            await self._client.patch(where, patch)


def _is_wanted(meta: Json) -> bool:
    """Whether a run that was put aside has been given a wish since then."""
    retired = (meta.get("labels") or {}).get(Label.OVER)
    wish = retired is not None and retired != _mark(meta["uid"], int(meta.get("generation") or 0))
    held = "deletionTimestamp" in meta and FINALIZER in (meta.get("finalizers") or ())
    return held or (wish and "deletionTimestamp" not in meta)


def _mark(uid: str, generation: int) -> str:
    """The label's value on a run that was put aside when it had this generation."""
    return f"{uid[:8]}-{generation}"
