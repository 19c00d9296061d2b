"""Notifications on Kubernetes: any replica goes on where another stopped, and nothing is lost."""

import itertools
import threading

import pytest
from tests.cluster import chart
from tests.cluster.installed import Installed, undisturbed
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, node
from tests.e2e.kit.parts import Parts
from tests.e2e.kit.space import Space, run, until
from tests.e2e.kit.stream import Receiver

TOLD_WITHIN = 30.0
"""Seconds for what was lost on the way; what is told at all is told within a second."""

RUNS = 6

COMPLETE = ["run processing", "a do running", "a do succeeded", "b do skipped", "run complete"]


def some() -> Nodes:
    return {"a": node(), "b": node(after="a", when="False")}


def test_from_one_replica_to_another(installed: Installed, space: Space) -> None:
    """A receiver that changes the replica after every second message misses none."""
    with undisturbed():
        replicas = itertools.cycle(installed.replicas())
        receiver = Receiver(lambda: next(replicas), installed.token, space.name, turn=2)
        space.define("p", some())
        space.apply(*(run(f"r{number}", "p") for number in range(RUNS)))
        uids = [each["metadata"]["uid"] for each in space.items("plr")]
        for uid in uids:
            receiver.wait(uid, "run complete", 60)
        receiver.close()
    assert len(set(receiver.connections)) >= 2, receiver.connections
    assert receiver.troubles == []
    for uid in uids:
        assert [each.brief for each in receiver.of(uid)] == COMPLETE


def test_told_at_once(installed: Installed, space: Space, gate: Gate) -> None:
    """On each replica, whoever else reads the same run there meanwhile."""
    with undisturbed():
        receivers = [
            Receiver(lambda url=url: url, installed.token, space.name)  # type: ignore[misc]
            for url in installed.replicas()
        ]
        space.start({"a": node(gate.hold("a"), undo=gate.note("undo"))})
        uid = space.get("plr/r")["metadata"]["uid"]
        gate.wait("a")
        for each in receivers:
            each.wait(uid, "a do running", 2)
        space.operate("r", "cancel", "stop")
        space.wait_operation("r", "stop")
        for each in receivers:
            each.wait(uid, "run cancelling", 2)
        gate.release("a")
        space.wait_state("r", "cancelled")
        for each in receivers:
            each.wait(uid, "run cancelled", 2)
            each.close()
            assert each.troubles == []


@pytest.mark.slow
def test_after_all_replicas_were_restarted(
    parts: Parts, installed: Installed, space: Space, gate: Gate
) -> None:
    """What happens while nobody tells of it is told afterwards."""
    nodes = {"a": node(gate.hold("a")), "b": node(after="a")}
    space.define("p", nodes)
    receiver = Receiver(lambda: installed.base_url, installed.token, space.name)
    space.apply(*(run(f"r{number}", "p") for number in range(RUNS)))
    gate.wait("a", RUNS)
    uids = [each["metadata"]["uid"] for each in space.items("plr")]
    for uid in uids:
        receiver.wait(uid, "a do running", TOLD_WITHIN)
    selector = f"app.kubernetes.io/instance={chart.RELEASE},app.kubernetes.io/component=api"
    where = (f"--namespace={chart.NAMESPACE}", f"--selector={selector}")
    deletion = threading.Thread(target=space.kubectl, args=("delete", "pods", *where))
    deletion.start()
    until("the old replicas are going", lambda: not installed.replicas())
    gate.release("a")
    for number in range(RUNS):
        space.wait_state(f"r{number}", "complete")
    deletion.join()
    until("both replicas are back", lambda: len(installed.replicas()) >= 2)
    for uid in uids:
        receiver.wait(uid, "run complete", TOLD_WITHIN)
    receiver.close()
    assert receiver.troubles == []
    whole = ["run processing", "a do running", "a do succeeded"]
    whole += ["b do running", "b do succeeded", "run complete"]
    for uid in uids:
        assert [each.brief for each in receiver.of(uid)] == whole
