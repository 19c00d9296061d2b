"""REST and kubectl are equals: what one writes the other shows, within a second, on every replica."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import node
from tests.conformance.kit.rest import Rest, path
from tests.e2e.kit.space import Json, Space, entry, manifest, pipeline, run, task, until

AT_ONCE = 1.0
"""Seconds that the contract allows."""


def soon(what: str, probe: Callable[[], Any]) -> Any:
    """What must be so within a second."""
    return until(f"{what} (within a second)", probe, within=AT_ONCE, pause=0.05)


def body(name: str, do: str = "pass", category: str = "tests") -> Json:
    return {"category": category, "name": name, "steps": [{"doScript": do}]}


def post(rest: Rest, kind: str, content: Json) -> Any:
    return rest.call("POST", path(kind), 201, json=content).json()


class TestDefinitions:
    def test_by_kubectl(self, space: Space, replicas: list[Rest]) -> None:
        space.apply(task("a", "params['x'] = 1"), pipeline("p", entry("a")))
        for rest in replicas:
            found = rest.get("pipelinetasks", "a")
            assert found["steps"][0]["doScript"] == "params['x'] = 1"
            assert [each["name"] for each in rest.get("pipelines")["items"]] == ["p"]
        etags = [each.call("GET", "/pipelinetasks/a", 200).headers["etag"] for each in replicas]
        assert len(set(etags)) == 1
        space.apply(task("a", "params['x'] = 2"))
        for rest in replicas:
            found = rest.get("pipelinetasks", "a")
            assert found["steps"][0]["doScript"] == "params['x'] = 2"
            # What kubectl wrote meanwhile isn't overwritten unseen.
            stale = {"If-Match": etags[0]}
            rest.refuse("PUT", "/pipelinetasks/a", 412, json=body("a"), headers=stale)
        space("delete", "plt/a", "pl/p")
        for rest in replicas:
            assert rest.gone("pipelinetasks", "a")
            assert rest.get("pipelines")["items"] == []

    @pytest.mark.parametrize("name", ["plain", "Task-1", "タスク 1/é", "x" * 253, "a.b..c"])
    def test_by_rest(self, space: Space, replicas: list[Rest], name: str) -> None:
        """A name that can't be an object's gets one that is derived from it."""
        one, other = replicas[:2]
        post(one, "pipelinetasks", body(name))
        entries = [{"ref": name, "name": name, "dependsOn": []}]
        post(one, "pipelines", {"category": "tests", "name": name, "tasks": entries})
        for kind in ("plt", "pl"):
            (item,) = space.items(kind)
            assert item["spec"].get("name", item["metadata"]["name"]) == name
            assert (item["metadata"]["name"] == name) == (name == "plain" or set(name) == {"x"})
            space.wait("condition=Ready", f"{kind}/{item['metadata']['name']}")
        other.put("pipelinetasks", name, body(name, "params['x'] = 1"))
        (item,) = space.items("plt")
        assert item["spec"]["steps"][0]["doScript"] == "params['x'] = 1"
        # kubectl edits what REST has made.
        space.patch(f"plt/{item['metadata']['name']}", {"category": "edited"})
        assert all(each.get("pipelinetasks", name)["category"] == "edited" for each in replicas)
        made = post(other, "pipelineruns", {"name": name, "parameters": {}, "run": True})
        space.wait("condition=Succeeded", f"plr/{made['resource_name']}")
        assert one.get("pipelineruns", made["instance_id"])["name"] == name
        other.delete("pipelines", name)
        one.delete("pipelinetasks", name)
        assert space.names("pl,plt") == []

    def test_what_kubectl_broke(self, space: Space, rest: Rest) -> None:
        """It is shown as it is, and can be mended by REST."""
        space.apply(task("a", "def ("), pipeline("p", entry("a")))
        space.wait("condition=Ready=False", "plt/a")
        assert rest.get("pipelinetasks", "a")["steps"][0]["doScript"] == "def ("
        rest.put("pipelinetasks", "a", body("a"))
        space.wait("condition=Ready", "plt/a")

    def test_all_fields_survive_both_ways(self, space: Space, rest: Rest) -> None:
        spec = {
            "category": "tests",
            "steps": [{"doScript": "pass", "undoScript": "pass"}, {"doScript": "pass"}],
            "timeout": "1h30m",
            "startTimeout": "90s",
            "gracePeriod": "100ms",
            "retries": {"limit": 2, "delay": "1s", "factor": 1.5, "maxDelay": "1m"},
            "image": "localhost/own:1",
            "resources": {"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "5m"}},
            "secrets": [{"name": "s", "secret": "one", "key": "k"}],
            "allowedImports": ["ssl"],
        }
        space.apply(manifest("PipelineTask", "a", spec))
        shown = rest.get("pipelinetasks", "a")
        assert {key: shown[key] for key in spec} == spec
        written = {key: held for key, held in shown.items() if key in {*spec, "name"}}
        rest.put("pipelinetasks", "a", written)
        assert {**space.get("plt/a")["spec"], "name": "a"} == {**spec, "name": "a"}


class TestRuns:
    def test_made_by_kubectl(self, space: Space, replicas: list[Rest], gate: Gate) -> None:
        nodes = {"a": node(gate.hold("a") + "params['out'] = 1", undo=gate.note("undo"))}
        space.start(nodes, operation=None, parameters={"in": {"deep": [1, 2.5, None, "é"]}})
        uid = space.get("plr/r")["metadata"]["uid"]
        for rest in replicas:
            shown = rest.get("pipelineruns", uid)
            assert shown["resource_name"] == "r"
            assert shown["parameters"] == {"in": {"deep": [1, 2.5, None, "é"]}}
            listed = rest.get("pipelineruns")["items"]
            assert [each["instance_id"] for each in listed] == [uid]
        space.operate("r", "run", "go")
        gate.wait("a")
        for rest in replicas:
            soon("it is running", lambda: rest.get("pipelineruns", uid)["status"] == "processing")  # noqa: B023
            listed = rest.get("pipelineruns", status="processing")["items"]
            assert [each["instance_id"] for each in listed] == [uid]
        # One suspends, the other resumes.
        space.patch("plr/r", {"suspend": True})
        replicas[0].call("PATCH", f"/pipelineruns/{uid}", 202, json={"suspend": False})
        assert space.get("plr/r")["spec"]["suspend"] is False
        gate.release("a")
        space.wait("condition=Succeeded", "plr/r")
        for rest in replicas:
            assert rest.get("pipelineruns", uid)["status"] == "complete"
            done = rest.get("pipelineruns", uid, "tasks", "a", "do")
            assert done["delta"] is not None
            assert done["status"] == "succeeded"
        replicas[1].call("PATCH", f"/pipelineruns/{uid}", 202, json={"operation": "rollback"})
        space.wait_state("r", "cancelled")
        space("delete", "plr/r")
        for rest in replicas:
            assert rest.gone("pipelineruns", uid)
            assert rest.get("pipelineruns")["items"] == []

    def test_made_by_rest(self, space: Space, replicas: list[Rest], gate: Gate) -> None:
        one, other = replicas[:2]
        space.define("p", {"a": node(gate.hold("a"), undo="pass")})
        made = post(one, "pipelineruns", {"name": "p", "parameters": {"a": 1}})
        name = made["resource_name"]
        found = space.get(f"plr/{name}")
        assert found["metadata"]["uid"] == made["instance_id"]
        assert found["spec"]["parameters"] == {"a": 1}
        where = f"/pipelineruns/{made['instance_id']}"
        other.call("PATCH", where, 202, json={"operation": "run"})
        assert space.status(name)["state"] == "processing"
        gate.wait("a")
        one.refuse("PATCH", where, 409, json={"operation": "recovery"})
        refused = space.status(name)["operation"]
        assert (refused["name"], refused["accepted"]) == ("recovery", False)
        other.call("PATCH", where, 202, json={"operation": "cancel"})
        assert space.status(name)["state"] == "cancelling"
        gate.release("a")
        space.wait_state(name, "cancelled")
        one.delete("pipelineruns", made["instance_id"])
        assert not space.is_there(f"plr/{name}")
        assert other.gone("pipelineruns", made["instance_id"])

    def test_told_within_a_second(self, space: Space, replicas: list[Rest], gate: Gate) -> None:
        """A run made and moved by kubectl, in lists and in itself."""
        space.define("p", {"a": node(gate.hold("a"))})
        for number in range(3):
            space.apply(run(f"r{number}", "p"))
            since = time.monotonic()
            for rest in replicas:
                listed = rest.get("pipelineruns")["items"]
                assert {each["resource_name"] for each in listed} == {
                    f"r{each}" for each in range(number + 1)
                }
            assert time.monotonic() - since < AT_ONCE

    def test_each_replica_reads_what_was_written_elsewhere(
        self, space: Space, replicas: list[Rest]
    ) -> None:
        """Lists too, at once: no pause between a write here and a read there."""
        one, other = replicas[:2]
        post(one, "pipelinetasks", body("a"))
        entries = [{"ref": "a", "name": "a", "dependsOn": []}]
        post(one, "pipelines", {"category": "tests", "name": "p", "tasks": entries})
        made: list[str] = []
        for number in range(10):
            writer, reader = (one, other) if number % 2 else (other, one)
            content = {"name": "p", "parameters": {"n": number}}
            made.insert(0, post(writer, "pipelineruns", content)["instance_id"])
            for rest in (reader, writer):
                listed = [each["instance_id"] for each in rest.get("pipelineruns")["items"]]
                assert listed == made
            writer.put("pipelinetasks", "a", body("a", category=f"c{number}"))
            (shown,) = reader.get("pipelinetasks")["items"]
            assert shown["category"] == f"c{number}"
        for number, uid in enumerate(made):
            writer, reader = (one, other) if number % 2 else (other, one)
            writer.delete("pipelineruns", uid, expect=202, force="true")
            until(
                "it is gone on both",
                lambda: all(each.gone("pipelineruns", uid) for each in (writer, reader)),  # noqa: B023
                pause=0.05,
            )
            listed = [each["instance_id"] for each in reader.get("pipelineruns")["items"]]
            assert listed == made[number + 1 :]
