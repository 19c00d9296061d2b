"""Putting runs aside when they are over, and taking them back.

A run that is over gets a label that takes it out of the operator's watches, and its task runs go with
it (`records.py`): the past costs nothing. Its value is the run's own uid, in short, and the generation
that was seen then. Of runs put aside the operator watches the metadata only, and only to see whether
somebody wants something of one after all (a rollback, with kubectl or by REST): another generation is a
wish that came later, and another uid a copy that was never put aside at all.
"""

import asyncio
import contextlib
import logging
from typing import Final
from weakref import WeakValueDictionary

from xaas_core.admission import Refused
from xaas_core.ports import NotFound, StoreError
from xaas_kube import run_objects
from xaas_kube.client import ApiError, Json, KubeClient, Unreachable
from xaas_kube.errors import translated
from xaas_kube.informer import Informer
from xaas_kube.records import Records
from xaas_kube.run_index import KnownRun, known_run
from xaas_kube.runs import Runs
from xaas_kube.words import FINALIZER, Label, Resource, path

AGAIN: Final = 2.0
"""Seconds until a run is tried again that couldn't be taken back."""

SWEEP_EVERY: Final = 60.0
"""Seconds between looks for records in memory whose run isn't there, twice in a row: a watch may tell
late of a record whose run was put aside just then."""

log = logging.getLogger(__name__)


class Retirement:
    """Puts runs aside and takes them back; the sink of the informer of those put aside.

    A run that comes back does so when all its records are in the memory of who takes it back, which is
    the leader.
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

    def lead(self) -> None:
        """Take back what is wanted, from now on.

        One replica takes a run back, and it is the one that decides about it: its own memory then has
        all records before it has the run.
        """
        self._leads = True
        for uid, place in self._wanted.items():
            self._begin(uid, place)

    async def sweep(self) -> None:
        """Let go of records that nobody needs, until cancelled."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            if self._unknown() & before:
                try:  # a watch may be dead that would tell of their runs
                    await self._runs.informer.refresh()
                except (ApiError, Unreachable) as error:
                    log.warning("the runs can't be listed: %s", error)
                    continue
            for uid in self._unknown() & before:
                self._records.let_go(uid)
            before = self._unknown()

    def _unknown(self) -> set[str]:
        """Runs that aren't there, nor being taken back, and of which there are records in memory."""
        kept = self._records.cache.runs() - self._under_way.keys()
        return {uid for uid in kept if self._runs.index.get(uid) is None}

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
        # Its records are in the memory, all of them, before anybody decides about it.
        await self._records.recall(known_run(item))
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


def _is_wanted(meta: Json) -> bool:
    """Whether a run that was put aside has been given a wish since then."""
    retired = (meta.get("labels") or {}).get(Label.OVER)
    wish = retired is not None and retired != _mark(meta["uid"], int(meta.get("generation") or 0))
    held = "deletionTimestamp" in meta and FINALIZER in (meta.get("finalizers") or ())
    return held or (wish and "deletionTimestamp" not in meta)


def _mark(uid: str, generation: int) -> str:
    """The label's value on a run that was put aside when it had this generation."""
    return f"{uid[:8]}-{generation}"
