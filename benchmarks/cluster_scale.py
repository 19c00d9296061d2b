"""What many runs cost: those that are live, and those that are over. Runners are played."""

import asyncio
import statistics
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks import node_cpu
from benchmarks.cluster_places import POLL
from benchmarks.cluster_throughput import AT_ONCE, GROWTH, tell_cpu
from benchmarks.finished_runs import FinishedRuns
from benchmarks.load import Ground, Load, ground
from benchmarks.operator_numbers import Operator
from benchmarks.run import Report
from benchmarks.shapes import TEN

from xaas_kube.client import KubeClient
from xaas_kube.words import Label, jobs

WANTED = 2000
"""Live runs that memory and restart are judged with; of more a restart may take as much longer."""

LIVE = (10, 100, 1000, WANTED)
"""Runs that are live before `live` of them are, as the table shows them."""

SECONDS = 8
IDLE = 31
"""Seconds that idleness is watched for: all runs are looked at once in 30."""

PAST_SECONDS = 15

FIRST_SECONDS = 60
CHECKED_SECONDS = 300
"""Seconds that runs follow each other, each alone, before and after: Kubernetes 1.34 compares all objects
of a kind with its cache every five minutes, and what that costs must be in the figures."""

APART = 1.0
"""Seconds between two of them."""


async def live(report: Report, client: KubeClient, operator: Operator, count: int) -> None:
    """Runs of ten tasks whose first step runs, up to `count`; then a restart with them.

    What task runs of other runs cost meanwhile shows what live runs cost those that move.
    """
    steps = (*(each for each in LIVE if each < count), count)
    async with (
        ground(client, operator) as moving,
        ground(client, operator, ends=False) as standing,
    ):
        ten, idle = await moving.define("ten", TEN), await standing.define("ten", TEN)
        report.line("       live runs   per second   CPU each   memory of the operator")
        costs = []
        for number in steps:
            await standing.grow(idle, number)
            load = await moving.sustained(ten, AT_ONCE, SECONDS)
            costs.append(load.cpu_ms)
            told = f"{load.rate:10.1f}   {load.cpu_ms:5.1f} ms   {load.memory:6.0f} MB"
            report.line(f"       {number:9}   {told}")
            if number == min(WANTED, count):
                report.goal(f"memory with {number} live runs", load.memory, 300, "MB")
        text = f"CPU per task run with {count} live runs / with {steps[0]}"
        report.goal(text, costs[-1] / costs[0], GROWTH, "x")
        before = await operator.numbers()
        await asyncio.sleep(IDLE)
        after = await operator.numbers()
        share = (after.cpu - before.cpu) / IDLE * 100
        report.line(f"       CPU with {count} live runs of which none moves: {share:.1f} %")
        await _restarts(report, moving, ten, count)


async def _restarts(report: Report, place: Ground, name: str, count: int) -> None:
    """The time until a new run has its first Job, from the end of who leads, or of all."""
    operator, longest = place.operator, 10 * max(count / WANTED, 1)
    replicas = await operator.settle()
    for who, ended in (("the leader", [await operator.leader()]), ("all replicas", None)):
        ended = ended or await operator.names()
        started = time.perf_counter()
        await asyncio.gather(*(operator.end(each) for each in ended))
        await operator.until_resigned(ended)  # until then it would be theirs to start it
        uid = await place.start(name)
        await _until_started(place, uid)
        taken = time.perf_counter() - started
        report.goal(
            f"{who} ended with {count} live runs, until a new run starts", taken, longest, "s"
        )
        await operator.until_works(replicas)


async def _until_started(place: Ground, uid: str) -> None:
    only = {"labelSelector": f"{Label.RUN}={uid}"}
    found = await place.client.get(jobs(place.place), only)
    while not found["items"]:
        await asyncio.sleep(POLL / 3)
        found = await place.client.get(jobs(place.place), only)


@dataclass(frozen=True)
class _Pace:
    """How runs go: alone, their seconds, and the median of milliseconds of CPU per task run; many at a
    time, their load, and who used CPU for it."""

    alone: list[float]
    cpu_ms: float
    load: Load
    parts: Counter[str]

    @property
    def seconds(self) -> float:
        """Of a run alone: the median."""
        return statistics.median(self.alone)

    def __str__(self) -> str:
        deciles = statistics.quantiles(self.alone, n=10)
        took = f"{self.seconds:.2f} s (nine of ten at most {deciles[-1]:.2f} s)"
        alone = f"a run alone {took}, {self.cpu_ms:.1f} ms of CPU per task run"
        crowd = f"{AT_ONCE} at a time {self.load.rate:.1f} task runs/s, {self.load.cpu_ms:.1f} ms"
        return f"{alone}; {crowd}; memory of the operator {self.load.memory:.0f} MB"


async def _pace(place: Ground, name: str, seconds: float) -> _Pace:
    """Runs alone for so many seconds, then many at a time."""
    alone = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        await asyncio.sleep(APART)
        alone.append(await place.one_by_one(name, 1))
    before = node_cpu.used()
    load = await place.sustained(name, AT_ONCE, PAST_SECONDS)
    used = node_cpu.used() - before
    cpu_ms = statistics.median(each.cpu_ms for each in alone)
    return _Pace([each.seconds for each in alone], cpu_ms, load, used)


async def finished(report: Report, client: KubeClient, operator: Operator, count: int) -> None:
    """The same runs before and after `count` finished ones are in the cluster.

    Judged by what a reconcile costs, and how long a run takes, that has the machine for itself. The rate
    of many is shown, too: on two cores it is the API server's, which holds, collects and checks all objects.
    """
    async with ground(client, operator) as place:
        ten = await place.define("ten", TEN)
        sample = await place.complete(ten)
        before = await _pace(place, ten, FIRST_SECONDS)
        replicas = await operator.settle()
        started = time.perf_counter()
        await operator.scale(0)
        await FinishedRuns(place).make(sample, count)
        await operator.scale(replicas)
        taken = time.perf_counter() - started
        after = await _pace(place, ten, CHECKED_SECONDS)
        for when, pace in (("before", before), (f"with {count} finished runs", after)):
            report.line(f"       {when}: {pace}")
            tell_cpu(report, pace.parts, pace.load.task_runs)
        report.line(f"       (made in {taken:.0f} s)")
        for what, ratio in (
            ("CPU per task run", after.cpu_ms / before.cpu_ms),
            ("seconds", after.seconds / before.seconds),
        ):
            text = f"a run alone, {what} with {count} finished runs / before"
            report.goal(text, ratio, 1.1, "x")
