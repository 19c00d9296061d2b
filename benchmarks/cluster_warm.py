"""Warm runners: what a run takes when its pods are up before there is work for them.

pool        the tutorial with as many idle runners as it has tasks
lookahead   a chain of tasks of two seconds each: from one script's end to the next one's begin
"""

import asyncio
import os
import statistics
from collections import Counter
from datetime import datetime
from typing import Any

import httpx
from benchmarks import node_cpu
from benchmarks.cluster_places import POLL
from benchmarks.rest_runs import RestRuns
from benchmarks.run import Report
from benchmarks.shapes import chain, pipeline
from benchmarks.tutorial import DAG, TASK

from xaas_kube.client import KubeClient
from xaas_kube.words import Label, jobs, pods

PARTS = ("pool", "lookahead")

POOL = {"lookahead": 0, "pool": len(DAG)}
LOOKAHEAD = {"lookahead": 10, "pool": 0}
"""The chart's `runner.warm` for each."""

CHAIN = 6
SLOW = {**TASK, "name": "slow", "steps": [{"doScript": "import asyncio\nawait asyncio.sleep(2)"}]}


async def pooled(
    report: Report, client: KubeClient, runs: RestRuns, place: str, turns: int
) -> None:
    """The tutorial, each time with a pool that is full and up."""
    await runs.run()  # the pool learns its shape
    taken = []
    used: Counter[str] = Counter()
    for _ in range(turns):
        await until_full(client, place)
        before = node_cpu.used()
        taken.append(await runs.run())
        used.update(node_cpu.used() - before)
    single = statistics.median(taken)
    if used:
        each = {part: seconds / turns for part, seconds in used.most_common()}
        told = ", ".join(f"{seconds:.2f} {part}" for part, seconds in each.items())
        report.line(f"       seconds of CPU meanwhile: {told}")
        bound = sum(each.values()) / (os.cpu_count() or 1)
        report.line(f"       on {os.cpu_count()} cores that is {bound:.2f} s, if all were busy")
    report.line(f"       each: {', '.join(f'{seconds:.2f}' for seconds in taken)} s")
    report.goal("tutorial with idle runners, POST to `complete`", single, 0.5, "s")


async def until_full(client: KubeClient, place: str) -> None:
    """Wait until all idle runners are there, and ask for work."""
    while True:
        idle = {
            each["metadata"]["name"]
            for each in (await client.get(jobs(place), {"labelSelector": Label.IDLE}))["items"]
        }
        found = (await client.get(pods(place)))["items"]
        up = [each for each in found if each["status"].get("phase") == "Running"]
        if sum(each["metadata"]["labels"][Label.JOB] in idle for each in up) >= len(DAG):
            break
        await asyncio.sleep(POLL)
    await asyncio.sleep(5 * POLL)  # an interpreter starts in each, and the node comes to rest


async def handed_over(report: Report, rest: httpx.AsyncClient, runs: RestRuns, place: str) -> None:
    """A chain: between the end of a script and the begin of the next one, as they are recorded."""
    asked = {"namespace": place}
    shape = pipeline("chain", chain(CHAIN))
    for task in shape["tasks"]:
        task["name"] = SLOW["name"]
    for path, body in (("/pipelinetasks", SLOW), ("/pipelines", shape)):
        (await rest.post(path, params=asked, json=body)).raise_for_status()
    uid = await runs.complete("chain")
    found = (await rest.get(f"/pipelineruns/{uid}/tasks", params=asked)).json()["items"]
    dos = {each["ref"]: each for each in found if each["process_type"] == "do"}
    lost = [
        _at(dos[str(n)]["started_at"]) - _at(dos[str(n - 1)]["finished_at"])
        for n in range(1, CHAIN)
    ]
    report.goal("hand-over in a chain, with lookahead", statistics.median(lost), 0.1, "s")


def _at(text: Any) -> float:
    return datetime.fromisoformat(str(text)).timestamp()
