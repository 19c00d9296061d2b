"""Runners that are lost: their pod or their Job is deleted, evicted or killed, before their first step
began and after. Before, it costs nothing; after, the attempt has failed.
"""

from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, Step, multi, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.space import Json, Space, until

LOSSES: Final = 5
"""Runners that an attempt may lose before its first step begins."""

Lose = Callable[[Space], None]


def evict(space: Space) -> None:
    """As a drained node does it."""
    for pod in pods(space):
        where = f"/api/v1/namespaces/{space.name}/pods/{pod}/eviction"
        metadata = {"name": pod, "namespace": space.name}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        space("create", f"--raw={where}", "--filename=-", given=body)


def delete_pod(space: Space) -> None:
    space("delete", "pods", *pods(space), "--wait=false", "--ignore-not-found")


def delete_pod_by_force(space: Space) -> None:
    space("delete", "pods", *pods(space), "--force", "--grace-period=0", "--ignore-not-found")


def delete_job(space: Space) -> None:
    space("delete", "jobs", *jobs(space), "--wait=false", "--ignore-not-found")


def delete_job_in_the_foreground(space: Space) -> None:
    words = ("--wait=false", "--cascade=foreground", "--ignore-not-found")
    space("delete", "jobs", *jobs(space), *words)


LOSE: dict[str, Lose] = {
    "evicted": evict,
    "pod deleted": delete_pod,
    "pod deleted by force": delete_pod_by_force,
    "Job deleted": delete_job,
    "Job deleted in the foreground": delete_job_in_the_foreground,
}


def pods(space: Space) -> list[str]:
    """The names of the pods that aren't over, nor being deleted."""
    return [
        each["metadata"]["name"]
        for each in space.items("pods")
        if each["status"].get("phase") in ("Pending", "Running")
        and "deletionTimestamp" not in each["metadata"]
    ]


def jobs(space: Space) -> list[str]:
    """The names of the Jobs that aren't over, nor being deleted."""
    return [
        each["metadata"]["name"]
        for each in space.items("jobs")
        if not each["status"].get("conditions") and "deletionTimestamp" not in each["metadata"]
    ]


def attempts(space: Space, ref: str = "a", side: str = "do") -> list[Json]:
    """What is recorded of a task run of run `r`."""
    found = space.task_runs("r").get((ref, side), {})
    return list(found.get("status", {}).get("attempts", ()))


def waiting(gate: Gate, **further: Any) -> Nodes:
    """A task whose pod waits for a Secret: nothing of it begins before that is there."""
    secrets = [{"name": "s", "secret": "late", "key": "k"}]
    return {"a": node(gate.note("a"), undo=gate.note("undo"), secrets=secrets, **further)}


def secret(space: Space) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}}
    space.apply({**body, "stringData": {"k": "v"}})


@pytest.mark.parametrize("loss", LOSE)
def test_before_it_began(space: Space, gate: Gate, loss: str) -> None:
    """Another runner is started, for the same attempt; nothing is undone."""
    space.start(waiting(gate))
    until("its pod is there", lambda: pods(space))
    (first,) = space.items("pods")
    LOSE[loss](space)
    until(
        "another pod is there",
        lambda: (
            {each["metadata"]["uid"] for each in space.items("pods")} - {first["metadata"]["uid"]}
        ),
    )
    secret(space)
    space.wait_state("r", "complete")
    (attempt,) = attempts(space)
    assert attempt["number"] == 1
    assert attempt["succeeded"] is True
    assert gate.trace == ["a"]


def test_before_it_began_again_and_again(space: Space, gate: Gate) -> None:
    """It isn't tried for ever."""
    space.start(waiting(gate, retries={"limit": 3}))
    for number in range(LOSSES):
        until(f"pod {number} is there", lambda: pods(space))
        delete_pod_by_force(space)
    space.wait_state("r", "cancelled")
    found = space.task_runs("r")["a", "do"]["status"]
    assert found["reason"] == "NotStarted"
    (attempt,) = found["attempts"]
    assert attempt["lost"] == LOSSES
    assert f"{LOSSES} runners ended" in found["message"]
    assert gate.trace == []


