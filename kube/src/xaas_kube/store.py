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
import json
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final

from xaas_core.engine.facts import Key, Request
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import OVER, Side
from xaas_core.models.objects import Definition, DefinitionSpec, Run
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
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
    Query,
    Stored,
    Touch,
    Writes,
)
from xaas_core.touches import Broadcast
from xaas_kube import definition_objects, plan_objects, record_objects, run_objects, times
from xaas_kube.client import JSON_PATCH, METADATA_LIST, Json, KubeClient
from xaas_kube.conditions import kept
from xaas_kube.definition_store import DefinitionIndex, DefinitionStore
from xaas_kube.errors import translated
from xaas_kube.feed import ChangeFeed, Cursor, entries, replay
from xaas_kube.informer import PAGE, Informer
from xaas_kube.names import keyed_run_name, plan_name, run_name, task_run_name
from xaas_kube.paging import created_within, page
from xaas_kube.record_cache import RecordCache
from xaas_kube.retired import RetiredRuns
from xaas_kube.run_index import KnownRun, RunIndex
from xaas_kube.words import FINALIZER, Annotation, Label, Resource, path, revisions

NOT_OVER: Final = f"!{Label.OVER}"

CATCH_UP: Final = 5
CATCH_UP_PAUSE: Final = 0.003
"""Looks, and seconds between them, until a list's memory surely has what was written before."""

KEPT_PLANS: Final = 16 * 1024 * 1024
"""Characters of plans that are kept decoded, the most recently used."""

FEW: Final = 8
"""Records that are read one by one; more are read as a list."""

REMEMBERED_REQUESTS: Final = 20
TRIES: Final = 20


