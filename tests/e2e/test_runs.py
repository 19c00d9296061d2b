"""Runs by kubectl: operations and their answers, suspension, what can't be changed, conditions."""

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import node
from tests.e2e.kit.space import Json, Space, condition, entry, pipeline, run, task, until

RUNNING = "--field-selector=status.phase=Running"
"""Pods whose steps run, or wait to, as one does that was made ahead."""


def succeeded(space: Space, name: str = "r") -> tuple[str, str]:
    """Status and reason of the condition."""
    found = condition(space.get(f"plr/{name}"), "Succeeded")
    return found["status"], found["reason"]


def test_one_that_completes(space: Space) -> None:
    nodes = {"a": node("params['a'] = 1"), "b": node(after="a", when="params['a'] == 2")}
    space.start(nodes, parameters={"given": [1, {"x": None}]})
    space.wait("condition=Succeeded", "plr/r")
    found = space.get("plr/r")
    status = found["status"]
    assert status["state"] == "complete"
    assert status["progress"] == "2/2"
    assert status["tasks"] == {
        "total": 2, "pending": 0, "running": 0, "succeeded": 1, "failed": 0, "skipped": 1,
    }  # fmt: skip
    assert status["startedAt"] <= status["finishedAt"]
    assert status["observedGeneration"] == found["metadata"]["generation"]
    operation = status["operation"]
    assert (operation["id"], operation["name"], operation["accepted"]) == ("first", "run", True)
    assert succeeded(space) == ("True", "Complete")
    tasks = space.task_runs("r")
    states = {key: each["status"]["state"] for key, each in tasks.items()}
    assert states["a", "do"] == "succeeded"
    for each in tasks.values():
        expected = "True" if each["status"]["state"] in ("succeeded", "skipped") else "Unknown"
        assert condition(each, "Succeeded")["status"] == expected


def test_its_condition_in_every_state(space: Space, gate: Gate) -> None:
    nodes = {"a": node(gate.hold("a") + gate.fails("flaw", 1), undo="pass")}
    space.start(nodes, operation=None, autoRollback=False)
    until("it is planned", lambda: space.status("r").get("planned"))
    assert succeeded(space) == ("Unknown", "Pending")
    space.operate("r", "run", "1")
    gate.wait("a")
    assert succeeded(space) == ("Unknown", "Processing")
    gate.release("a")
    space.wait("condition=Succeeded=False", "plr/r")
    assert space.status("r")["state"] == "aborted"
    assert succeeded(space) == ("False", "TaskFailed")
    space.operate("r", "recovery", "2")
    space.wait("condition=Succeeded", "plr/r")
    assert succeeded(space) == ("True", "Complete")
    space.operate("r", "rollback", "3")
    space.wait("condition=Succeeded=False", "plr/r")
    assert space.status("r")["state"] == "cancelled"


def test_cancelled_while_pending(space: Space) -> None:
    space.start({"a": node()}, operation="cancel")
    space.wait_state("r", "cancelled")
    assert succeeded(space)[0] == "False"
    assert space.names("jobs,pods") == []


def test_cancelled_while_processing(space: Space, gate: Gate) -> None:
    nodes = {"a": node(gate.hold("a"), undo=gate.note("undo a")), "b": node(after="a")}
    space.start(nodes)
    gate.wait("a")
    space.operate("r", "cancel", "stop it")
    answer = space.wait_operation("r", "stop it")
    assert (answer["name"], answer["accepted"], answer["state"]) == ("cancel", True, "cancelling")
    gate.release("a")
    space.wait_state("r", "cancelled")
    assert gate.trace == ["a", "undo a"]


def test_one_that_is_refused(space: Space, gate: Gate) -> None:
    """The answer names the state and what it allows; the run goes on."""
    space.start({"a": node(gate.hold("a"))})
    gate.wait("a")
    space.operate("r", "rollback", "too early")
    answer = space.wait_operation("r", "too early")
    assert not answer["accepted"]
    assert answer["state"] == "processing"
    assert "processing" in answer["message"]
    assert "cancel" in answer["message"]
    # The same id can't be another wish.
    again = '--patch={"spec":{"operation":{"name":"cancel","id":"too early"}}}'
    told = space.refused("patch", "plr/r", "--type=merge", again)
    assert "another operation needs another id" in told
    gate.release("a")
    space.wait("condition=Succeeded", "plr/r")
    assert space.status("r")["operation"] == answer


