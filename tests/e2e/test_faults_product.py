"""The product itself is killed, stopped, renewed and upgraded while runs are under way.

Every run ends as it must, no step is repeated, none left out, and all is told. These tests have the
product for themselves; they are slow.
"""

import time
import uuid
from collections.abc import Iterator
from random import Random

import pytest
from tests.cluster import chart
from tests.cluster.installed import Installed
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.load import Load
from tests.e2e.kit.parts import API, OPERATOR, Parts
from tests.e2e.kit.space import Space, entry, pipeline, run, task, until
from tests.e2e.kit.stream import Receiver

pytestmark = pytest.mark.slow

RUNS = 24
KILLS = 6
PAUSE = 4.0
"""Seconds between two kills, about: shorter than a Lease takes to expire, so that some come amid the
change of leaders."""

AWHILE = 5.0
"""Seconds without an operator: runners have asked in vain, again and again."""


@pytest.fixture
def receiver(parts: Parts, installed: Installed, space: Space) -> Iterator[Receiver]:
    """Who is told of all that happens in the namespace, by whichever replica answers."""
    found = Receiver(lambda: installed.base_url, installed.token, space.name)
    yield found
    found.close()


def test_operators_killed_again_and_again(
    parts: Parts, space: Space, gate: Gate, receiver: Receiver
) -> None:
    """Both replicas at random, the leader surely among them."""
    seed = uuid.uuid4().int % 10_000
    print(f"seed {seed}")
    chance = Random(seed)
    load = Load(space, gate, receiver, RUNS)
    load.start()
    gate.wait("said")
    parts.kill_leader()
    kills = 0
    while kills < KILLS and load.over() < RUNS:
        parts.kill(OPERATOR, chance)
        kills += 1
        time.sleep(PAUSE * chance.uniform(0.2, 1.8))
    assert kills >= KILLS // 2, "the runs were over before much had happened to them"
    load.judge()


@pytest.mark.parametrize("in_peace", [True, False])
def test_a_leader_that_ends_leaves_no_event_untold(
    parts: Parts, space: Space, *, in_peace: bool
) -> None:
    """What it has recorded and not told is told by the next one, and once."""
    runs = {f"r{number}" for number in range(40)}
    space.apply(
        task("none", steps=[]),
        pipeline("empty", entry("a", name="none")),
        *(run(name, "empty") for name in sorted(runs)),
    )
    until("one is over", lambda: "Complete" in str(space.told_of_runs()), pause=0)
    if in_peace:
        space.kubectl("delete", f"pod/{parts.leader()}", f"--namespace={chart.NAMESPACE}")
    else:
        parts.kill_leader()
    wanted = {name: {"Processing", "Complete"} for name in runs}
    until("each has all events", lambda: space.told_of_runs() == wanted, within=60)
    assert len(space.items("events", "--field-selector=involvedObject.kind=PipelineRun")) == 80


def test_all_parts_renewed_under_load(
    parts: Parts, space: Space, gate: Gate, receiver: Receiver
) -> None:
    """`kubectl rollout restart`, of operator and API at once."""
    load = Load(space, gate, receiver, 12)
    load.start()
    gate.wait("said", 3)
    for part in (OPERATOR, API):
        parts.renew(part)
    assert load.over() < 12
    parts.until_ready()
    load.judge()


def test_an_upgrade_with_runs_under_way(
    parts: Parts, space: Space, gate: Gate, receiver: Receiver
) -> None:
    """`helm upgrade` to another version of the pods; a script that runs all the time goes on."""
    space.start({"held": node(gate.hold("held"), undo="pass")}, "through")
    gate.wait("held")
    load = Load(space, gate, receiver, 6)
    load.start()
    gate.wait("said")
    before = {*parts.pods(OPERATOR), *parts.pods(API)}
    version = {"podAnnotations": {"example.org/version": uuid.uuid4().hex}}
    parts.upgrade({"operator": version, "api": version})
    assert not before & {*parts.pods(OPERATOR), *parts.pods(API)}
    gate.release("held")
    space.wait_state("through", "complete")
    space("delete", "plr/through", "pl/of-through")
    assert gate.visits["held"] == 1
    load.judge()


def test_without_an_operator(parts: Parts, space: Space, gate: Gate, rest: Rest) -> None:
    """A script that ends meanwhile delivers later, and isn't run again; a pod that is lost is missed
    later; what is asked for is answered later; and a run that is deleted by force goes later.
    """
    nodes: Nodes = {
        "a": node(gate.hold("ends") + "params['x'] = 1", undo=gate.note("undo")),
        "b": node(gate.note("b", "params['x']"), after="a"),
    }
    space.start(nodes, "ends")
    space.start({"l": node(gate.hold("lost"), undo=gate.note("undo lost"))}, "lost")
    space.start({"c": node(gate.hold("cancelled"), undo=gate.note("undo c"))}, "cancelled")
    space.start(
        {"d": node(gate.hold("deleted"), gracePeriod="2s", undo=gate.note("no"))}, "deleted"
    )
    space.start({"f": node(gate.hold("foreground"), gracePeriod="2s")}, "foreground")
    space.start({"p": node()}, "pending", operation=None)
    until("it is planned", lambda: space.status("pending").get("planned"))
    for key in ("ends", "lost", "cancelled", "deleted", "foreground"):
        gate.wait(key)
    uids = {each["metadata"]["name"]: each["metadata"]["uid"] for each in space.items("plr")}

    parts.stop(OPERATOR)
    gate.release("ends", "cancelled")
    (lost,) = space.items("pods", f"--selector=xaas.dev/run={uids['lost']}")
    space("delete", f"pod/{lost['metadata']['name']}", "--force", "--grace-period=0")
    space.operate("cancelled", "cancel", "while nobody listens")
    for name in ("deleted", "pending"):
        rest.delete("pipelineruns", uids[name], expect=202, force="true")
    space("delete", "plr/foreground", "--cascade=foreground", "--wait=false")
    posted = rest.post("pipelineruns", {"name": "of-pending", "parameters": {}, "run": True})
    assert posted["status"] == "pending"
    time.sleep(AWHILE)
    assert space.status("ends")["progress"] == "0/2"
    parts.start(OPERATOR)

    space.wait_state("ends", "complete")
    assert gate.noted("b") == 1
    space.wait_state("lost", "cancelled")
    space.wait_state("cancelled", "cancelled")
    space.wait_state(posted["resource_name"], "complete")
    space.wait_gone("plr/deleted", "plr/pending", "plr/foreground")
    for name in ("deleted", "foreground"):
        until(f"nothing is left of {name}", lambda: not list(space.left_of(uids[name])))  # noqa: B023
    for name in ("deleted", "pending"):
        assert rest.gone("pipelineruns", uids[name])
    assert space.task_runs("lost")["l", "do"]["status"]["reason"] == "RunnerLost"
    once = ("ends", "lost", "cancelled", "deleted", "foreground", "b", "undo lost", "undo c")
    assert gate.visits == dict.fromkeys(once, 1)