@pytest.mark.parametrize("loss", LOSE)
def test_after_it_began(space: Space, gate: Gate, loss: str) -> None:
    """It has failed, is undone when nothing of it runs any more, and what follows isn't begun."""
    nodes: Nodes = {
        "a": node(gate.hold("a"), undo=gate.note("undo"), gracePeriod="1s"),
        "b": node(gate.note("b"), after="a", undo="pass"),
    }
    space.start(nodes)
    gate.wait("a")
    LOSE[loss](space)
    space.wait_state("r", "cancelled")
    (attempt,) = attempts(space)
    assert attempt["reason"] == "RunnerLost", attempt
    assert space.task_runs("r")["a", "do"]["status"]["reason"] == "RunnerLost"
    assert gate.trace == ["a", "undo"]


def test_after_it_began_with_retries(space: Space, gate: Gate) -> None:
    """Each attempt runs all steps, from the original input; none runs twice."""
    first = Step("params['n'] = params.get('n', 0) + 1\n" + gate.note("first", "params['n']"))
    second = Step(gate.note("second", "context.attempt") + gate.hold("held"))
    space.start({"a": multi(first, second, retries={"limit": 2}, gracePeriod="1s")})
    for number, lose in enumerate((evict, delete_job), 1):
        gate.wait("held", number)
        lose(space)
    gate.wait("held", 3)
    gate.release("held")
    space.wait_state("r", "complete")
    assert [each["reason"] for each in attempts(space)[:2]] == ["RunnerLost"] * 2
    assert [each["number"] for each in attempts(space)] == [1, 2, 3]
    assert gate.notes["first"] == [1, 1, 1]
    assert gate.notes["second"] == [1, 2, 3]


def test_a_pod_that_outlives_its_job(space: Space, gate: Gate) -> None:
    """`kubectl delete job --cascade=orphan`: the script goes on, and what it reports counts."""
    space.start({"a": node(gate.hold("a") + "params['x'] = 1", undo="pass")})
    gate.wait("a")
    space("delete", "jobs", *jobs(space), "--cascade=orphan")
    until("the Job is gone", lambda: not space.names("jobs"))
    gate.release("a")
    space.wait_state("r", "complete")
    assert len(attempts(space)) == 1
    assert gate.trace == ["a"]


def test_an_undo_that_is_lost(space: Space, gate: Gate) -> None:
    """The run rests in `aborted`, loudly; `cancel` goes on with what is owed, the lost one whole."""
    nodes: Nodes = {
        "a": node(undo=gate.note("undo a")),
        "b": multi(
            Step(undo=gate.note("undo b0") + gate.hold("held")),
            Step(undo=gate.note("undo b1")),
            after="a",
            gracePeriod="1s",
        ),
        "c": node("1 / 0", after="b"),
    }
    space.start(nodes)
    gate.wait("held")
    delete_pod(space)
    space.wait_state("r", "aborted")
    status = space.status("r")
    assert status["reason"] == "UndoFailed"
    assert "'b'" in status["message"]
    told = until("an event tells of it", lambda: "UndoFailed" in space("describe", "plr/r"))
    assert told
    gate.release("held")
    space.operate("r", "cancel", "on")
    space.wait_state("r", "cancelled")
    assert gate.trace == ["undo b1", "undo b0", "held", "undo b1", "undo b0", "held", "undo a"]


CRASH = """
import itertools
deep = iter([1])
for _ in range(1_000_000):
    deep = itertools.islice(deep, 1)
next(deep)
"""
"""Ends the interpreter by a signal: a million calls, one in the other, of which none is Python's."""


