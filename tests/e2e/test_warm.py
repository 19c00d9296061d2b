"""Runners that are up before there is work for them."""

from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.parts import Parts
from tests.e2e.kit.space import Json, Space, until


def up(space: Space) -> list[Json]:
    """The pods whose steps run, or wait to."""
    return [each for each in space.items("pods") if each["status"].get("phase") == "Running"]


def test_what_comes_next_is_up_before_its_turn(space: Space, gate: Gate) -> None:
    nodes: Nodes = {
        "a": node(gate.hold("a") + "params['x'] = 1", undo=gate.note("undo")),
        "b": node(gate.note("b", "params['x']"), after="a"),
        "c": node(gate.note("c"), after="b"),
    }
    space.start(nodes)
    gate.wait("a")
    until("b's pod is up, and a's", lambda: len(up(space)) == 2)
    tasks = space.task_runs("r")
    assert ("b", "do") not in tasks, "nothing of it is recorded"
    assert gate.trace == ["a"]
    names = set(space.names("jobs"))
    assert len(names) == 2, "what comes after that isn't up"
    gate.release("a")
    space.wait_state("r", "complete")
    assert gate.noted("b") == 1
    assert names < set(space.names("jobs"))
    assert len(space.names("jobs")) == 3, "b ran in the pod that was there"


def test_what_doesnt_come_is_taken_away(space: Space, gate: Gate) -> None:
    nodes: Nodes = {"a": node(gate.hold("a") + "1 / 0"), "b": node(gate.note("b"), after="a")}
    space.start(nodes)
    gate.wait("a")
    until("b's pod is up, and a's", lambda: len(up(space)) == 2)
    gate.release("a")
    space.wait_state("r", "cancelled")
    until("b's pod has ended", lambda: not up(space))
    until("it is put aside", lambda: "xaas.dev/over" in space.get("plr/r")["metadata"]["labels"])
    assert gate.trace == ["a"], "b never began"


def test_a_pool(parts: Parts, space: Space, gate: Gate, rest: Rest) -> None:
    """Tasks run in pods that were idle, once each, with their logs; and what is idle goes at the end."""
    parts.upgrade({"runner": {"warm": {"lookahead": 0, "pool": 2, "maxWait": "20s"}}})
    parts.until_ready()
    nodes: Nodes = {
        "a": node("print('a was here')\nparams['x'] = 1", undo=gate.note("undo")),
        "b": node(gate.note("b", "params['x']"), after="a"),
    }
    idle = "--selector=xaas.dev/idle"

    def is_full() -> bool:
        running = [each for each in up(space) if "xaas.dev/run" not in each["metadata"]["labels"]]
        return len(space.items("jobs", idle)) == len(running) == 2

    space.start(nodes, "cold")
    space.wait_state("cold", "complete")
    until("two runners are idle", is_full)
    known = {each["metadata"]["name"] for each in space.items("jobs", idle)}
    space.start(nodes, "warm")
    space.wait_state("warm", "complete")
    uid = space.get("plr/warm")["metadata"]["uid"]
    used = space.items("jobs", f"--selector=xaas.dev/run={uid}")
    assert {each["metadata"]["name"] for each in used} == known
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in used} == {uid}
    # At once: the pods needn't say yet whose they are, as those of others do.
    assert "a was here" in rest.call("GET", f"/pipelineruns/{uid}/tasks/a/do/logs", 200).text

    def are_marked() -> bool:
        pods = space.items("pods", f"--selector=xaas.dev/run={uid}")
        refs = [each["metadata"]["annotations"]["xaas.dev/ref"] for each in pods]
        return sorted(refs) == ["a", "b"]

    until("the pods say whose they are", are_marked)
    assert gate.notes["b"] == [1, 1], "once in each run"
    until("the pool is full again", is_full)
    until("who waited in vain has left", lambda: not up(space), within=120)
