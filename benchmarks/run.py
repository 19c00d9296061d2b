"""Measures the embedded product against bounds that are measured in the same run.

Ratios count: machines differ and are noisy. Exit code 1 if a goal is missed.

    python -m benchmarks.run [--turns 15]
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time

from benchmarks import bound, step_start
from benchmarks.product import Product, product
from benchmarks.tutorial import DAG

RUNS_AT_ONCE = 50
FINISHED = 1000


class Report:
    """Prints each figure as soon as it is known, and remembers what was missed."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def line(self, text: str) -> None:
        """A figure without a goal."""
        print(text, flush=True)

    def goal(self, text: str, value: float, limit: float, unit: str) -> None:
        """A figure that must not be above `limit`."""
        self._judge(text, f"{value:.2f}", f"at most {limit:g}", unit, met=value <= limit)

    def least(self, text: str, value: float, limit: float, unit: str) -> None:
        """A figure that must not be below `limit`."""
        self._judge(text, f"{value:.2f}", f"at least {limit:g}", unit, met=value >= limit)

    def _judge(self, text: str, value: str, limit: str, unit: str, *, met: bool) -> None:
        mark, of = "ok    " if met else "MISSED", f" {unit}" if unit else ""
        self.line(f"{mark} {text}: {value}{of} (goal: {limit}{of})")
        if not met:
            self.missed.append(text)


def interpreters(count: int, at_once: int) -> float:
    """Seconds to start `count` fresh interpreters that do nothing, `at_once` at a time."""
    base = getattr(sys, "_base_executable", sys.executable)
    command = [base, "-I", "-S", "-c", "pass"]
    started = time.perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    for _ in range(count):
        if len(running) == at_once:
            running.pop(0).wait()
        running.append(subprocess.Popen(command))
    for process in running:
        process.wait()
    return time.perf_counter() - started


async def tutorial(server: Product, turns: int) -> float:
    """Median seconds of one run, POST to `complete`."""
    await server.run()
    return statistics.median([await server.run() for _ in range(turns)])


async def measure(report: Report, turns: int) -> None:
    """All figures."""
    started = await step_start.measure(turns)
    report.goal("start of a step's process to its first line", started * 1000, 120, "ms")
    async with product() as server:
        await asyncio.sleep(3)
        before = server.cpu()
        await asyncio.sleep(5)
        report.goal("idle CPU", (server.cpu() - before) / 5 * 100, 1, "%")
        report.goal("idle memory", server.memory(), 120, "MB")

        # In turns, so that a slow moment of the machine falls on both.
        bounds, times = [], []
        for _ in range(3):
            bounds += await bound.measure(turns // 3)
            times.append(await tutorial(server, turns // 3))
        least, single = statistics.median(bounds), statistics.median(times)
        report.line(f"       bound of the tutorial: {least * 1000:.0f} ms")
        report.goal("tutorial, POST to complete", single, 0.4, "s")
        report.goal("tutorial / bound", single / least, 1.3, "x")

        tasks = RUNS_AT_ONCE * len(DAG)
        cores = os.cpu_count() or 1
        together = await server.many(RUNS_AT_ONCE)
        fresh, packed = interpreters(tasks, 1), interpreters(tasks, cores)
        report.line(
            f"       {RUNS_AT_ONCE} runs at once: {tasks / together:.0f} tasks/s; fresh interpreters, "
            f"one after the other: {tasks / fresh:.0f} /s, {cores} at a time: {tasks / packed:.0f} /s"
        )
        report.goal("50 runs at once / a fresh interpreter per task", together / fresh, 1, "x")

        single = await tutorial(server, turns)
        while await finished(server) < FINISHED:
            await server.many(RUNS_AT_ONCE)
        later = await tutorial(server, turns)
        report.goal("tutorial after 1,000 finished runs / before", later / single, 1.1, "x")
        report.line(f"       memory after 1,000 finished runs: {server.memory():.0f} MB")


async def finished(server: Product) -> int:
    """How many complete runs the store holds, at most FINISHED."""
    count, after = 0, ""
    while count < FINISHED:
        params = {"limit": "500", "status": "complete"} | ({"continue": after} if after else {})
        page = (await server.client.get("/pipelineruns", params=params)).json()
        count += len(page["items"])
        after = page.get("continue") or ""
        if not after:
            break
    return count


def main() -> int:
    """Measure, print, and say whether every goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=15, help="runs per figure (default 15)")
    report = Report()
    asyncio.run(measure(report, parser.parse_args().turns))
    if report.missed:
        print("missed:", "; ".join(report.missed))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
