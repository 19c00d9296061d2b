"""Measures the product on the test cluster, against bare Jobs and with runners that are played.

    python -m benchmarks.cluster [--turns 3] [--only tutorial ten] [--long]

    tutorial    one run, against the same DAG of bare Jobs
    warm        the same with idle runners, and a chain with lookahead
    ten         ten runs at once, against as many bare Jobs made at once
    steps       steps inside a pod: from one script's end to the next one's first line
    throughput  runs of ten tasks without kubelets: task runs per second, what bounds them, CPU and writes
    tasks       what a task run costs in runs of 10 to 1,000 tasks
    finished    whether runs that are over slow those that aren't
    live        what 10 to 5,000 live runs cost; memory; how soon a restarted operator works
    trace       only if asked for: one run with idle runners, request by request

The first four start real pods, and each figure is a ratio to what is measured in the same run. The
others play the runners (`played_runners.py`). Machines differ and are noisy. Exit code 1 if a goal is
missed.
"""

import argparse
import asyncio
import os
import statistics
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import httpx
from benchmarks import (
    cluster_scale,
    cluster_steps,
    cluster_throughput,
    cluster_trace,
    cluster_warm,
    node_cpu,
)
from benchmarks.bare_jobs import BareJobs
from benchmarks.cluster_places import cleared, namespace
from benchmarks.operator_numbers import Operator
from benchmarks.played_node import LABELS, played_node
from benchmarks.rest_runs import RestRuns
from benchmarks.run import Report
from benchmarks.tutorial import DAG
from tests.cluster import chart, installed, product_images
from tests.cluster.up import SESSION

from xaas_core.serving import new_loop
from xaas_kube.client import KubeClient

REAL = ("tutorial", "warm", "ten", "steps")
PLAYED = ("throughput", "tasks", "finished", "live")
RUNS_AT_ONCE = 10

COLD = {"lookahead": 0, "pool": 0}
WITH_PODS = {
    "tutorial": COLD,
    "pool": cluster_warm.POOL,
    "lookahead": cluster_warm.LOOKAHEAD,
    "ten": COLD,
    "steps": COLD,
}
"""Figures for which pods are started, and the chart's `runner.warm` for each."""


async def tutorial(report: Report, bare: BareJobs, runs: RestRuns, turns: int) -> None:
    """The tutorial's DAG with empty scripts, three ways, in turns.

    complete   bare Jobs, each next one made when its predecessors are `Complete`
    bound      bare Jobs, each next one made when its predecessors' scripts say that they have ended:
               what starting eleven pods costs on this node, and no less is possible without warm ones
    product    a run, from its POST to `complete`
    """
    complete, bound, ours = [], [], []
    # In turns, so that a slow moment of the machine falls on all.
    for _ in range(turns):
        complete.append(await bare.complete())
        bound.append(await bare.bound())
        ours.append(await runs.run())
    waits, least, single = map(statistics.median, (complete, bound, ours))
    report.line(f"       bare Jobs, next on `Complete`: {waits:.1f} s; bound: {least:.1f} s")
    report.line(f"       tutorial, POST to `complete`: {single:.1f} s")
    report.goal("tutorial / bare Jobs that wait for `Complete`", single / waits, 0.5, "x")
    report.goal("tutorial / bound", single / least, 1.3, "x")


async def ten(
    report: Report, bare: BareJobs, runs: RestRuns, clear: Callable[[], Awaitable[None]], turns: int
) -> None:
    """Ten runs at once, in turns with the bound: as many Jobs as they have tasks, all made at once.

    That is until their scripts have ended. What the end of their pods costs the node comes mostly after
    that; in a run, where most tasks wait for others, it comes while further pods start.
    """
    tasks = RUNS_AT_ONCE * len(DAG)
    turn = []
    for _ in range(turns):
        turn.append((*await bare.at_once(tasks), await runs.at_once(RUNS_AT_ONCE)))
        await clear()  # the next one doesn't carry the pods of this one
    least, complete, taken = map(statistics.median, zip(*turn, strict=True))
    report.line(f"       {tasks} bare Jobs at once: {least:.1f} s, {tasks / least:.1f} a second")
    report.line(f"       until all of them are `Complete`: {complete:.1f} s")
    report.line(f"       {RUNS_AT_ONCE} runs at once, to the last `complete`: {taken:.1f} s")
    report.line(f"       {RUNS_AT_ONCE} runs at once / all `Complete`: {taken / complete:.2f} x")
    report.goal(f"{RUNS_AT_ONCE} runs at once / {tasks} bare Jobs", taken / least, 1.25, "x")


