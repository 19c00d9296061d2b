"""PipelineRuns: every call and every answer that it can have."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from tests.api.kit.client import HANGS, Client, Json, places, problem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with a server

NOBODY = "00000000-0000-4000-8000-000000000000"


class TestCreate:
    async def test_pending_with_its_plan(self, client: Client) -> None:
        pipeline = await client.single()
        run = await client.run(pipeline, start=False, parameters={"n": 1.5, "deep": {"ü": None}})
        created = run.pop("created_at")
        assert datetime.fromisoformat(created).tzinfo is not None
        assert len(created) == len("2026-01-02T03:04:05.678Z")
        uid = run.pop("instance_id")
        assert run == {
            "resource_name": None,
            "name": pipeline,
            "status": "pending",
            "parameters": {"n": 1.5, "deep": {"ü": None}},
            "reason": None,
            "warnings": [],
            "started_at": None,
            "finished_at": None,
            "operations": ["run", "cancel"],
            "tasks": {
                "total": 1,
                "pending": 1,
                "running": 0,
                "succeeded": 0,
                "failed": 0,
                "skipped": 0,
            },
        }
        assert uid

    async def test_started_at_once(self, client: Client) -> None:
        made = await client.http.post(
            "/pipelineruns",
            json={"name": await client.single(HANGS), "parameters": {}, "run": True},
        )
        assert made.status_code == 201
        run = made.json()
        assert run["status"] == "processing"
        assert run["operations"] == ["cancel"]
        assert made.headers["location"] == f"/pipelineruns/{run['instance_id']}"
        assert (await client.http.get(made.headers["location"])).status_code == 200
        await client.http.delete(made.headers["location"], params={"force": "true"})

    async def test_an_idempotency_key(self, client: Client) -> None:
        body = {"name": await client.single(), "parameters": {}}
        headers = {"Idempotency-Key": client.new_name()}
        made = await client.http.post("/pipelineruns", json=body, headers=headers)
        again = await client.http.post("/pipelineruns", json=body, headers=headers)
        assert again.status_code == 201
        assert again.json()["instance_id"] == made.json()["instance_id"]
        for other in ({"parameters": {"x": 1}}, {"run": True}):
            answer = await client.http.post("/pipelineruns", json=body | other, headers=headers)
            problem(answer, 409, "idempotency-key-reused")

    async def test_an_unknown_pipeline_is_422(self, http: httpx.AsyncClient) -> None:
        answer = await http.post("/pipelineruns", json={"name": "nowhere", "parameters": {}})
        assert "nowhere" in problem(answer, 422, "refused")["detail"]

    async def test_a_missing_task_is_422(self, client: Client) -> None:
        pipeline = await client.pipeline(a=("no such task", []))
        answer = await client.http.post("/pipelineruns", json={"name": pipeline, "parameters": {}})
        assert "no such task" in problem(answer, 422, "refused")["detail"]

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({"parameters": {}}, "name"),
            ({"name": "x"}, "parameters"),
            ({"name": "x", "parameters": []}, "parameters"),
            ({"name": "x", "parameters": {"n": 2**63}}, "parameters"),
            ({"name": "x", "parameters": {}, "run": "true"}, "run"),
            ({"name": "x", "parameters": {}, "timeout": "soon"}, "timeout"),
            ({"name": "x", "parameters": {}, "onAbort": "explode"}, "onAbort"),
            ({"name": "x", "parameters": {}, "colour": 1}, "colour"),
            ([], "body"),
            (5, "body"),
        ],
    )
    async def test_a_wrong_field_is_named(
        self, http: httpx.AsyncClient, body: Any, place: str
    ) -> None:
        answer = await http.post("/pipelineruns", json=body)
        assert places(problem(answer, 422, "invalid-request")) == [place]


class TestPatch:
    async def test_run_to_the_end(self, client: Client) -> None:
        run = await client.run(await client.single("params['n'] = 1"), start=False)
        path = f"/pipelineruns/{run['instance_id']}"
        answer = await client.http.patch(path, json={"operation": "run"})
        assert answer.status_code == 202
        assert answer.json()["status"] in ("processing", "complete")
        done = await client.until(run, "complete")
        assert done["operations"] == ["rollback"]
        assert done["tasks"]["succeeded"] == 1
        assert done["created_at"] <= done["started_at"] <= done["finished_at"]

    async def test_what_the_state_doesn_t_allow_is_409(self, client: Client) -> None:
        run = await client.run(await client.single())
        await client.until(run, "complete")
        path = f"/pipelineruns/{run['instance_id']}"
        for operation in ("run", "cancel", "recovery"):
            answer = await client.http.patch(path, json={"operation": operation})
            found = problem(answer, 409, "operation-not-allowed")
            assert (found["state"], found["operations"]) == ("complete", ["rollback"])
            assert "complete" in found["detail"]
            assert "rollback" in found["detail"]

    async def test_operations_at_the_same_time_are_decided_one_by_one(self, client: Client) -> None:
        run = await client.run(await client.single(), start=False)
        path = f"/pipelineruns/{run['instance_id']}"
        answers = await asyncio.gather(
            *(client.http.patch(path, json={"operation": "cancel"}) for _ in range(5))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [202, 409, 409, 409, 409]

    async def test_suspend(self, client: Client) -> None:
        run = await client.run(await client.single("pass"), start=False)
        path = f"/pipelineruns/{run['instance_id']}"
        assert (await client.http.patch(path, json={"suspend": True})).status_code == 202
        started = await client.http.patch(path, json={"operation": "run"})
        assert started.json()["status"] == "processing"
        assert (await client.read(run))["tasks"]["pending"] == 1
        held = await client.http.patch(path, json={"suspend": False})
        assert held.status_code == 202
        await client.until(run, "complete")

    @pytest.mark.parametrize(
        ("body", "place"),
        [
            ({}, "body"),
            ({"operation": "run", "suspend": True}, "body"),
            ({"operation": "explode"}, "operation"),
            ({"operation": None}, "operation"),
            ({"suspend": "true"}, "suspend"),
            ({"suspend": None}, "suspend"),
            ({"state": "complete"}, "state"),
        ],
    )
    async def test_a_wrong_body_is_422(self, client: Client, body: Json, place: str) -> None:
        run = await client.run(await client.single(), start=False)
        answer = await client.http.patch(f"/pipelineruns/{run['instance_id']}", json=body)
        assert place in places(problem(answer, 422, "invalid-request"))
        assert (await client.read(run))["status"] == "pending"

    async def test_an_unknown_run_is_404(self, http: httpx.AsyncClient) -> None:
        answer = await http.patch(f"/pipelineruns/{NOBODY}", json={"operation": "run"})
        problem(answer, 404, "not-found")


class TestDelete:
    async def test_a_run_that_is_over(self, client: Client) -> None:
        run = await client.run(await client.single())
        await client.until(run, "complete")
        path = f"/pipelineruns/{run['instance_id']}"
        assert (await client.http.delete(path)).status_code == 204
        problem(await client.http.get(path), 404, "not-found")
        problem(await client.http.delete(path), 404, "not-found")
        problem(await client.http.get(f"{path}/tasks"), 404, "not-found")

    @pytest.mark.parametrize("start", [True, False])
    async def test_a_run_that_isn_t_over(self, client: Client, start: bool) -> None:
        run = await client.run(await client.single(HANGS), start=start)
        path = f"/pipelineruns/{run['instance_id']}"
        found = problem(await client.http.delete(path), 409, "run-not-over")
        assert run["status"] in found["detail"]
        wrong = await client.http.delete(path, params={"force": "yes"})
        assert places(problem(wrong, 422, "invalid-request")) == ["force"]
        forced = await client.http.delete(path, params={"force": "true"})
        assert forced.status_code == 202
        assert forced.json()["operations"] == []


class TestRead:
    async def test_an_unknown_run_is_404(self, http: httpx.AsyncClient) -> None:
        for uid in (NOBODY, "x", "a%2Fb"):
            problem(await http.get(f"/pipelineruns/{uid}"), 404, "not-found")

    async def test_a_run_is_in_its_namespace(self, client: Client) -> None:
        run = await client.run(await client.single(), start=False)
        path, elsewhere = f"/pipelineruns/{run['instance_id']}", {"namespace": "elsewhere"}
        problem(await client.http.get(path, params=elsewhere), 404, "not-found")
        answer = await client.http.delete(path, params=elsewhere | {"force": "true"})
        problem(answer, 404, "not-found")
        assert (await client.http.get(path, params={"namespace": "default"})).status_code == 200

    async def test_lists_by_status_and_pipeline(self, client: Client) -> None:
        pipeline = await client.single()
        pending = await client.run(pipeline, start=False)
        done = await client.until(await client.run(pipeline), "complete")
        query = {"pipeline": pipeline, "status": "pending"}
        found = await client.http.get("/pipelineruns", params=query)
        assert found.json() == {"items": [pending], "continue": None}
        found = await client.http.get("/pipelineruns", params={"pipeline": pipeline})
        assert found.json()["items"] == [done, pending]
        wrong = await client.http.get("/pipelineruns", params={"status": "happy"})
        assert places(problem(wrong, 422, "invalid-request")) == ["status"]


async def test_definitions_can_go_while_a_run_uses_them(client: Client) -> None:
    task = await client.task("params['n'] = 1")
    pipeline = await client.pipeline(a=(task, []))
    run = await client.run(pipeline, start=False)
    assert (await client.http.delete(f"/pipelines/{pipeline}")).status_code == 204
    assert (await client.http.delete(f"/pipelinetasks/{task}")).status_code == 204
    await client.http.patch(f"/pipelineruns/{run['instance_id']}", json={"operation": "run"})
    await client.until(run, "complete")
