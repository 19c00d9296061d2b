"""What the tests say to the server, and how they judge its refusals."""

from collections.abc import Callable
from typing import Any, Final

import httpx

Json = dict[str, Any]

HANGS: Final = "await asyncio.sleep(60)"
"""A script that a test doesn't wait for: it ends with the run that the test deletes."""


class Client:
    """What tests say to the server."""

    def __init__(self, http: httpx.AsyncClient, new_name: Callable[[], str]) -> None:
        self.http = http
        self.new_name = new_name
        self._runs: list[str] = []

    async def task(self, do: str | None = None, undo: str | None = None, **further: Any) -> str:
        """A PipelineTask of one step, or without any; gives its name."""
        step = {"doScript": do} | ({"undoScript": undo} if undo is not None else {})
        steps = [] if do is None else [step]
        name = self.new_name()
        body = {"category": "test", "name": name, "steps": steps, **further}
        made = await self.http.post("/pipelinetasks", json=body)
        assert made.status_code == 201, made.text
        return name

    async def pipeline(self, **tasks: tuple[str, list[str]]) -> str:
        """A Pipeline of refs with (PipelineTask, dependsOn); gives its name."""
        entries = [
            {"ref": ref, "name": task, "dependsOn": needs} for ref, (task, needs) in tasks.items()
        ]
        name = self.new_name()
        body = {"category": "test", "name": name, "tasks": entries}
        made = await self.http.post("/pipelines", json=body)
        assert made.status_code == 201, made.text
        return name

    async def single(self, do: str | None = None, undo: str | None = None) -> str:
        """A Pipeline of one task `a`."""
        return await self.pipeline(a=(await self.task(do, undo), []))

    async def run(self, pipeline: str, *, start: bool = True, **further: Any) -> Json:
        """A new run."""
        body = {"name": pipeline, "parameters": {}, "run": start, **further}
        made = await self.http.post("/pipelineruns", json=body)
        assert made.status_code == 201, made.text
        self._runs.append(made.json()["instance_id"])
        return made.json()  # type: ignore[no-any-return]

    async def read(self, run: Json) -> Json:
        """The run as it is now."""
        found = await self.http.get(f"/pipelineruns/{run['instance_id']}")
        assert found.status_code == 200, found.text
        return found.json()  # type: ignore[no-any-return]

    async def until(self, run: Json, status: str) -> Json:
        """The run once it has `status`. Driven by its events: nothing is polled."""
        params = {"instance_id": run["instance_id"], "after": ""}
        async with self.http.stream("GET", "/events", params=params) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data: "):
                    continue
                found = await self.read(run)
                if found["status"] == status:
                    return found
                assert found["status"] not in ("complete", "cancelled"), found
        raise AssertionError(f"the run never was {status}")

    async def tasks(self, run: Json) -> dict[tuple[str, str], Json]:
        """The task runs by ref and side."""
        found = await self.http.get(f"/pipelineruns/{run['instance_id']}/tasks")
        assert found.status_code == 200, found.text
        return {(item["ref"], item["process_type"]): item for item in found.json()["items"]}

    async def forget_runs(self) -> None:
        """End whatever this test left running."""
        for uid in self._runs:
            await self.http.delete(f"/pipelineruns/{uid}", params={"force": "true"})


def problem(answer: httpx.Response, status: int, kind: str) -> Json:
    """The problem that was answered, which must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: Json = answer.json()
    assert found["type"] == f"urn:xaas:problem:{kind}"
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    return found


def places(found: Json) -> list[str]:
    """Where a problem is."""
    return [entry["place"] for entry in found["errors"]]