async def with_pods(report: Report, product: installed.Installed, part: str, turns: int) -> None:
    """A figure for which pods are started."""
    client = await KubeClient.connect(chart.access())
    headers = {"authorization": f"Bearer {product.token}"}
    rest = httpx.AsyncClient(
        base_url=product.base_url, headers=headers, trust_env=False, timeout=30
    )
    try:
        async with rest, namespace(client) as place:
            bare, runs = BareJobs(client, place, product_images.RUNNER.name), RestRuns(rest, place)
            await runs.define()
            await bare.bound()  # the first of all is slower: nothing is in any cache
            await runs.run()
            if part not in cluster_warm.PARTS:  # a pool would be filled up again
                await cleared(client, place)
            if part == "tutorial":
                await tutorial(report, bare, runs, turns)
            elif part == "ten":
                await ten(report, bare, runs, partial(cleared, client, place), turns)
            elif part == "steps":
                await cluster_steps.handed_over(report, rest, runs, place, turns)
            elif part == "pool":
                await cluster_warm.pooled(report, client, runs, place, turns)
            else:
                await cluster_warm.handed_over(report, rest, runs, place)
    finally:
        await client.close()


async def played(report: Report, parts: list[str], options: argparse.Namespace) -> None:
    """The figures for which runners are played."""
    client = await KubeClient.connect(chart.access())
    try:
        async with Operator(client) as operator, played_node(client):
            await operator.settle()
            if "throughput" in parts:
                await cluster_throughput.throughput(report, client, operator)
            if "tasks" in parts:
                await cluster_throughput.table(report, client, operator, large=options.long)
            if "finished" in parts:
                await cluster_scale.finished(report, client, operator, options.finished)
            if "live" in parts:
                await cluster_scale.live(report, client, operator, options.live)
    finally:
        await client.close()


async def trace(product: installed.Installed) -> None:
    """Print what happens in one run with idle runners."""
    client = await KubeClient.connect(chart.access())
    headers = {"authorization": f"Bearer {product.token}"}
    rest = httpx.AsyncClient(
        base_url=product.base_url, headers=headers, trust_env=False, timeout=30
    )
    try:
        async with rest, namespace(client) as place, Operator(client) as operator:
            runs = RestRuns(rest, place)
            await runs.define()
            await runs.run()
            await cluster_warm.until_full(client, place)
            began, before = datetime.now(UTC), node_cpu.used()
            taken = await runs.run()
            ended, after = datetime.now(UTC), node_cpu.used()
            print("\n".join(await cluster_trace.lines(operator, began, ended)))
            print(f"{taken:.3f} s; seconds of CPU meanwhile:")
            for part, seconds in (after - before).most_common():
                print(f"{seconds:7.2f}  {part}")
    finally:
        await client.close()


def measure(report: Report, product: installed.Installed, options: argparse.Namespace) -> None:
    """All figures that are asked for."""
    without = [part for part in PLAYED if part in options.only]
    names = product_images.SERVICE.name, product_images.RUNNER.name
    values = chart.image_values(*names)
    with installed.alone():
        try:
            for part, warm in WITH_PODS.items():
                if ("warm" if part in cluster_warm.PARTS else part) in options.only:
                    chart.install(values, {"runner": {"warm": warm}})
                    asyncio.run(with_pods(report, product, part, options.turns))
            if "trace" in options.only:
                chart.install(values, {"runner": {"warm": cluster_warm.POOL}, "logLevel": "debug"})
                asyncio.run(trace(product))
            if not without:
                return
            chart.install(values, {"runner": {"nodeSelector": LABELS}})
            # The faster loop: who plays uses the same two cores as who is measured.
            with asyncio.Runner(loop_factory=new_loop()) as runner:
                runner.run(played(report, without, options))
        finally:
            chart.install(values)


def read_options() -> argparse.Namespace:
    """What is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    every = (*REAL, *PLAYED)
    add("--turns", type=int, default=3, help="plays of the tutorial (default 3)")
    add(
        "--only",
        nargs="+",
        choices=(*every, "trace"),
        default=every,
        help="the figures that are wanted",
    )
    add("--finished", type=int, help="runs that are over (default 1,000; 20,000 with --long)")
    add("--live", type=int, help="runs that are live (default 2,000; 5,000 with --long)")
    add("--long", action="store_true", help="also what takes many minutes")
    options = parser.parse_args()
    options.finished = options.finished or (20_000 if options.long else 1000)
    options.live = options.live or (5000 if options.long else 2000)
    return options


def main() -> int:
    """Measure, print, and say whether every goal is met."""
    options, report = read_options(), Report()
    session = os.environ.setdefault(SESSION, uuid.uuid4().hex)
    with installed.in_use():
        product_images.load()
        names = product_images.SERVICE.name, product_images.RUNNER.name
        measure(report, installed.install(session, *names), options)
    installed.uninstall_if_unused()
    if report.missed:
        print("missed:", "; ".join(report.missed))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
