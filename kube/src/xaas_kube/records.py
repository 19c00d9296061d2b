"""Records on Kubernetes: the objects of task runs, read and written."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from xaas_core.engine.facts import Key
from xaas_core.engine.history import Change
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Side
from xaas_core.ports import AlreadyExists, Conflict, NotFound, Stored, Touch
from xaas_kube import record_objects
from xaas_kube.client import JSON_PATCH, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.informer import Informer
from xaas_kube.names import task_run_name
from xaas_kube.record_cache import RecordCache
from xaas_kube.run_index import KnownRun
from xaas_kube.runs import list_all
from xaas_kube.words import Label, Resource, path

FEW: Final = 30
"""Records that are read one by one, by their names. More are read as a list: for that the API server
looks through the task runs of all runs of the namespace."""


class Records:
    """The records of runs. `selector` selects those that are watched."""

    def __init__(self, client: KubeClient, touched: Callable[[Touch], None], selector: str) -> None:
        self._client = client
        self.cache = RecordCache(touched)
        self.informer = Informer(client, path(Resource.TASK_RUNS, None), self.cache, selector)

    async def read(
        self, known: KnownRun, keys: Collection[Key] | None
    ) -> dict[Key, Stored[TaskRecord]]:
        """The records of a run, or some of them, live."""
        if keys is not None and len(keys) <= FEW:
            items = await self._read_each(known, keys)
        else:
            items = await self.items(known)
        found = {}
        for item in items:
            key = record_objects.key_of(item)
            if keys is None or key in keys:
                version = item["metadata"]["resourceVersion"]
                found[key] = Stored(record_objects.read(item), version)
        return found

    async def items(self, known: KnownRun) -> list[Json]:
        """The objects of a run's task runs, live."""
        return await list_all(
            self._client, path(Resource.TASK_RUNS, known.namespace), f"{Label.RUN}={known.uid}"
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


def _named(record: TaskRecord) -> str:
    return f"record of {record.ref!r} ({record.side})"