def test_one_that_crashes(space: Space, rest: Rest, gate: Gate) -> None:
    """Its exit code is told, the steps after it end, too, and its log is there."""
    nodes = {"a": multi(Step("print('so far')" + CRASH, gate.note("undo")), Step(gate.note("b")))}
    space.start(nodes)
    space.wait_state("r", "cancelled")
    found = space.task_runs("r")["a", "do"]["status"]
    assert found["reason"] == "RunnerLost", found
    assert "step 0's container ended with exit code 139" in found["message"]
    assert gate.trace == ["undo"]
    uid = space.get("plr/r")["metadata"]["uid"]
    where = f"/pipelineruns/{uid}/tasks/a/do/logs"
    assert "so far" in rest.call("GET", where, 200, params={"step": 0}).text
    error = rest.get("pipelineruns", uid, "tasks", "a", "do")["error"]
    assert "139" in error["message"]


def test_a_script_that_wants_too_much_memory(space: Space, gate: Gate) -> None:
    """It is told so, at the line, and may bear with it; the container lives."""
    limits = {"limits": {"memory": "100Mi"}}
    nodes = {
        "borne": node(
            "try:\n    'x' * 10**9\nexcept MemoryError:\n    params['borne'] = True",
            resources=limits,
        ),
        "not": node("\n'x' * 10**9", undo=gate.note("undo"), after="borne", resources=limits),
    }
    space.start(nodes)
    space.wait_state("r", "cancelled")
    assert attempts(space, "borne")[0]["succeeded"] is True
    (attempt,) = attempts(space, "not")
    assert attempt["reason"] == "ScriptError"
    assert attempt["failure"]["type"] == "MemoryError"
    assert attempt["failure"]["line"] == 2
    assert gate.trace == ["undo"]


FILL = """
with open('/dev/shm/x', 'wb') as file:
    while True:
        file.write(b'x' * 2**20)
"""
"""Takes memory of the container that no process has: the largest process has to go."""


def test_a_container_that_is_out_of_memory(space: Space, gate: Gate) -> None:
    """What the kernel ends is told from what a script is refused."""
    script = "much = ['x' * 2**20 for _ in range(30)]\n" + gate.hold("a")
    limits = {"limits": {"memory": "80Mi"}}
    space.start({"a": node(script, undo=gate.note("undo"), resources=limits)})
    gate.wait("a")
    (pod,) = pods(space)
    inside = ("exec", pod, "--container=step-0", "--", "python3", "-I", "-S", "-c", FILL)
    space.refused(*inside)
    space.wait_state("r", "cancelled")
    (attempt,) = attempts(space)
    assert attempt["reason"] == "OutOfMemory", attempt
    assert "step 0" in attempt["failure"]["message"]
    assert gate.trace == ["a", "undo"]


def test_one_that_hears_no_signal(space: Space, rest: Rest, gate: Gate) -> None:
    """Killed after its grace period; undone only when it is surely gone; its log can still be read."""
    script = "print('so far')\n" + gate.note("a") + "sum(range(10**15))"
    task: Json = {"timeout": "2s", "gracePeriod": "3s", "resources": {"limits": {"cpu": "300m"}}}
    space.start({"a": node(script, undo=gate.hold("undo"), **task)})
    gate.wait("a")
    (do,) = space.items("pods")
    gate.wait("undo")
    pod = space.get(f"pod/{do['metadata']['name']}")
    assert pod["status"]["phase"] == "Failed"
    (container,) = pod["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 137
    assert "so far" in space("logs", do["metadata"]["name"])
    uid = space.get("plr/r")["metadata"]["uid"]
    assert "so far" in rest.call("GET", f"/pipelineruns/{uid}/tasks/a/do/logs", 200).text
    gate.release("undo")
    space.wait_state("r", "cancelled")
    (attempt,) = attempts(space)
    assert attempt["reason"] == "Timeout"
    began, ended = attempt["steps"][0]["begunAt"], attempt["endedAt"]
    assert 2_000 + 3_000 <= ended - began < 30_000
