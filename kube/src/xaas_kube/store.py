"""The store on Kubernetes: custom resources.

Theory of operation. What users and runners ask for is read live and written guarded by the version
that was read; informers (`informer.py`) say where things lie, who is to be woken, and what lists
show. A list is asked of the informers' memory, after the API server has said how new it must be.

One reconcile is several writes: the plan, records, the run's status. Nothing makes them one, so they
are written in the order in which a crash in between does no harm (docs/architecture.md).

Two processes use this: the operator (`live_only`: it watches what isn't over, and the records of it)
and the API, which watches every run for its lists and streams, and no records.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Final

from xaas_core.engine.facts import Key, Request
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.models.objects import Definition, DefinitionSpec, Run
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.operations import check_over
from xaas_core.ports import (
    AlreadyExists,
    Clock,
    Conflict,
    Idempotency,
    KeyReused,
    Kind,
    Logged,
    NotFound,
    OperationPending,
    Page,
    Part,
    Query,
    Stored,
    Touch,
    Unavailable,
    Writes,
)
from xaas_core.touches import Broadcast
from xaas_kube import definition_objects, run_objects, times
from xaas_kube.client import Json, KubeClient
from xaas_kube.commits import Commits, CommitTargets
from xaas_kube.definition_store import DefinitionIndex, DefinitionStore
from xaas_kube.errors import translated
from xaas_kube.feed import ChangeFeed, Cursor, entries, replay
from xaas_kube.informer import Informer
from xaas_kube.names import keyed_run_name, run_name
from xaas_kube.paging import created_within, page
from xaas_kube.plans import Plans
from xaas_kube.records import Records
from xaas_kube.retirement import Retirement
from xaas_kube.run_index import KnownRun
from xaas_kube.runs import Runs
from xaas_kube.words import FINALIZER, Annotation, Resource, path

REMEMBERED_REQUESTS: Final = 20
"""Operations whose ids are known when they come again."""

LONG: Final = 200
"""Changes from which on a run's object is so long that its version alone is read first."""

TRIES: Final = 20
"""Guarded writes of one call; each that fails met another writer that got on."""


