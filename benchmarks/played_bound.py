"""The bound of the controller's rate: what a cluster itself has to do for task runs.

For each a Job whose pod is ended by who plays, as in `played_runners.py`, and those of the product's
writes that no durable product can leave out: the record is made, says that its step has begun, and how it
ended; the run says so. There is no operator, and nobody who watches, decides, or checks anything.
"""

import asyncio
import time
import uuid
from dataclasses import replace
from typing import Any, Final

from benchmarks import bare_jobs
from benchmarks.played_runners import events, let_go, meanwhile, say

from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.engine.states import RunState, Side, TaskState
from xaas_core.models.objects import RunStatus, Summary
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_kube import record_objects, run_objects
from xaas_kube.client import JSON_PATCH, KubeClient
from xaas_kube.words import Resource, jobs, path, pods

Json = dict[str, Any]

JOB_NAME: Final = "batch.kubernetes.io/job-name"
"""The label by which a pod says whose it is."""

TASKS: Final = 10
"""Task runs of one run, which writes them all down."""

KEPT: Final = 3600
"""Seconds that a finished Job is kept."""

GUARD: Final = "/metadata/resourceVersion"


class PlayedBound:
    """Plays task runs in a namespace without an operator, as long as `watch` sees what becomes of them.

    `labels`: of the node that is played.
    """

    def __init__(self, client: KubeClient, place: str, labels: dict[str, str]) -> None:
        self._client = client
        self._place = place
        self._labels = labels
        self._placed: dict[str, asyncio.Future[Json]] = {}
        self.ended = 0
        """Task runs that have ended so far."""

    async def watch(self) -> None:
        """See which pods have got their place, and let those go that are deleted; until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for kind, pod in events(self._client, pods(self._place), "bench=bare"):
                if "deletionTimestamp" in pod["metadata"]:
                    if kind != "DELETED":
                        group.create_task(let_go(self._client, pod))
                    continue
                placed = self._placed.get(pod["metadata"]["labels"][JOB_NAME])
                if placed is not None and not placed.done() and pod["spec"].get("nodeName"):
                    placed.set_result(pod)

    async def sustained(self, at_once: int, seconds: float, ramp: float = 4) -> float:
        """Task runs per second, so many at a time, after a time in which it gets going."""
        async with meanwhile(*(self._one_by_one() for _ in range(at_once))):
            await asyncio.sleep(ramp)
            count, since = self.ended, time.perf_counter()
            await asyncio.sleep(seconds)
            return (self.ended - count) / (time.perf_counter() - since)

    async def _one_by_one(self) -> None:
        while True:
            run = await self._new_run()
            for number in range(TASKS):
                run = await self._task_run(run, str(number))
                self.ended += 1

    async def _new_run(self) -> Json:
        spec = PipelineRunSpec(name="bound", parameters={})
        body = run_objects.new(self._place, f"bound-{_word()}", spec, Target.PIPELINE)
        del body["metadata"]["finalizers"]  # there is no operator to take it off again
        return await self._client.create(path(Resource.RUNS, self._place), body)

    async def _task_run(self, run: Json, ref: str) -> Json:
        """Play one; the answer is its run as it is then."""
        intended = Attempt(1, 1, _now(), (0,))
        record = TaskRecord(ref, Side.DO, attempts=(intended,))
        item = await self._client.create(
            path(Resource.TASK_RUNS, self._place), record_objects.new(run, "empty", record, None)
        )
        name = f"bound-{_word()}"
        pod = await self._pod(name)
        begun = intended.with_step(StepRecord(0, _now(), pod["metadata"]["uid"], name))
        item = await self._report(item, record.with_last(begun))
        ended = begun.with_step(replace(begun.steps[0], finished_at=_now(), succeeded=True))
        await self._report(item, record.with_last(replace(ended, ended_at=_now(), succeeded=True)))
        told, _ = await asyncio.gather(
            self._told(run, ref),
            say(self._client, pod, "Succeeded", {"terminated": {"exitCode": 0}}),
        )
        return told

    async def _pod(self, name: str) -> Json:
        """A Job's pod, when it has its place."""
        placed: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._placed[name] = placed
        body = bare_jobs.job(name, "played", ["true"])
        body["spec"]["ttlSecondsAfterFinished"] = KEPT
        body["spec"]["template"]["spec"]["nodeSelector"] = self._labels
        await self._client.create(jobs(self._place), body)
        try:
            return await placed
        finally:
            del self._placed[name]

    async def _report(self, item: Json, record: TaskRecord) -> Json:
        patch = [
            {"op": "replace", "path": GUARD, "value": item["metadata"]["resourceVersion"]},
            {"op": "add", "path": "/metadata/managedFields", "value": [{}]},
            {"op": "replace", "path": "/status", "value": record_objects.status(record, None, {})},
        ]
        where = path(Resource.TASK_RUNS, self._place, item["metadata"]["name"])
        return await self._client.patch(where, patch, JSON_PATCH)

    async def _told(self, run: Json, ref: str) -> Json:
        """The run, when it says what has become of its task run, in its log and in short."""
        now, before = _now(), run.get("status") or {}
        changes = [Change(TaskState.SUCCEEDED, now, ref, Side.DO, 1, 1)]
        if not before:
            changes.insert(0, Change(RunState.PROCESSING, now))
        summary = Summary(RunState.PROCESSING, started_at=now, counts={"total": TASKS})
        shown = run_objects.status_out(RunStatus(summary), run["metadata"]["generation"], now)
        texts = [run_objects.logged(change, now) for change in changes]
        conditions = before.get("conditions") or ()
        patch = run_objects.status_patch(shown, texts, before.keys(), conditions)
        guard = {"op": "replace", "path": GUARD, "value": run["metadata"]["resourceVersion"]}
        where = path(Resource.RUNS, self._place, run["metadata"]["name"], "status")
        told: Json = await self._client.patch(where, [guard, *patch], JSON_PATCH)
        return told


def _now() -> int:
    return time.time_ns() // 1_000_000


def _word() -> str:
    return uuid.uuid4().hex[:12]
