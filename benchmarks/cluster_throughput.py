"""Throughput and cost of the controller, with runners that are played (`played_runners.py`).

Everything runs on this machine: API server, etcd, Job controller, scheduler, the operator's replicas,
and whoever plays the runners. So the rate is that of all of them together; the CPU per task run is the
operator's own, with the gateway inside of it.
"""

from collections import Counter

from benchmarks import node_cpu
from benchmarks.cluster_places import make, remove
from benchmarks.load import Load, ground
from benchmarks.operator_numbers import WRITES, Operator
from benchmarks.played_bound import PlayedBound
from benchmarks.played_node import LABELS
from benchmarks.played_runners import meanwhile
from benchmarks.run import Report
from benchmarks.shapes import SHAPES, TEN

from xaas_kube.client import KubeClient

AT_ONCE = 40
"""Runs under way in a sustained load: enough that no task run waits for work to come."""

TASKS_AT_ONCE = 2 * AT_ONCE
"""Task runs under way at once where there are no runs that would say which is next."""

SECONDS = 40

SIZES = (10, 30, 100, 300)
LARGE = 1000
TASKS_PER_CELL = 200
"""Task runs of one cell of the table: so many that their CPU is seen, and few that it is quick."""

GROWTH = 1.5
"""How much dearer a task run of a large run may be than one of a small run."""


async def throughput(report: Report, client: KubeClient, operator: Operator) -> None:
    """Runs of ten tasks, many at a time, one after the other; and what bounds their rate."""
    bound = await _bound(report, client, operator)
    async with ground(client, operator) as place:
        ten = await place.define("ten", TEN)
        before = node_cpu.used()
        load = await place.sustained(ten, AT_ONCE, SECONDS)
        used = node_cpu.used() - before
    report.line(f"       played runners, {AT_ONCE} runs of 10 tasks at a time, {SECONDS} s:")
    tell_cpu(report, used, load.task_runs)
    report.line(f"       writes per task run: {load.told(WRITES)}")
    report.line(f"       reads per task run: {load.told(('get', 'list', 'watch'))}")
    report.least("task runs per second", load.rate, 25, "/s")
    report.line(f"       task runs per second / bound: {load.rate / bound:.2f} x")
    report.goal("CPU of operator and gateway per task run", load.cpu_ms, 20, "ms")
    report.goal("API writes per task run", load.writes, 8, "")


async def _bound(report: Report, client: KubeClient, operator: Operator) -> float:
    """Task runs per second that the cluster can do with nobody who decides on them."""
    replicas = len(await operator.names())
    await operator.scale(0)
    place = await make(client)
    bound = PlayedBound(client, place, LABELS)
    # Also while it goes: pods that are deleted are let go of by who plays their kubelet.
    async with meanwhile(bound.watch()):
        try:
            before = node_cpu.used()
            rate = await bound.sustained(TASKS_AT_ONCE, SECONDS)
            used = node_cpu.used() - before
        finally:
            await remove(client, place)
            await operator.scale(replicas)
    report.line(f"       bound: {rate:.1f} task runs per second, without an operator:")
    tell_cpu(report, used, bound.ended)
    return rate


def tell_cpu(report: Report, used: Counter[str], task_runs: int) -> None:
    """Show who has used how much, if that can be seen."""
    if used:
        each = {part: seconds / task_runs * 1000 for part, seconds in used.most_common()}
        told = ", ".join(f"{milliseconds:.1f} {part}" for part, milliseconds in each.items())
        report.line(f"       milliseconds of CPU per task run: {told}")


async def table(report: Report, client: KubeClient, operator: Operator, *, large: bool) -> None:
    """What a task run costs in runs of 10 to 1,000 tasks."""
    sizes = (*SIZES, LARGE) if large else SIZES
    report.line("       tasks per run      runs   per second   CPU each   writes each   wall")
    for shape, needs in SHAPES.items():
        loads = {}
        async with ground(client, operator) as place:
            for tasks in sizes:
                name = await place.define(f"{shape}-{tasks}", needs(tasks))
                count = max(TASKS_PER_CELL // tasks, 1)
                load = loads[tasks] = await place.one_by_one(name, count)
                report.line(f"       {tasks:5} as a {shape:6}  {count:6}   {_row(load)}")
        most = max(load.cpu_ms for load in loads.values())
        text = f"CPU per task run in a {shape}, the dearest / of 10"
        report.goal(text, most / loads[sizes[0]].cpu_ms, GROWTH, "x")


def _row(load: Load) -> str:
    return f"{load.rate:8.1f}   {load.cpu_ms:5.1f} ms   {load.writes:11.1f}   {load.seconds:5.1f} s"