class KubernetesStore:
    """Implements `xaas_core.ports.Store`. From one event loop, between `start_up` and `close`."""

    def __init__(self, client: KubeClient, clock: Clock, *, live_only: bool = False) -> None:
        self._client = client
        self._clock = clock
        self._broadcast = Broadcast()
        self._serial = 0
        self._plans: OrderedDict[str, tuple[Plan, int]] = OrderedDict()
        self._plans_size = 0
        self._feed = ChangeFeed(clock.now())
        self._runs = RunIndex(self._broadcast.send, self._feed)
        self._records = RecordCache(self._broadcast.send)
        selector = NOT_OVER if live_only else None
        self._run_informer = Informer(client, path(Resource.RUNS, None), self._runs, selector)
        self._record_informer = Informer(
            client, path(Resource.TASK_RUNS, None), self._records, NOT_OVER
        )
        self.definitions = {kind: DefinitionIndex() for kind in Kind}
        definition_informers = {
            kind: Informer(client, path(definition_objects.RESOURCES[kind], None), index)
            for kind, index in self.definitions.items()
        }
        self._definition_informers = definition_informers
        self._definition_store = DefinitionStore(
            client, self.definitions, definition_informers, self._now
        )
        self._retired = RetiredRuns(client, self._revive) if live_only else None
        self._watches_records = live_only
        self._tasks: list[asyncio.Task[None]] = []

    async def start_up(self) -> None:
        """Watch, and wait until everything was listed once."""
        informers = [self._run_informer, *self._definition_informers.values()]
        if self._watches_records:
            informers.append(self._record_informer)
        if self._retired is not None:
            informers.append(self._retired.informer)
        self._tasks = [asyncio.create_task(each.run(), name="informer") for each in informers]
        for informer, task in zip(informers, self._tasks, strict=True):
            await informer.until_synced(task)
        self._feed.settle()

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
        await self._catch_up(resource, namespace, self._definition_informers[kind])
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
        self._run_informer.tell(made)
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
        self._run_informer.tell(item)
        return run_objects.read(item)

    async def request(self, uid: str, request: Request) -> Run:
        """See the port."""
        for _ in range(TRIES):
            item = await self._read_run(uid)
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
                return run_objects.read(await self._patch_run(uid, patch))
        raise Conflict(f"the run {uid} is written again and again by others")

    async def suspend(self, uid: str, suspend: bool) -> Run:
        """See the port."""
        return run_objects.read(await self._patch_run(uid, {"spec": {"suspend": suspend}}))

    async def mark_deleting(self, uid: str) -> Run:
        """See the port."""
        item = await self._read_run(uid)
        known = self._known(uid)
        with translated(f"PipelineRun {uid}"):
            answer = await self._client.delete(
                path(Resource.RUNS, known.namespace, known.name),
                {"preconditions": {"uid": uid}, "propagationPolicy": "Background"},
            )
        if answer.get("kind") == "PipelineRun":
            self._run_informer.tell(answer)
            return run_objects.read(answer)
        # Nothing held it: it is gone already.
        self._run_informer.forget(uid, known.version)
        return run_objects.read(item)

    # ------------------------------------------------------------------------------- reading runs

    async def get_run(self, uid: str) -> Run:
        """See the port."""
        return run_objects.read(await self._read_run(uid))

    async def list_runs(self, namespace: str, query: Query) -> Page[Run]:
        """See the port."""
        await self._catch_up(Resource.RUNS, namespace, self._run_informer)
        found = [
            (known.created, known.uid, run)
            for known in self._runs.all()
            if (run := known.run).target is Target.PIPELINE
            and known.namespace == namespace
            and query.status in (None, run.status.summary.state)
            and query.pipeline in (None, run.spec.name)
            and query.category in (None, known.category)
            and created_within(run.meta.created_at, query)
        ]
        return page(found, query)

    async def live_runs(self) -> Sequence[str]:
        """See the port."""
        return [known.uid for known in self._runs.all() if known.live]

    async def plan(self, uid: str) -> Plan | None:
        """See the port."""
        known = await self._find(uid)
        if uid in self._plans:
            self._plans.move_to_end(uid)
            return self._plans[uid][0]
        try:
            with translated("plan"):
                item = await self._client.get(revisions(known.namespace, plan_name(uid)))
        except NotFound:
            return None
        plan = plan_objects.read(item)
        self._keep_plan(uid, plan, len(json.dumps(item["data"])))
        return plan

    async def records(
        self, uid: str, refs: Collection[str] | None = None
    ) -> dict[Key, Stored[TaskRecord]]:
        """See the port. All of a run's are those that were last seen; chosen ones are read live."""
        known = self._runs.get(uid)
        if known is None:
            return {}
        if refs is None and self._watches_records:
            return self._records.of(uid)
        if refs is not None and len(refs) * len(Side) <= FEW:
            items = await self._read_records(known, refs)
        else:
            items = await self._list_records(known)
        found = {}
        for item in items:
            key = record_objects.key_of(item)
            if refs is None or key[0] in refs:
                version = item["metadata"]["resourceVersion"]
                found[key] = Stored(record_objects.read(item), version)
        return found

    # ------------------------------------------------- what the reconciler and the gateway write

    async def commit(self, writes: Writes) -> None:
        """See the port. A prefix of it may be written when it raises."""
        uid = writes.run.meta.uid
        if writes.plan is None and not writes.records and writes.status is None:
            return
        known = await self._current(writes)
        if writes.plan is not None:
            await self._write_plan(known, writes.plan)
        changes = {(c.ref, c.side): c for c in writes.changes if c.ref is not None}
        for record, version in writes.records:
            change = changes.get((record.ref, record.side))
            if version is None:
                written = await self._create_record(known, record, change)
            else:
                before = self._records.status(uid, (record.ref, record.side))
                status = record_objects.status(record, change, before)
                written = await self._replace_record(known, record, version, status)
            with self._records.own():
                self._record_informer.tell(written)
        if writes.status is not None:
            await self._write_status(known, writes)

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """See the port."""
        known = await self._find(uid)
        status = record_objects.status(record, None, {})
        self._record_informer.tell(await self._replace_record(known, record, version, status))

    async def retire_run(self, uid: str) -> None:
        """See the port: a label takes it, and its task runs, out of the operator's watches."""
        known = self._runs.get(uid)
        if known is None or known.retired is not None:
            return
        for item in await self._list_records(known):
            await self._label(Resource.TASK_RUNS, item, "true")
        generation = known.generation
        patch = {
            "metadata": {
                "resourceVersion": str(known.version),
                # What was seen of the user's wishes: another generation means a new wish.
                "labels": {Label.OVER.value: str(generation)},
                "finalizers": None,
            }
        }
        with contextlib.suppress(NotFound):
            await self._patch_run(uid, patch)

    async def remove_run(self, uid: str) -> None:
        """See the port."""
        try:
            item = await self._read_run(uid)
        except NotFound:
            return
        known = self._known(uid)
        where = path(Resource.RUNS, known.namespace, known.name)
        with contextlib.suppress(NotFound):
            if item["metadata"].get("finalizers"):
                patch = {"metadata": {"uid": uid, "finalizers": None}}
                with translated(f"PipelineRun {uid}"):
                    item = await self._client.patch(where, patch)
            if "deletionTimestamp" not in item["metadata"]:
                options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
                with translated(f"PipelineRun {uid}"):
                    await self._client.delete(where, options)
        self._run_informer.forget(uid, known.version)

    # ---------------------------------------------------------------------------- what was written

    async def changes(self, cursor: str | None, limit: int) -> Sequence[Logged]:
        """See the port."""
        place = Cursor("l", 0) if cursor is None else Cursor.read(cursor)
        found = self._feed.read(place, limit)
        if found is not None:
            return found
        every = [
            entry
            for item in await self._list_all(path(Resource.RUNS, None))
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

    # ---------------------------------------------------------------------------- one run's object

    @property
    def live_count(self) -> int:
        """How many runs may still need something, as far as they are watched."""
        return sum(known.live for known in self._runs.all())

    def where(self, uid: str) -> KnownRun | None:
        """Where a run lies, for those who make what belongs to it."""
        return self._runs.get(uid)

    def _known(self, uid: str) -> KnownRun:
        known = self._runs.get(uid)
        if known is None:
            raise NotFound(f"there is no run {uid!r}")
        return known

    async def _find(self, uid: str) -> KnownRun:
        """A run of which our watch may not have told yet. Raises NotFound."""
        if self._runs.get(uid) is None:
            await self._catch_up(Resource.RUNS, None, self._run_informer)
        return self._known(uid)

    async def _read_run(self, uid: str) -> Json:
        known = await self._find(uid)
        try:
            with translated(f"run {uid!r}"):
                item = await self._client.get(path(Resource.RUNS, known.namespace, known.name))
        except NotFound:
            self._run_informer.forget(uid, known.version)
            raise
        if item["metadata"]["uid"] != uid:
            self._run_informer.forget(uid, known.version)
            raise NotFound(f"there is no run {uid!r}")
        self._run_informer.tell(item)
        return item

    async def _patch_run(self, uid: str, patch: Json) -> Json:
        known = await self._find(uid)
        # The uid is a guard: an object of the same name isn't this run.
        guarded = {**patch, "metadata": {**patch.get("metadata", {}), "uid": uid}}
        with translated(f"run {uid!r}"):
            item = await self._client.patch(
                path(Resource.RUNS, known.namespace, known.name), guarded
            )
        self._run_informer.tell(item)
        return item

    async def _current(self, writes: Writes) -> KnownRun:
        """The run, if it is in the version that the writes follow from. Raises Conflict, NotFound.

        The status is guarded by itself; what is written before it must not follow from a run that
        was written meanwhile.
        """
        uid, version = writes.run.meta.uid, writes.run.meta.resource_version
        if writes.plan is not None or writes.records or self._runs.get(uid) is None:
            await self._read_run(uid)
        known = self._known(uid)
        if str(known.version) != version:
            raise Conflict(f"the run {uid} was written meanwhile")
        return known

    async def _write_status(self, known: KnownRun, writes: Writes) -> None:
        status, now = writes.status, self._clock.now()
        assert status is not None
        over = status.summary.state in OVER
        if known.retired is not None and not over:
            raise Conflict(f"the run {known.uid} is put aside: it is to be taken back first")
        since = next((c.at for c in reversed(writes.changes) if c.ref is None), now)
        shown = run_objects.status_out(status, known.generation, since)
        shown["conditions"] = [kept(each, known.conditions) for each in shown["conditions"]]
        texts = [run_objects.logged(change, now) for change in writes.changes]
        patch: list[Json] = [
            {
                "op": "replace",
                "path": "/metadata/resourceVersion",
                "value": writes.run.meta.resource_version,
            }
        ]
        if not known.shown:
            patch.append({"op": "add", "path": "/status", "value": {**shown, "log": texts}})
        else:
            gone = known.shown - set(shown) - {"log"}
            patch += [{"op": "remove", "path": f"/status/{field}"} for field in sorted(gone)]
            patch += [
                {"op": "add", "path": f"/status/{field}", "value": value}
                for field, value in shown.items()
            ]
            if "log" not in known.shown:
                patch.append({"op": "add", "path": "/status/log", "value": texts})
            else:
                patch += [{"op": "add", "path": "/status/log/-", "value": text} for text in texts]
        where = path(Resource.RUNS, known.namespace, known.name, "status")
        with translated(f"run {known.uid!r}"):
            item = await self._client.patch(where, patch, JSON_PATCH)
        self._run_informer.tell(item)

    async def _category(self, namespace: str, pipeline: str) -> str | None:
        try:
            return (await self.get_definition(Kind.PIPELINE, namespace, pipeline)).spec.category
        except NotFound:
            return None

    # ----------------------------------------------------------------------------- plans, records

    async def _write_plan(self, known: KnownRun, plan: Plan) -> None:
        await self._hold(known)
        body = plan_objects.new({"metadata": known.metadata}, plan)
        try:
            with translated("plan"):
                item = await self._client.create(revisions(known.namespace), body)
        except AlreadyExists:
            raise Conflict("the run is planned already") from None
        self._keep_plan(known.uid, plan, len(json.dumps(item["data"])))

    async def _hold(self, known: KnownRun) -> None:
        """Hold on to a run that was made with kubectl, before anything is started for it."""
        item = await self._read_run(known.uid)
        if FINALIZER in (item["metadata"].get("finalizers") or ()):
            return
        metadata: Json = {"finalizers": [*(item["metadata"].get("finalizers") or ()), FINALIZER]}
        category = await self._category(known.namespace, item["spec"].get("name") or "")
        if category is not None:
            metadata["annotations"] = {Annotation.CATEGORY.value: category}
        await self._patch_run(known.uid, {"metadata": metadata})
        # It is in another version now: the decision is made anew from that.
        raise Conflict("the run is held from now on")

    def _keep_plan(self, uid: str, plan: Plan, size: int) -> None:
        self._plans[uid] = (plan, size)
        self._plans_size += size
        while self._plans_size > KEPT_PLANS and len(self._plans) > 1:
            _, (_, dropped) = self._plans.popitem(last=False)
            self._plans_size -= dropped

    async def _create_record(self, known: KnownRun, record: TaskRecord, change: Any) -> Json:
        plan = await self.plan(known.uid)
        task = plan.by_ref[record.ref].task if plan and record.ref in plan.by_ref else record.ref
        body = record_objects.new({"metadata": known.metadata}, task, record, change)
        where = path(Resource.TASK_RUNS, known.namespace)
        try:
            with translated(f"record of {record.ref!r} ({record.side})"):
                return await self._client.create(where, body)
        except AlreadyExists:
            raise Conflict(f"there is a record of {record.ref!r} ({record.side})") from None

    async def _replace_record(
        self, known: KnownRun, record: TaskRecord, version: str, status: Json
    ) -> Json:
        if not version.isdecimal():
            raise Conflict(f"{version!r} is no version of a record")
        name = task_run_name(known.name, known.uid, record.ref, record.side)
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
            {"op": "replace", "path": "/status", "value": status},
        ]
        with translated(f"record of {record.ref!r} ({record.side})"):
            where = path(Resource.TASK_RUNS, known.namespace, name)
            return await self._client.patch(where, patch, JSON_PATCH)

    async def _read_records(self, known: KnownRun, refs: Collection[str]) -> list[Json]:
        async def read(ref: str, side: Side) -> Json | None:
            name = task_run_name(known.name, known.uid, ref, side)
            try:
                with translated(f"record of {ref!r} ({side})"):
                    return await self._client.get(path(Resource.TASK_RUNS, known.namespace, name))
            except NotFound:
                return None

        found = await asyncio.gather(*(read(ref, side) for ref in refs for side in Side))
        return [item for item in found if item is not None]

    async def _list_records(self, known: KnownRun) -> list[Json]:
        return await self._list_all(
            path(Resource.TASK_RUNS, known.namespace), f"{Label.RUN}={known.uid}"
        )

    async def _list_all(self, where: str, selector: str | None = None) -> list[Json]:
        params: dict[str, Any] = {"limit": PAGE, "labelSelector": selector}
        items: list[Json] = []
        while True:
            with translated("list"):
                found = await self._client.get(where, params)
            items += found["items"]
            params["continue"] = found["metadata"].get("continue")
            if not params["continue"]:
                return items

    # --------------------------------------------------------------------------- put aside, and back

    async def _label(self, resource: Resource, item: Json, value: str | None) -> None:
        meta = item["metadata"]
        patch = {"metadata": {"uid": meta["uid"], "labels": {Label.OVER.value: value}}}
        with contextlib.suppress(NotFound), translated(resource):
            await self._client.patch(path(resource, meta["namespace"], meta["name"]), patch)

    async def _revive(self, namespace: str, name: str) -> None:
        """Take a run back that was put aside, and of which somebody wants something now."""
        with translated(f"PipelineRun {name!r}"):
            item = await self._client.get(path(Resource.RUNS, namespace, name))
        uid = item["metadata"]["uid"]
        selector = f"{Label.RUN}={uid}"
        for record in await self._list_all(path(Resource.TASK_RUNS, namespace), selector):
            await self._label(Resource.TASK_RUNS, record, None)
        patch = {
            "metadata": {
                "uid": uid,
                "labels": {Label.OVER.value: None},
                "finalizers": [FINALIZER],
            }
        }
        with translated(f"PipelineRun {name!r}"):
            revived = await self._client.patch(path(Resource.RUNS, namespace, name), patch)
        for record in await self._list_all(path(Resource.TASK_RUNS, namespace), selector):
            self._record_informer.tell(record)
        self._run_informer.tell(revived)

    # ------------------------------------------------------------------------------------ freshness

    async def _catch_up(
        self, resource: Resource, namespace: str | None, informer: Informer
    ) -> None:
        """Wait until the informer has surely told what was written before, by whomever.

        The API server answers this list once its own memory has every write until now; the watch of
        the same memory then has it, too, and only has to arrive.
        """
        with translated(resource):
            found = await self._client.get(
                path(resource, namespace), {"fieldSelector": "metadata.name=-"}, METADATA_LIST
            )
        wanted = int(found["metadata"]["resourceVersion"])
        for _ in range(CATCH_UP):
            if informer.version >= wanted:
                return
            await asyncio.sleep(CATCH_UP_PAUSE)

    def _now(self) -> str:
        """A time of creation: the clock's, and later than any given before at the same time."""
        self._serial = (self._serial + 1) % 1_000_000
        return times.precise(self._clock.now(), self._serial)