class KubernetesStore:
    """Implements `xaas_core.ports.Store`. From one event loop, between `start_up` and `close`."""

    def __init__(self, client: KubeClient, clock: Clock, *, live_only: bool = False) -> None:
        self._client = client
        self._clock = clock
        self._serial = 0
        self._watches_records = live_only
        self._broadcast = Broadcast()
        self._feed = ChangeFeed(clock.now(), uuid.uuid4().hex[:8])
        self._runs = Runs(client, self._run_touched, self._feed, live_only=live_only)
        self._records = Records(client, self._record_touched, self._runs)
        self._plans = Plans(client)
        self._commits = Commits(
            client, clock, CommitTargets(self._runs, self._records, self._plans), self._category
        )
        self._retirement = Retirement(client, self._runs, self._records)
        self.definitions = {kind: DefinitionIndex() for kind in Kind}
        self._definition_informers = {
            kind: Informer(client, path(definition_objects.RESOURCES[kind], None), index)
            for kind, index in self.definitions.items()
        }
        self._definition_store = DefinitionStore(
            client, self.definitions, self._definition_informers, self._now
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start_up(self) -> None:
        """Watch, and wait until everything was listed once."""
        informers = list(self._definition_informers.values())
        if self._watches_records:
            # Records first: they are listed by their runs, so they list the runs, too.
            await self._inform([*informers, self._retirement.informer, self._records.informer])
            await self._inform([self._runs.informer])
            self._tasks.append(asyncio.create_task(self._retirement.sweep(), name="sweep"))
        else:
            await self._inform([*informers, self._runs.informer])
        self._feed.settle()

    async def _inform(self, informers: Sequence[Informer]) -> None:
        tasks = [asyncio.create_task(each.run(), name="informer") for each in informers]
        self._tasks += tasks
        for informer, task in zip(informers, tasks, strict=True):
            await informer.until_synced(task)

    async def refresh(self) -> None:
        """See what was written until now, whatever the watches have told. Raises Unavailable.

        For a new leader: the one before it decided what its own memory may not have yet, and a
        watch can be dead for a minute before that is noticed.
        """
        with translated("list"):
            await self._records.informer.refresh()  # it lists the runs, too

    def lead(self) -> None:
        """From now on take runs back that were put aside, if they are wanted."""
        self._retirement.lead()

    async def failed(self) -> None:
        """Wait until a watch ends, which none ever should, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def close(self) -> None:
        """Watch no more; the touches end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._broadcast.close()

    def _run_touched(self, touch: Touch) -> None:
        known = self._runs.index.get(touch.run)
        if known is None:
            self._records.let_go(touch.run)
        elif touch.part is Part.SPEC:
            self._records.meet(known)
        self._broadcast.send(touch)

    def _record_touched(self, touch: Touch) -> None:
        if self._runs.index.get(touch.run) is not None:
            self._broadcast.send(touch)
        elif self._runs.elsewhere(touch.run) is not None and not self._records.cache.wants(
            touch.run
        ):
            # Of a run that was put aside, and isn't being taken back: late, or written by somebody.
            self._records.let_go(touch.run)

    def where(self, uid: str) -> KnownRun | None:
        """Where a run lies, for those who make what belongs to it."""
        return self._runs.index.get(uid)

    def place(self, uid: str) -> tuple[str, str] | None:
        """Namespace and name of a run, also of one that was put aside."""
        known = self.where(uid)
        return self._runs.elsewhere(uid) if known is None else (known.namespace, known.name)

    @property
    def live_count(self) -> int:
        """How many runs may still need something, as far as they are watched."""
        return sum(known.live for known in self._runs.index.all())

    # -------------------------------------------------------------------------------- definitions

    async def create_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        return await self._definition_store.create(kind, namespace, spec, idempotency)

    async def get_definition(
        self, kind: Kind, namespace: str, name: str
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        return await self._definition_store.get(kind, namespace, name)

    async def list_definitions(
        self, kind: Kind, namespace: str, query: Query
    ) -> Page[Definition[DefinitionSpec]]:
        """See the port."""
        resource = definition_objects.RESOURCES[kind]
        await self._runs.catch_up(resource, namespace, self._definition_informers[kind])
        return self._definition_store.list(kind, namespace, query)

    async def replace_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, if_match: str | None
    ) -> Definition[DefinitionSpec]:
        """See the port."""
        return await self._definition_store.replace(kind, namespace, spec, if_match)

    async def delete_definition(
        self, kind: Kind, namespace: str, name: str, if_match: str | None
    ) -> None:
        """See the port."""
        await self._definition_store.delete(kind, namespace, name, if_match)

    # ------------------------------------------------------------------- what users write of runs

    async def create_run(
        self,
        namespace: str,
        spec: PipelineRunSpec,
        target: Target,
        request: Request | None,
        idempotency: Idempotency | None,
    ) -> Run:
        """See the port."""
        name = run_name(spec.name, uuid.uuid4().hex[:8])
        if idempotency is not None:
            name = keyed_run_name(idempotency.key)
        body = run_objects.new(namespace, name, spec, target)
        annotations = body["metadata"]["annotations"]
        annotations[Annotation.CREATED.value] = self._now()
        if idempotency is not None:
            annotations[Annotation.BODY.value] = idempotency.digest
        category = await self._category(namespace, spec.name) if target is Target.PIPELINE else None
        if category is not None:
            annotations[Annotation.CATEGORY.value] = category
        if request is not None:
            body["spec"]["operation"] = run_objects.operation(request)
        try:
            with translated(f"PipelineRun {name!r}"):
                made = await self._client.create(path(Resource.RUNS, namespace), body)
        except AlreadyExists:
            known = None if idempotency is None else await self.recall_run(namespace, idempotency)
            if known is None:
                raise
            return known
        self._runs.informer.tell(made)
        return run_objects.read(made)

    async def recall_run(self, namespace: str, idempotency: Idempotency) -> Run | None:
        """See the port."""
        where = path(Resource.RUNS, namespace, keyed_run_name(idempotency.key))
        try:
            with translated("PipelineRun"):
                item = await self._client.get(where)
        except NotFound:
            return None
        digest = (item["metadata"].get("annotations") or {}).get(Annotation.BODY)
        if digest != idempotency.digest:
            raise KeyReused(
                f"the Idempotency-Key {idempotency.key!r} came before, with another body"
            )
        self._runs.tell(item)
        return run_objects.read(item)

    async def request(self, uid: str, request: Request) -> Run:
        """See the port."""
        for _ in range(TRIES):
            item = await self._runs.read(uid)
            run, asked = run_objects.read(item), run_objects.asked(item)
            if request.id in asked:
                return run
            waiting = run.pending_request
            if waiting is not None:
                raise OperationPending(f"the operation {waiting.operation} isn't decided yet")
            remembered = " ".join(asked[-REMEMBERED_REQUESTS:])
            patch = {
                "metadata": {
                    "resourceVersion": run.meta.resource_version,
                    "annotations": {Annotation.ASKED.value: remembered},
                },
                "spec": {"operation": run_objects.operation(request)},
            }
            with contextlib.suppress(Conflict):
                return run_objects.read(await self._runs.patch(uid, patch))
        raise Unavailable(f"the run {uid} is written again and again by others")

    async def suspend(self, uid: str, suspend: bool) -> Run:
        """See the port."""
        return run_objects.read(await self._runs.patch(uid, {"spec": {"suspend": suspend}}))

    async def mark_deleting(self, uid: str, *, only_over: bool = False) -> Run:
        """See the port."""
        for _ in range(TRIES):
            item = await self._runs.read(uid)
            guard = {"uid": uid}
            if only_over:
                run = run_objects.read(item)
                check_over(run.status.summary.state, run.pending_request)
                guard["resourceVersion"] = item["metadata"]["resourceVersion"]
            with contextlib.suppress(Conflict):
                return run_objects.read(await self._delete(item, guard))
        raise Unavailable(f"the run {uid} is written again and again by others")

    async def _delete(self, item: Json, guard: Json) -> Json:
        """Delete a run's object; the answer is what was left of it. Raises Conflict, NotFound."""
        meta = item["metadata"]
        uid = meta["uid"]
        options = {"preconditions": guard, "propagationPolicy": "Background"}
        with translated(f"run {uid!r}"):
            answer = await self._client.delete(
                path(Resource.RUNS, meta["namespace"], meta["name"]), options
            )
        if answer.get("kind") == "PipelineRun":
            self._runs.tell(answer)
            return answer
        # Nothing held it: it is gone already.
        self._runs.informer.forget(uid, int(meta["resourceVersion"]))
        return item

    # ------------------------------------------------------------------------------- reading runs

    async def get_run(self, uid: str) -> Run:
        """See the port."""
        known = self._runs.index.get(uid)
        if (
            known is not None
            and LONG < known.logged == len(known.run.history)
            and known.tells(await self._runs.version(uid))
        ):
            return known.run  # that is read already, to the last change
        item = await self._runs.read(uid)
        known = self._runs.index.get(uid)
        if known is not None and known.tells(item["metadata"]["resourceVersion"]):
            return known.run
        return run_objects.read(item)

    async def seen_run(self, uid: str) -> Run:
        """See the port."""
        known = self._runs.index.get(uid)
        if known is None or len(known.run.history) < known.logged:
            return await self.get_run(uid)
        return known.run

    async def list_runs(self, namespace: str, query: Query) -> Page[Run]:
        """See the port."""
        await self._runs.catch_up(Resource.RUNS, namespace, self._runs.informer)
        found = [
            (known.created, known.uid, run)
            for known in self._runs.index.all()
            if (run := known.run).target is Target.PIPELINE
            and known.namespace == namespace
            and query.status in (None, run.status.summary.state)
            and query.pipeline in (None, run.spec.name)
            and query.category in (None, known.category)
            and created_within(run.meta.created_at, query)
        ]
        part = page(found, query)
        return Page([replace(run, history=()) for run in part.items], part.after)

    async def live_runs(self) -> Sequence[str]:
        """See the port."""
        # First those for which somebody waits: there may be thousands that nothing happens to.
        live = [known for known in self._runs.index.all() if known.live]
        return [known.uid for known in sorted(live, key=lambda known: not _is_waited_for(known))]

    async def plan(self, uid: str) -> Plan | None:
        """See the port."""
        return await self._plans.read(await self._runs.find(uid))

    async def records(
        self, uid: str, keys: Collection[Key] | None = None
    ) -> dict[Key, Stored[TaskRecord]]:
        """See the port."""
        try:
            known = self._runs.index.get(uid)
            if keys is None and self._watches_records and known is not None:
                return await self._records.of(known)
            return await self._records.read(await self._runs.find(uid), keys)
        except NotFound:
            return {}

    # ------------------------------------------------- what the reconciler and the gateway write

    async def commit(self, writes: Writes) -> None:
        """See the port. A prefix of it may be written when it raises."""
        await self._commits.write(writes)

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """See the port."""
        await self._records.report(await self._runs.find(uid), record, version)

    async def retire_run(self, run: Run) -> None:
        """See the port."""
        known = self._runs.index.get(run.meta.uid)
        if known is None or known.retired is not None:
            return
        if str(known.version) != run.meta.resource_version:
            raise Conflict(f"the run {run.meta.uid} was written meanwhile")
        await self._retirement.retire(known)

    async def remove_run(self, uid: str, version: str | None = None) -> None:
        """See the port."""
        try:
            item = await self._runs.read(uid)
        except NotFound:
            return
        with contextlib.suppress(NotFound):
            if "deletionTimestamp" not in item["metadata"]:
                found = item["metadata"]["resourceVersion"]
                if version not in (None, found):
                    raise Conflict(f"the run {uid} was written meanwhile")
                # Guarded, for it may arrive late.
                item = await self._delete(item, {"uid": uid, "resourceVersion": found})
            meta = item["metadata"]
            if FINALIZER in (meta.get("finalizers") or ()):
                guarded = {
                    "uid": uid,
                    "resourceVersion": meta["resourceVersion"],
                    "finalizers": run_objects.finalizers_of_others(item),
                }
                where = path(Resource.RUNS, meta["namespace"], meta["name"])
                with translated(f"run {uid!r}"):
                    item = await self._client.patch(where, {"metadata": guarded})
        self._runs.informer.forget(uid, int(item["metadata"]["resourceVersion"]))

    # ---------------------------------------------------------------------------- what was written

    async def changes(self, cursor: str | None, limit: int) -> Sequence[Logged]:
        """See the port."""
        place = Cursor("l", 0) if cursor is None else Cursor.read(cursor)
        found = self._feed.read(place, limit)
        if found is not None:
            return found
        every = [
            entry
            for item in await self._runs.all()
            for entry in entries(
                item["metadata"]["uid"], (item.get("status") or {}).get("log") or ()
            )
        ]
        return replay(every, place, limit)

    async def last_cursor(self) -> str:
        """See the port."""
        return str(self._feed.last or Cursor("l", self._clock.now()))

    async def resume(self, cursor: str) -> str:
        """See the port: `changes` knows what to do with a cursor of another server."""
        return str(Cursor.read(cursor))

    def touches(self) -> AsyncIterator[Touch]:
        """See the port. Ends when the store is closed."""
        return self._broadcast.subscribe()

    # -------------------------------------------------------------------------------------- within

    async def _category(self, namespace: str, pipeline: str) -> str | None:
        try:
            return (await self.get_definition(Kind.PIPELINE, namespace, pipeline)).spec.category
        except NotFound:
            return None

    def _now(self) -> str:
        """A time of creation: the clock's, and later than any given before at the same time."""
        self._serial = (self._serial + 1) % 1_000_000
        return times.precise(self._clock.now(), self._serial)


def _is_waited_for(known: KnownRun) -> bool:
    """Whether somebody waits for an answer: of a run that is new, or was asked for an operation."""
    return not known.run.status.planned or known.run.pending_request is not None
