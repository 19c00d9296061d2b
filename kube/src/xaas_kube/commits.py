"""What one reconcile writes: the plan, records, the run's status.

Nothing makes these one: they are written in the order in which a crash in between does no harm
(docs/architecture.md), each guarded by the version that the decision was made from.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from xaas_core.admission import Refused
from xaas_core.engine.states import OVER
from xaas_core.ports import Clock, Conflict, Writes
from xaas_kube import run_objects
from xaas_kube.client import JSON_PATCH, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.plans import Plans
from xaas_kube.records import Records
from xaas_kube.run_index import KnownRun
from xaas_kube.runs import Runs
from xaas_kube.words import FINALIZER, Annotation, Resource, path


@dataclass(frozen=True)
class CommitTargets:
    """Where the parts of a commit go."""

    runs: Runs
    records: Records
    plans: Plans


class Commits:
    """Writes commits. `category(namespace, pipeline)` gives a Pipeline's category, if it is there."""

    def __init__(
        self,
        client: KubeClient,
        clock: Clock,
        targets: CommitTargets,
        category: Callable[[str, str], Awaitable[str | None]],
    ) -> None:
        self._client = client
        self._clock = clock
        self._runs = targets.runs
        self._records = targets.records
        self._plans = targets.plans
        self._category = category

    async def write(self, writes: Writes) -> None:
        """Write one; a prefix of it may be written when it raises. Raises Conflict, NotFound."""
        if writes.plan is None and not writes.records and writes.status is None:
            return
        uid, version = writes.run.meta.uid, writes.run.meta.resource_version
        # By what is known here. Others may have written since: then the status isn't written, and
        # the records before it are intents that are never launched, or stops.
        known = await self._runs.current(uid, version)
        if writes.plan is not None:
            await self._hold(known)
            await self._plans.write(known, writes.plan)
        await self._write_records(known, writes)
        await self._write_status(known, writes)

    async def _write_records(self, known: KnownRun, writes: Writes) -> None:
        """Those that are there already first, in order: of a stop and an intent that follows from it
        a crash may leave the stop alone, never the intent. New ones don't follow from each other."""
        changes = {(c.ref, c.side): c for c in writes.changes if c.ref is not None}
        new = []
        for record, of in writes.records:
            change = changes.get((record.ref, record.side))
            if of is None:
                new.append((record, change))
            else:
                await self._records.replace(known, record, of, change)
        if not new:
            return
        plan = writes.plan or await self._plans.read(known)
        tasks = plan.by_ref if plan is not None else {}
        made = await asyncio.gather(
            *(
                self._records.create(
                    known, tasks[each.ref].task if each.ref in tasks else each.ref, each, change
                )
                for each, change in new
            ),
            return_exceptions=True,
        )
        for error in made:
            if error is not None:
                raise error

    async def _write_status(self, known: KnownRun, writes: Writes) -> None:
        status, now = writes.status, self._clock.now()
        if status is None:
            return
        if known.retired is not None and status.summary.state not in OVER:
            raise Conflict(f"the run {known.uid} is put aside: it is to be taken back first")
        since = next((c.at for c in reversed(writes.changes) if c.ref is None), now)
        shown = run_objects.status_out(status, known.generation, since)
        texts = [run_objects.logged(change, now) for change in writes.changes]
        patch = run_objects.status_patch(shown, texts, known.shown, known.conditions)
        guard = {"op": "replace", "path": "/metadata/resourceVersion"}
        guard["value"] = writes.run.meta.resource_version
        where = path(Resource.RUNS, known.namespace, known.name, "status")
        try:
            with translated(f"run {known.uid!r}"):
                item = await self._client.patch(where, [guard, *patch], JSON_PATCH)
        except Refused:
            # A field to remove isn't there: that is found out before the version is looked at.
            await self._runs.read(known.uid)
            await self._runs.current(known.uid, guard["value"])
            raise
        self._runs.tell(item)

    async def _hold(self, known: KnownRun) -> None:
        """Hold on to a run that was made with kubectl, before anything is started for it."""
        if known.held:
            return
        item = await self._runs.read(known.uid)
        version = item["metadata"]["resourceVersion"]
        if version != str(known.version):
            raise Conflict(f"the run {known.uid} was written meanwhile")
        held = item["metadata"].get("finalizers") or []
        if FINALIZER in held:
            return
        metadata: Json = {"finalizers": [*held, FINALIZER], "resourceVersion": version}
        category = await self._category(known.namespace, item["spec"].get("name") or "")
        if category is not None:
            metadata["annotations"] = {Annotation.CATEGORY.value: category}
        await self._runs.patch(known.uid, {"metadata": metadata})
        # It is in another version now: the decision is made anew from that.
        raise Conflict("the run is held from now on")
