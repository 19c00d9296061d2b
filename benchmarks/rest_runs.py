"""Runs of the tutorial with empty scripts, driven as a user drives them: over REST."""

import asyncio
import json
import time

import httpx
from benchmarks.tutorial import PIPELINE, TASK

TUTORIAL = str(PIPELINE["name"])

LOOK_EVERY = 0.5
"""Seconds between looks at a run: seldom, for looking costs, too."""

LONGEST = 180
"""Seconds without any news after which a measurement is given up."""


class RestRuns:
    """The DAG as a Pipeline in a namespace."""

    def __init__(self, client: httpx.AsyncClient, namespace: str) -> None:
        self._client = client
        self._query = {"namespace": namespace}

    async def define(self) -> None:
        """Write the task and the pipeline."""
        for path, body in (("/pipelinetasks", TASK), ("/pipelines", PIPELINE)):
            (await self._client.post(path, params=self._query, json=body)).raise_for_status()

    async def run(self) -> float:
        """Seconds of one run, from its POST to `complete` as a client of /events sees it."""
        return await self.at_once(1)

    async def complete(self, pipeline: str) -> str:
        """The id of a run of another pipeline, once it is `complete`."""
        uid = await self._start(pipeline)
        while True:
            run = (await self._client.get(f"/pipelineruns/{uid}", params=self._query)).json()
            if run["status"] == "complete":
                return uid
            assert run["status"] == "processing", run
            await asyncio.sleep(LOOK_EVERY)

    async def at_once(self, count: int) -> float:
        """Seconds from the first POST of `count` runs, sent at once, until all are `complete`."""
        asked = {"params": self._query, "timeout": LONGEST}
        async with self._client.stream("GET", "/events", **asked) as events:  # type: ignore[arg-type]
            started = time.perf_counter()
            waiting = set(await asyncio.gather(*(self._start() for _ in range(count))))
            async for line in events.aiter_lines():
                if not line.startswith("data:"):
                    continue
                told = json.loads(line[5:])["content"]
                uid, status = told["instance_id"], told.get("status")
                if uid in waiting and status in ("complete", "aborted"):
                    assert status == "complete", told
                    waiting.remove(uid)
                    if not waiting:
                        return time.perf_counter() - started
        raise RuntimeError("the stream of events ended early")

    async def _start(self, pipeline: str = TUTORIAL) -> str:
        body = {"name": pipeline, "parameters": {}, "run": True}
        answer = await self._client.post("/pipelineruns", params=self._query, json=body)
        answer.raise_for_status()
        return str(answer.json()["instance_id"])
