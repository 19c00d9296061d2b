"""Runs of the past, made in bulk: what one run has left behind, copied many times.

They are written while no operator is there: it would take a run without its label for a new one.
"""

import asyncio
from typing import Any

from benchmarks.load import Ground

from xaas_kube.client import KubeClient
from xaas_kube.names import plan_name
from xaas_kube.runs import list_all
from xaas_kube.words import Label, Resource, path, revisions

Json = dict[str, Any]
AT_ONCE = 24


class FinishedRuns:
    """Copies of the run `uid`, which is over and was put aside, in its namespace."""

    def __init__(self, place: Ground) -> None:
        self._client: KubeClient = place.client
        self._place = place.place

    async def make(self, uid: str, count: int) -> None:
        """Make so many copies."""
        runs = await list_all(self._client, path(Resource.RUNS, self._place))
        run = next(each for each in runs if each["metadata"]["uid"] == uid)
        selector = f"{Label.RUN}={uid}"
        where = path(Resource.TASK_RUNS, self._place)
        records = await list_all(self._client, where, selector)
        plan = await self._client.get(revisions(self._place, plan_name(uid)))
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:  # all take from the same
                await self._copy(run, records, plan, f"past-{number}")

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def _copy(self, run: Json, records: list[Json], plan: Json, name: str) -> None:
        made = await self._client.create(path(Resource.RUNS, self._place), _named(run, name, ""))
        where = path(Resource.RUNS, self._place, name)
        await self._client.patch(f"{where}/status", {"status": run["status"]})
        uid = made["metadata"]["uid"]
        for number, record in enumerate(records):
            copy = _named(record, f"{name}-{number}", uid, name)
            copy["spec"] = {**copy["spec"], "run": {"name": name, "uid": uid}}
            await self._client.create(path(Resource.TASK_RUNS, self._place), copy)
            # Without who wrote which field, as the product's own writes leave it (`xaas_kube.records`).
            there = path(Resource.TASK_RUNS, self._place, copy["metadata"]["name"])
            await self._client.patch(there, {"metadata": {"managedFields": [{}]}})
        await self._client.create(revisions(self._place), _named(plan, plan_name(uid), uid, name))
        mark = f"{uid[:8]}-{made['metadata']['generation']}"  # as `xaas_kube.retirement` has it
        await self._client.patch(where, {"metadata": {"labels": {Label.OVER.value: mark}}})


def _named(item: Json, name: str, owner: str, run: str = "") -> Json:
    """An object like `item`, of another name; what belongs to a run belongs to the run `owner`."""
    meta = item["metadata"]
    labels = dict(meta.get("labels") or {})
    fresh: Json = {"name": name, "annotations": meta.get("annotations") or {}}
    if owner:
        labels[Label.RUN.value] = owner
        before = meta["ownerReferences"][0]
        fresh["ownerReferences"] = [{**before, "name": run, "uid": owner}]
    else:
        labels.pop(Label.OVER.value)
    return {**item, "metadata": {**fresh, "labels": labels}}