UNCHANGEABLE: dict[str, tuple[Json, str]] = {
    "the pipeline": ({"name": "other"}, "name can't be changed"),
    "a parameter": ({"parameters": {"a": 2}}, "parameters can't be changed"),
    "a further parameter": ({"parameters": {"b": 1}}, "parameters can't be changed"),
    "the timeout": ({"timeout": "1h"}, "timeout can't be changed"),
    "autoRollback": ({"autoRollback": False}, "autoRollback can't be changed"),
    "onAbort": ({"onAbort": "terminate"}, "onAbort can't be changed"),
    "ttlAfterFinished": ({"ttlAfterFinished": "1s"}, "ttlAfterFinished can't be changed"),
    "no such operation": ({"operation": {"name": "stop", "id": "x"}}, "spec.operation.name"),
    "an operation without an id": ({"operation": {"name": "run"}}, "spec.operation.id"),
}


def test_what_cant_be_changed(space: Space) -> None:
    space.apply(run("r", "missing", None, parameters={"a": 1}))
    for patch, reason in UNCHANGEABLE.values():
        spec = {"spec": patch}
        words = ("patch", "plr/r", "--type=merge", "--patch-file=/dev/stdin")
        assert reason in space.refused(*words, given=spec), patch


def test_suspended(space: Space, gate: Gate) -> None:
    """Nothing further starts, the state stays, and the status is that of what was written."""
    nodes = {"a": node(gate.hold("a")), "b": node(gate.note("b"), after="a")}
    space.start(nodes)
    gate.wait("a")
    space.patch("plr/r", {"suspend": True})

    def is_observed() -> bool:
        found = space.get("plr/r")
        return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])

    until("the suspension is observed", is_observed)
    gate.release("a")
    until("a is over", lambda: space.status("r")["progress"] == "1/2")
    assert space.status("r")["state"] == "processing"
    until("nothing further is up", lambda: not space.items("pods", RUNNING))
    space.patch("plr/r", {"suspend": False})
    space.wait("condition=Succeeded", "plr/r")
    assert gate.trace == ["a", "b"]


def test_one_that_is_suspended_from_the_start(space: Space) -> None:
    space.start({"a": node()}, suspend=True)
    space.wait_state("r", "processing")
    assert space.names("jobs") == []
    space.patch("plr/r", {"suspend": False})
    space.wait("condition=Succeeded", "plr/r")


def test_one_whose_pipeline_comes_later(space: Space) -> None:
    space.apply(run("r", "late"))
    space.wait("jsonpath={.status.reason}=DefinitionMissing", "plr/r")
    assert space.status("r")["state"] == "pending"
    assert "'late'" in space.status("r")["message"]
    assert succeeded(space) == ("Unknown", "DefinitionMissing")
    space.apply(pipeline("late", entry("a")))
    until("the task is missed", lambda: "PipelineTask 'a'" in space.status("r")["message"])
    space.apply(task("a", "def ("))
    space.wait("jsonpath={.status.reason}=Invalid", "plr/r")
    assert "steps[0].doScript, line 1" in space.status("r")["message"]
    space.apply(task("a"))
    space.wait("condition=Succeeded", "plr/r")
    assert space.status("r").get("reason", "") == ""


@pytest.mark.parametrize("side", ["do", "undo"])
def test_rolled_back_when_it_was_put_aside(space: Space, gate: Gate, side: str) -> None:
    """A run that is over is out of the operator's sight, until somebody wants something of it."""
    nodes = {
        "a": node(gate.note("a"), undo=gate.note("undo a")),
        "b": node(after="a", undo=gate.fails("flaw", 1 if side == "undo" else 0)),
    }
    space.start(nodes)
    space.wait("condition=Succeeded", "plr/r")

    def aside() -> bool:
        return "xaas.dev/over" in (space.get("plr/r")["metadata"].get("labels") or {})

    until("it is put aside", aside)
    space.operate("r", "rollback", "back")
    if side == "undo":
        space.wait_state("r", "aborted")
        assert not aside()
        space.operate("r", "cancel", "on")
    space.wait_state("r", "cancelled")
    assert gate.trace[-1] == "undo a"
    until("it is put aside again", aside)
    # What it doesn't allow is answered all the same.
    space.operate("r", "recovery", "no more")
    assert not space.wait_operation("r", "no more")["accepted"]
    until("it is put aside for good", aside)
