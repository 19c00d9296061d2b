"""Load: runs whose runners are played, and what the operator uses for them."""

import asyncio
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.cluster_places import make, remove
from benchmarks.operator_numbers import WRITES, Numbers, Operator
from benchmarks.played_runners import PlayedRunners, events, meanwhile
from benchmarks.shapes import Needs, pipeline
from benchmarks.tutorial import TASK

from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_kube import run_objects
from xaas_kube.client import KubeClient
from xaas_kube.words import API_VERSION, KINDS, Label, Resource, path

Moment = tuple[Numbers, int, float]
"""The operator's numbers, how many task runs have ended, and when that was."""

STARTED_AT_ONCE = 10
STARTED_AHEAD = 50
"""Runs that are started in one go, and that may wait for their first step to begin."""


@dataclass(frozen=True)
class Load:
    """What was measured, from the start of the first run until all were over: task runs, seconds of
    CPU, requests, memory; and task runs per second while as many runs as wanted were under way."""

    task_runs: int
    seconds: float
    cpu: float
    requests: Counter[tuple[str, str]]
    memory: float
    rate: float

    @property
    def cpu_ms(self) -> float:
        """CPU of operator and gateway per task run, in milliseconds."""
        return self.cpu / self.task_runs * 1000

    @property
    def writes(self) -> float:
        """Requests per task run that change something."""
        return sum(n for (verb, _), n in self.requests.items() if verb in WRITES) / self.task_runs

    def told(self, verbs: tuple[str, ...]) -> str:
        """The requests of these kinds per task run, the most frequent first."""
        found = [(n, asked) for asked, n in self.requests.items() if asked[0] in verbs]
        shown = [(n / self.task_runs, " ".join(asked)) for n, asked in sorted(found, reverse=True)]
        return ", ".join(f"{n:.2f} {asked}" for n, asked in shown if n >= 0.01)


class Ground:
    """A namespace with runs. `ends` False: their first steps begin and don't end, so they stay."""

    def __init__(self, client: KubeClient, place: str, operator: Operator, *, ends: bool) -> None:
        self.client = client
        self.place = place
        self.operator = operator
        self.runners = PlayedRunners(client, place, ends=ends)
        self._over: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def define(self, name: str, needs: Needs) -> str:
        """Write a Pipeline, and answer its name."""
        await self._write(Resource.PIPELINES, name, pipeline(name, needs))
        return name

    async def define_task(self) -> None:
        """Write the one PipelineTask of all."""
        await self._write(Resource.TASKS, str(TASK["name"]), TASK)

    async def _write(self, resource: Resource, name: str, spec: object) -> None:
        head = {"apiVersion": API_VERSION, "kind": KINDS[resource], "metadata": {"name": name}}
        await self.client.create(path(resource, self.place), {**head, "spec": spec})

    async def watch(self) -> None:
        """See which runs are over, until cancelled."""
        where = path(Resource.RUNS, self.place)
        async for _, run in events(self.client, where, Label.OVER.value, metadata_only=True):
            self._over[run["metadata"]["uid"]].set()

    async def start(self, name: str) -> str:
        """Start a run of a Pipeline, as a POST leaves it, and answer its uid."""
        spec = PipelineRunSpec(name=name, parameters={})
        body = run_objects.new(self.place, f"{name}-{uuid.uuid4().hex[:8]}", spec, Target.PIPELINE)
        body["spec"]["operation"] = {"name": "run", "id": "first"}
        made = await self.client.create(path(Resource.RUNS, self.place), body)
        return str(made["metadata"]["uid"])

    async def complete(self, name: str) -> str:
        """Start a run, and wait until it is over and was put aside; the answer is its uid."""
        uid = await self.start(name)
        await self._over[uid].wait()
        return uid

    async def one_by_one(self, name: str, count: int) -> Load:
        """So many runs, one after the other: each is alone, and so like any other to compare."""
        before = await self._now()
        for _ in range(count):
            await self.complete(name)
        return _load(before, await self._now())

    async def sustained(self, name: str, at_once: int, seconds: float, ramp: float = 16) -> Load:
        """So many runs at a time, each followed by the next; it ends with the last of them.

        Its rate is that of `seconds`, after a time in which it gets going. They start one after the
        other in that time, for runs that start together end together: what is then measured is
        whether a few seconds have more starts or more ends in them.
        """
        enough = asyncio.Event()

        async def again_and_again(start: float) -> None:
            await asyncio.sleep(start)
            while not enough.is_set():
                await self.complete(name)

        before = await self._now()
        async with asyncio.TaskGroup() as group:
            for number in range(at_once):
                group.create_task(again_and_again(ramp * number / at_once))
            await asyncio.sleep(ramp)
            count, since = self.runners.ended, time.perf_counter()
            await asyncio.sleep(seconds)
            rate = (self.runners.ended - count) / (time.perf_counter() - since)
            enough.set()
        return _load(before, await self._now(), rate)

    async def grow(self, name: str, to: int) -> None:
        """Start runs until so many steps have begun, not too many at a time."""
        started = self.runners.begun
        while started < to:
            more = min(STARTED_AT_ONCE, to - started)
            await asyncio.gather(*(self.start(name) for _ in range(more)))
            started += more
            await self.runners.until_begun(started - STARTED_AHEAD)
        await self.runners.until_begun(to)

    async def _now(self) -> Moment:
        return await self.operator.numbers(), self.runners.ended, time.perf_counter()


def _load(before: Moment, after: Moment, rate: float | None = None) -> Load:
    (then, done, since), (now, more, until) = before, after
    requests = Counter(now.requests)
    requests.subtract(then.requests)
    count, seconds = more - done, until - since
    rate = count / seconds if rate is None else rate
    return Load(count, seconds, now.cpu - then.cpu, requests, now.memory, rate)


@asynccontextmanager
async def ground(
    client: KubeClient, operator: Operator, *, ends: bool = True
) -> AsyncIterator[Ground]:
    """A namespace with the one task, and runners that are played, for as long as it is used."""
    place = await make(client)
    made = Ground(client, place, operator, ends=ends)
    # Also while it goes: pods that are deleted are let go of by those who play their kubelet.
    async with meanwhile(made.watch(), made.runners.run()):
        try:
            await made.define_task()
            yield made
        finally:
            await remove(client, place)
