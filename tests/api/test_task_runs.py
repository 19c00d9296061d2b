"""Task runs: both sides, before, while and after they run; and their logs."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.api.kit.client import HANGS, Client, Json, places, problem

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with a server


def without_times(task_run: Json) -> Json:
    """The task run with every time replaced by whether there is one."""
    shown = dict(task_run)
    for part in (shown, *shown["attempts"], *shown["steps"]):
        for key in ("started_at", "finished_at"):
            part[key] = part[key] is not None
    return shown


class TestBeforeTheRun:
    async def test_both_sides_are_planned(self, client: Client) -> None:
        task = await client.task("pass", "pass")
        pipeline = await client.pipeline(b=(task, ["a"]), a=(task, []))
        run = await client.run(pipeline, start=False, parameters={"x": 1})
        found = await client.http.get(f"/pipelineruns/{run['instance_id']}/tasks")
        assert [(t["ref"], t["process_type"]) for t in found.json()["items"]] == [
            ("a", "do"),
            ("b", "do"),
            ("b", "undo"),
            ("a", "undo"),
        ]
        tasks = await client.tasks(run)
        assert {t["status"] for t in tasks.values()} == {"pending"}
        assert [key for key, t in tasks.items() if t["input"] is not None] == [("a", "do")]
        assert len({t["instance_id"] for t in tasks.values()}) == 4
        uid = tasks["b", "do"].pop("instance_id")
        assert uid
        assert tasks["b", "do"] == {
            "ref": "b",
            "name": task,
            "process_type": "do",
            "owner_id": run["instance_id"],
            "runner_id": None,
            "status": "pending",
            "reason": None,
            "error": None,
            "input": None,
            "delta": [],
            "attempts": [],
            "steps": [{"index": 0, "status": "pending", "started_at": None, "finished_at": None}],
            "started_at": None,
            "finished_at": None,
        }


class TestAfterTheRun:
    async def test_success(self, client: Client) -> None:
        task = await client.task("params['n'] = params.get('n', 0) + 1")
        pipeline = await client.pipeline(a=(task, []), b=(task, ["a"]))
        run = await client.run(pipeline, parameters={"x": 1})
        await client.until(run, "complete")
        shown = (await client.tasks(run))["b", "do"]
        runner = shown["runner_id"]
        assert runner
        expected = {
            "instance_id": shown["instance_id"],
            "ref": "b",
            "name": task,
            "process_type": "do",
            "owner_id": run["instance_id"],
            "runner_id": runner,
            "status": "succeeded",
            "reason": None,
            "error": None,
            "input": {"x": 1, "n": 1},
            "delta": [{"op": "set", "path": ["n"], "value": 2}],
            "attempts": [
                {
                    "number": 1,
                    "runner_id": runner,
                    "status": "succeeded",
                    "started_at": True,
                    "finished_at": True,
                    "error": None,
                }
            ],
            "steps": [{"index": 0, "status": "succeeded", "started_at": True, "finished_at": True}],
            "started_at": True,
            "finished_at": True,
        }
        assert without_times(shown) == expected
        one = await client.http.get(f"/pipelineruns/{run['instance_id']}/tasks/b/do")
        assert without_times(one.json()) == expected

    async def test_failure_and_rollback(self, client: Client) -> None:
        name = client.new_name()
        steps = [
            {"doScript": "params['n'] = 1", "undoScript": "params['undone'] = params['n']"},
            {"doScript": "params['m'] = 2\nraise Error(418, 'teapot')"},
            {"doScript": "pass"},
        ]
        body = {"category": "c", "name": name, "steps": steps, "retries": {"limit": 1}}
        await client.http.post("/pipelinetasks", json=body)
        run = await client.run(await client.pipeline(a=(name, [])))
        over = await client.until(run, "cancelled")
        assert over["reason"] == "TaskFailed"
        assert over["tasks"] | {"failed": 0} == dict.fromkeys(over["tasks"], 0) | {"total": 1}
        tasks = await client.tasks(run)
        do, undo = tasks["a", "do"], tasks["a", "undo"]
        assert (do["status"], do["reason"]) == ("failed", "ScriptError")
        assert (do["error"]["step"], do["error"]["line"]) == (1, 2)
        assert "teapot" in do["error"]["message"]
        assert [(a["number"], a["status"]) for a in do["attempts"]] == [
            (1, "failed"),
            (2, "failed"),
        ]
        assert do["attempts"][1]["error"] == do["error"]
        assert do["attempts"][1]["runner_id"] == do["runner_id"]
        assert do["attempts"][0]["runner_id"] != do["runner_id"]
        assert [s["status"] for s in do["steps"]] == ["succeeded", "failed", "pending"]
        assert {tuple(op["path"]): op["value"] for op in do["delta"]} == {("n",): 1, ("m",): 2}
        assert undo["status"] == "succeeded"
        assert undo["input"] == {"n": 1, "m": 2}
        assert [s["status"] for s in undo["steps"]] == ["succeeded", "skipped", "skipped"]
        assert undo["delta"] == [{"op": "set", "path": ["undone"], "value": 1}]

    async def test_a_condition(self, client: Client) -> None:
        task, name = await client.task("pass", "pass"), client.new_name()
        entries = [
            {"ref": "no", "name": task, "dependsOn": [], "condition": "False"},
            {"ref": "bad", "name": task, "dependsOn": ["no"], "condition": "params['x']"},
        ]
        body = {"category": "c", "name": name, "tasks": entries}
        await client.http.post("/pipelines", json=body)
        run = await client.run(name)
        await client.until(run, "cancelled")
        tasks = await client.tasks(run)
        no, bad = tasks["no", "do"], tasks["bad", "do"]
        assert (no["status"], no["reason"]) == ("skipped", "ConditionFalse")
        assert [s["status"] for s in no["steps"]] == ["skipped"]
        assert (bad["status"], bad["reason"]) == ("failed", "ConditionError")
        assert bad["error"]["type"] == "KeyError"
        assert bad["attempts"] == []
        assert tasks["no", "undo"]["reason"] == "NothingToUndo"
        assert tasks["no", "undo"]["input"] is None

    async def test_half_a_surrogate_pair(self, client: Client) -> None:
        """A script can put anything into an error; the answer is JSON all the same."""
        run = await client.run(await client.single("raise ValueError('a' + chr(0xD83D))"))
        await client.until(run, "cancelled")
        found = (await client.tasks(run))["a", "do"]
        assert found["error"]["type"] == "ValueError"
        assert found["error"]["message"].startswith("a")


class TestUnknown:
    @pytest.mark.parametrize("path", ["b/do", "a/undone", "a/DO", "%2F/do", "b/do/logs"])
    async def test_is_404(self, client: Client, path: str) -> None:
        run = await client.run(await client.single(), start=False)
        answer = await client.http.get(f"/pipelineruns/{run['instance_id']}/tasks/{path}")
        problem(answer, 404, "not-found")

    async def test_a_ref_keeps_its_spelling(self, client: Client) -> None:
        name = client.new_name()
        entry = {"ref": "é/1 %", "name": await client.task(), "dependsOn": []}
        body = {"category": "c", "name": name, "tasks": [entry]}
        await client.http.post("/pipelines", json=body)
        run = await client.run(name, start=False)
        path = f"/pipelineruns/{run['instance_id']}/tasks/%C3%A9%2F1%20%25/do"
        assert (await client.http.get(path)).json()["ref"] == "é/1 %"


class TestLogs:
    @pytest.fixture
    async def path(self, client: Client) -> str:
        """The logs of a run whose task has two steps and two attempts."""
        name = client.new_name()
        steps = [
            {"doScript": "print('first', context.attempt)"},
            {
                "doScript": "print('second', context.attempt)\nassert context.attempt == 2",
                "undoScript": "pass",
            },
        ]
        body = {"category": "c", "name": name, "steps": steps, "retries": {"limit": 1}}
        await client.http.post("/pipelinetasks", json=body)
        run = await client.run(await client.pipeline(a=(name, [])))
        await client.until(run, "complete")
        return f"/pipelineruns/{run['instance_id']}/tasks/a/do/logs"

    async def test_all_steps_and_attempts_in_order(
        self, http: httpx.AsyncClient, path: str
    ) -> None:
        for query in ({}, {"follow": "true"}):
            answer = await http.get(path, params=query)
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            lines = [
                line for line in answer.text.splitlines() if "first" in line or "second" in line
            ]
            assert [line.split()[-2:] for line in lines if "assert" not in line] == [
                ["first", "1"],
                ["second", "1"],
                ["first", "2"],
                ["second", "2"],
            ]

    async def test_one_step(self, http: httpx.AsyncClient, path: str) -> None:
        answer = await http.get(path, params={"step": 0})
        assert "first" in answer.text
        assert "second" not in answer.text
        assert (await http.get(path, params={"step": 7})).text == ""

    async def test_nothing_was_logged(self, http: httpx.AsyncClient, path: str) -> None:
        for query in ({}, {"follow": "true"}):
            answer = await http.get(path.replace("/do/", "/undo/"), params=query)
            assert (answer.status_code, answer.text) == (200, "")

    @pytest.mark.parametrize(
        "query", [{"step": "-1"}, {"step": "one"}, {"follow": "1"}, {"tail": "3"}]
    )
    async def test_a_wrong_query(
        self, http: httpx.AsyncClient, path: str, query: dict[str, str]
    ) -> None:
        answer = await http.get(path, params=query)
        assert places(problem(answer, 422, "invalid-request")) == list(query)

    async def test_follow_gives_lines_as_they_come(self, client: Client) -> None:
        run = await client.run(await client.single("print('begun')\n" + HANGS))
        path = f"/pipelineruns/{run['instance_id']}/tasks/a/do/logs"
        async with client.http.stream("GET", path, params={"follow": "true"}) as answer:
            lines: AsyncIterator[str] = answer.aiter_lines()
            async with asyncio.timeout(10):
                assert "begun" in await anext(lines)
                await client.forget_runs()
                assert [line async for line in lines if "begun" in line] == []
