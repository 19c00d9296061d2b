"""Steps inside a pod: from the last line of a script to the first one of the next."""

import statistics

import httpx
from benchmarks.rest_runs import RestRuns
from benchmarks.run import Report

COUNT = 6
SCRIPT = """import time
params['begun {index}'] = time.time()
time.sleep({seconds})
params['ended {index}'] = time.time()"""
FIRST, OTHERS = 3, 1
"""Seconds that the scripts take: so long that the containers of the next steps are up by then."""

STEPS = {
    "category": "bench",
    "name": "steps",
    "steps": [
        {"doScript": SCRIPT.format(index=index, seconds=OTHERS if index else FIRST)}
        for index in range(COUNT)
    ],
}
PIPELINE = {
    "category": "bench",
    "name": "steps",
    "tasks": [{"ref": "a", "name": "steps", "dependsOn": []}],
}


async def handed_over(
    report: Report, rest: httpx.AsyncClient, runs: RestRuns, place: str, turns: int
) -> None:
    """One task of several steps, each in a container of its own, `turns` times."""
    asked = {"namespace": place}
    for path, body in (("/pipelinetasks", STEPS), ("/pipelines", PIPELINE)):
        (await rest.post(path, params=asked, json=body)).raise_for_status()
    gaps = []
    for _ in range(turns):
        uid = await runs.complete("steps")
        found = (await rest.get(f"/pipelineruns/{uid}/tasks", params=asked)).json()["items"]
        (do,) = [each for each in found if each["process_type"] == "do"]
        told = {change["path"][0]: change["value"] for change in do["delta"]}
        gaps += [told[f"begun {n}"] - told[f"ended {n - 1}"] for n in range(1, COUNT)]
    report.line(f"       each: {', '.join(f'{gap * 1000:.0f}' for gap in sorted(gaps))} ms")
    report.goal("hand-over between steps", statistics.median(gaps) * 1000, 30, "ms")
