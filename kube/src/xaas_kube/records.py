"""Records on Kubernetes: the objects of task runs, read, watched and written.

Theory of operation. What is kept in memory are the records of the runs that aren't put aside. Those of
others have nothing that says so (that would be a write for each of them), so records are listed by
the runs that they belong to, and every record is watched: what is put aside doesn't change. A record
belongs to a run that was there before it. So first it is noted how far the watch of records is, then
all runs are listed, and then the records of these runs: a run that is in no such list is younger than
the note, and the watch tells of its records.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final
from weakref import WeakValueDictionary

from xaas_core.engine.facts import Key
from xaas_core.engine.history import Change
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Side
from xaas_core.ports import AlreadyExists, Conflict, NotFound, Stored, Touch
from xaas_kube import record_objects
from xaas_kube.client import JSON_PATCH, METADATA_LIST, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.informer import Informer, Scope
from xaas_kube.names import task_run_name
from xaas_kube.record_cache import RecordCache
from xaas_kube.run_index import KnownRun
from xaas_kube.runs import Runs, list_all
from xaas_kube.words import Label, Resource, path

FEW: Final = 30
"""Records that are read one by one, by their names. More are read as a list: for that the API server
looks through the task runs of all runs of the namespace."""

RUNS_OF_A_LIST: Final = 150
"""Runs whose records are listed together: their uids, six kilobytes, are part of an address, and some
proxies take no longer one than eight."""

CHANGES_OF_A_LIST: Final = 1500
"""Changes that these runs have logged, at most, if they are more than one: about a page of records."""


class Records:
    """The records of runs; those of `runs` are watched."""

    def __init__(self, client: KubeClient, touched: Callable[[Touch], None], runs: Runs) -> None:
        self._client = client
        self._runs = runs
        self._recalling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.cache = RecordCache(touched)
        self.informer = Informer(
            client, path(Resource.TASK_RUNS, None), self.cache, scope=self._scope
        )

    async def _scope(self) -> Scope:
        """The records of all runs that aren't put aside. Lists the runs."""
        found = await self._client.get(
            path(Resource.TASK_RUNS, None), {"limit": 1}, METADATA_LIST
        )  # for its version
        since = str(found["metadata"]["resourceVersion"])
        await self._runs.informer.refresh()
        runs = list(self._runs.index.all())
        expected = {uid for run in runs for uid in self.cache.uids(run.uid)}
        for run in runs:
            self.cache.expect(run.uid)

        def told() -> None:
            for run in runs:
                self.cache.complete(run.uid)

        return Scope([_of_runs(some) for some in _batches(runs)], expected, since, told)

    async def of(self, known: KnownRun) -> dict[Key, Stored[TaskRecord]]:
        """The records of a run that isn't put aside, from memory if they are there.

        Raises NotFound, if it was asked for and is gone.
        """
        seen = self.cache.of(known.uid)
        if seen is not None:
            return seen
        async with self._recalling.setdefault(known.uid, asyncio.Lock()):
            seen = self.cache.of(known.uid)
            if seen is not None:
                return seen  # many may ask at a time
            # If somebody removes them, it may be because the run is deleted: then nothing may be
            # decided on what is left, and with the run read a commit to its older version is refused.
            await self._runs.read(known.uid)
            return await self.recall(known)

    def meet(self, known: KnownRun) -> None:
        """A run is seen, perhaps for the first time: of a new one the watch tells every record."""
        if self.informer.synced.is_set() and not known.logged:
            self.cache.expect(known.uid)
            self.cache.complete(known.uid)

    async def recall(self, known: KnownRun) -> dict[Key, Stored[TaskRecord]]:
        """The records of a run, live, and in memory from now on."""
        self.cache.expect(known.uid)
        items = await self.items(known)
        for item in items:
            self.informer.tell(item)
        self.cache.complete(known.uid)
        seen = self.cache.of(known.uid)  # it has what was written meanwhile, too
        return _stored(items) if seen is None else seen

    def let_go(self, run: str) -> None:
        """Forget the records of a run that is put aside, or gone."""
        for uid in self.cache.drop(run):
            self.informer.release(uid)

    async def read(
        self, known: KnownRun, keys: Collection[Key] | None
    ) -> dict[Key, Stored[TaskRecord]]:
        """The records of a run, or some of them, live."""
        if keys is not None and len(keys) <= FEW:
            items = await self._read_each(known, keys)
        else:
            items = await self.items(known)
        return {key: each for key, each in _stored(items).items() if keys is None or key in keys}

    async def items(self, known: KnownRun) -> list[Json]:
        """The objects of a run's task runs, live."""
        return await list_all(
            self._client, path(Resource.TASK_RUNS, known.namespace), _of_runs([known])
        )

    async def create(
        self, known: KnownRun, task: str, record: TaskRecord, change: Change | None
    ) -> None:
        """Write a new record of a task run of PipelineTask `task`. Raises Conflict."""
        body = record_objects.new({"metadata": known.metadata}, task, record, change)
        subject = _named(record)
        try:
            with translated(subject):
                made = await self._client.create(path(Resource.TASK_RUNS, known.namespace), body)
        except AlreadyExists:
            raise Conflict(f"there is a {subject}") from None
        with self.cache.own():
            self.informer.tell(made)

    async def replace(
        self, known: KnownRun, record: TaskRecord, version: str, change: Change | None
    ) -> None:
        """The reconciler's write. Raises Conflict, NotFound."""
        before = self.cache.status(known.uid, (record.ref, record.side))
        written = await self._write(known, record, version, change, before)
        with self.cache.own():
            self.informer.tell(written)

    async def report(self, known: KnownRun, record: TaskRecord, version: str) -> None:
        """A runner's write: it wakes the reconciler. Raises Conflict, NotFound, TooLarge."""
        self.informer.tell(await self._write(known, record, version, None, {}))

    async def _write(
        self,
        known: KnownRun,
        record: TaskRecord,
        version: str,
        change: Change | None,
        before: Json,
    ) -> Json:
        if not version.isdecimal():
            raise Conflict(f"{version!r} is no version of a record")
        name = task_run_name(known.name, known.uid, record.ref, record.side)
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            # Who wrote which field is told by nobody's asking, and costs a quarter of a write.
            {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
            {
                "op": "replace",
                "path": "/status",
                "value": record_objects.status(record, change, before),
            },
        ]
        where = path(Resource.TASK_RUNS, known.namespace, name)
        try:
            with translated(_named(record)):
                return await self._client.patch(where, patch, JSON_PATCH)
        except NotFound:
            # The run is there: so it is being removed, from below. What is so is to be seen anew.
            raise Conflict(f"the {_named(record)} is gone") from None

    async def _read_each(self, known: KnownRun, keys: Collection[Key]) -> list[Json]:
        async def read(ref: str, side: Side) -> Json | None:
            name = task_run_name(known.name, known.uid, ref, side)
            try:
                with translated(f"record of {ref!r} ({side})"):
                    return await self._client.get(path(Resource.TASK_RUNS, known.namespace, name))
            except NotFound:
                return None

        found = await asyncio.gather(*(read(*key) for key in sorted(keys)))
        return [item for item in found if item is not None]


def _stored(items: Iterable[Json]) -> dict[Key, Stored[TaskRecord]]:
    return {
        record_objects.key_of(item): Stored(
            record_objects.read(item), item["metadata"]["resourceVersion"]
        )
        for item in items
    }


def _of_runs(runs: Iterable[KnownRun]) -> str:
    """Selects the records of these runs."""
    return f"{Label.RUN} in ({','.join(run.uid for run in runs)})"


def _batches(runs: Iterable[KnownRun]) -> Iterator[list[KnownRun]]:
    """Runs whose records make one list."""
    batch: list[KnownRun] = []
    changes = 0
    for run in runs:
        changes += run.logged
        if batch and (len(batch) == RUNS_OF_A_LIST or changes > CHANGES_OF_A_LIST):
            yield batch
            batch, changes = [], run.logged
        batch.append(run)
    if batch:
        yield batch


def _named(record: TaskRecord) -> str:
    return f"record of {record.ref!r} ({record.side})"
