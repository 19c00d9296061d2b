"""What users do at the wrong moment: cancel amid a start, post twice, leave too much behind, delete the
namespace under a run.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, Step, multi, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.space import Json, Space, until
from tests.e2e.kit.watched import Watched

FAN_OUT = 20

POSTS = 6
"""Of one body with one key, to each replica, all at once."""


def test_cancelled_while_a_fan_out_starts(space: Space, gate: Gate) -> None:
    """No runner of a do is made once the run is cancelling; what began is undone, and only that."""
    nodes: Nodes = {
        f"t{number}": node(gate.note(f"do {number}"), undo=gate.note(f"undo {number}"))
        for number in range(FAN_OUT)
    }
    nodes["last"] = node(gate.note("last"), after=tuple(nodes))
    runs, jobs = Watched(space, "plr"), Watched(space, "jobs")
    space.start(nodes)
    until("the first runner is made", jobs.added, pause=0.01)
    space.operate("r", "cancel", "stop")
    space.wait_state("r", "cancelled")
    jobs.until_seen({each["metadata"]["uid"] for each in space.items("jobs")})
    runs.close()
    jobs.close()
    cancelling = min(each.version for each in runs.seen if each.state == "cancelling")
    dos = [each for each in jobs.added() if each.side == "do"]
    late = [each.ref for each in dos if each.version > cancelling]
    assert late == []
    began = {key.partition(" ")[2] for key in gate.visits if key.startswith("do ")}
    undone = {key.partition(" ")[2] for key in gate.visits if key.startswith("undo ")}
    assert began == undone
    assert "last" not in gate.visits
    assert all(count == 1 for count in gate.visits.values()), gate.visits
    for (ref, side), found in space.task_runs("r").items():
        wanted = "succeeded" if ref.removeprefix("t") in began else "pending"
        assert side == "undo" or found["status"]["state"] == wanted


def test_posted_to_both_replicas_at_once(space: Space, replicas: list[Rest], gate: Gate) -> None:
    """One Idempotency-Key: one run."""
    space.define("p", {"a": node(gate.note("a"))})
    body: Json = {"name": "p", "parameters": {"n": 1}, "run": True}
    ready = threading.Barrier(POSTS * len(replicas))

    def post(rest: Rest, key: str) -> httpx.Response:
        ready.wait()
        return rest.send("POST", "/pipelineruns", json=body, headers={"Idempotency-Key": key})

    for key in ("one", "two"):
        with ThreadPoolExecutor(POSTS * len(replicas)) as pool:
            asked = [pool.submit(post, rest, key) for rest in replicas for _ in range(POSTS)]
        answers = [each.result() for each in asked]
        assert {each.status_code for each in answers} <= {200, 201}, [a.text for a in answers]
        assert len({each.json()["instance_id"] for each in answers}) == 1
    assert len(space.items("plr")) == 2
    for rest in replicas:
        other = {**body, "parameters": {"n": 2}}
        rest.refuse("POST", "/pipelineruns", 409, json=other, headers={"Idempotency-Key": "one"})
    for each in space.items("plr"):
        space.wait_state(each["metadata"]["name"], "complete")
    assert gate.trace == ["a", "a"]


def leaves(size: int) -> str:
    """A script that leaves so many characters in params, which can't be compressed."""
    return (
        "import base64, random\n"
        f"params[f'of step {{context.step}}'] = "
        f"base64.b64encode(random.randbytes({size * 3 // 4})).decode()\n"
    )


def replaces(size: int) -> str:
    """Likewise, in place of what a step before has left."""
    return leaves(size).replace("f'of step {context.step}'", "'it'")


def test_a_result_that_just_fits(space: Space, rest: Rest, gate: Gate) -> None:
    """1 MiB, less a little: carried on whole, and still there when all is undone."""
    length = "len(params['of step 0'])"
    nodes: Nodes = {
        "a": node(leaves(1_040_000), undo=gate.note("undo", length)),
        "b": node(gate.note("b", length), after="a"),
        "c": node("1 / 0", after="b"),
    }
    space.start(nodes)
    space.wait_state("r", "cancelled")
    assert gate.noted("b") == gate.noted("undo") == 1_040_000
    uid = space.get("plr/r")["metadata"]["uid"]
    found = rest.get("pipelineruns", uid, "tasks", "b", "do")
    assert len(found["input"]["of step 0"]) == 1_040_000


def test_large_results_of_one_step_after_the_other(space: Space, gate: Gate) -> None:
    """What they changed together is recorded, which is never more than params may be."""
    steps = [Step(replaces(900_000), gate.note(f"undo {number}")) for number in range(3)]
    space.start({"a": multi(*steps), "b": node(gate.note("b", "len(params['it'])"), after="a")})
    space.wait_state("r", "complete")
    assert gate.noted("b") == 900_000


def test_large_results_of_attempts_that_failed(space: Space, gate: Gate) -> None:
    """They don't count any more, so they mustn't stand in the way of the last attempt's."""
    script = replaces(900_000) + gate.fails("flaw", 3)
    space.start(
        {
            "a": node(script, retries={"limit": 3}),
            "b": node(gate.note("b", "len(params['it'])"), after="a"),
        }
    )
    space.wait_state("r", "complete")
    assert gate.noted("b") == 900_000


def test_a_namespace_deleted_amid_a_fan_out(
    space: Space, gate: Gate, server: Callable[[str], Rest]
) -> None:
    """It goes within its grace period and a little, with runners that start, run and hear nothing."""
    deaf = gate.note("deaf") + "sum(range(10**15))"
    nodes: Nodes = {
        "deaf": node(deaf, undo="pass", gracePeriod="2s", resources={"limits": {"cpu": "200m"}}),
        "held": node(gate.hold("held"), undo="pass", gracePeriod="2s"),
    }
    nodes |= {f"t{number}": node(gate.hold(f"{number}")) for number in range(FAN_OUT // 2)}
    space.start(nodes)
    gate.wait("deaf")
    gate.wait("held")
    space.kubectl("delete", "namespace", space.name, "--timeout=60s")
    assert all(count == 1 for count in gate.visits.values()), gate.visits
