"""Runs deleted by kubectl in every state: what runs is stopped first, nothing is undone or left."""

from collections.abc import Callable

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, node
from tests.e2e.kit.space import Space, entry, pipeline, run, task, until

STOPPED_WITHIN = 30.0
"""Seconds from `kubectl delete` until the run is gone: the grace period is one of them."""


def uid_of(space: Space, name: str = "r") -> str:
    return str(space.get(f"plr/{name}")["metadata"]["uid"])


def stoppable(gate: Gate) -> str:
    """A script that waits, and tells when it is asked to stop."""
    return (
        "try:\n"
        + "".join(f"    {line}\n" for line in gate.hold("held").splitlines())
        + "finally:\n"
        + "".join(f"    {line}\n" for line in gate.note("asked to stop").splitlines())
    )


def nothing_left(space: Space, uid: str) -> None:
    until("nothing is left of the run", lambda: not list(space.left_of(uid)))


def test_pending(space: Space) -> None:
    space.start({"a": node()}, operation=None)
    until("it is planned", lambda: space.status("r").get("planned"))
    uid = uid_of(space)
    space("delete", "plr/r", f"--timeout={STOPPED_WITHIN:.0f}s")
    nothing_left(space, uid)


def test_pending_without_a_plan(space: Space) -> None:
    space.apply(run("r", "missing"))
    space.wait("jsonpath={.status.reason}=DefinitionMissing", "plr/r")
    assert "finalizers" not in space.get("plr/r")["metadata"]
    space("delete", "plr/r", f"--timeout={STOPPED_WITHIN:.0f}s")


@pytest.mark.parametrize("cascade", ["background", "foreground"])
def test_processing(space: Space, gate: Gate, cascade: str) -> None:
    """The script is asked to stop; the run stays until it has; then all goes."""
    nodes = {
        "done": node(undo=gate.note("undo")),
        "held": node(stoppable(gate), after="done", undo=gate.note("undo"), gracePeriod="10s"),
        "next": node(gate.note("next"), after="held"),
    }
    space.start(nodes)
    gate.wait("held")
    uid = uid_of(space)
    space("delete", "plr/r", f"--cascade={cascade}", f"--timeout={STOPPED_WITHIN:.0f}s")
    gate.wait("asked to stop")
    nothing_left(space, uid)
    assert gate.trace == ["held", "asked to stop"]


def test_processing_whatever_cascade_says(space: Space, gate: Gate) -> None:
    """--cascade=orphan leaves records and Jobs, which is what it asks for; but nothing that runs."""
    space.start({"held": node(stoppable(gate), undo=gate.note("undo"))})
    gate.wait("held")
    space("delete", "plr/r", "--cascade=orphan", f"--timeout={STOPPED_WITHIN:.0f}s")
    gate.wait("asked to stop")
    until(
        "no pod runs",
        lambda: not space.items("pods", "--field-selector=status.phase=Running"),
    )
    assert gate.visits["undo"] == 0


def _aborted(gate: Gate) -> Nodes:
    return {"a": node("1 / 0", undo=gate.note("undo"))}


def _cancelling(gate: Gate) -> Nodes:
    return {
        "a": node(undo=gate.note("undo a")),
        "b": node("1 / 0", undo=stoppable(gate), after="a", gracePeriod="10s"),
    }


@pytest.mark.parametrize(
    ("state", "nodes", "trace"),
    [("aborted", _aborted, []), ("cancelling", _cancelling, ["held", "asked to stop"])],
)
def test_amid_a_failure(
    space: Space, gate: Gate, state: str, nodes: Callable[[Gate], Nodes], trace: list[str]
) -> None:
    space.start(nodes(gate), autoRollback=state == "cancelling")
    space.wait_state("r", state)
    if trace:
        gate.wait("held")
    uid = uid_of(space)
    space("delete", "plr/r", f"--timeout={STOPPED_WITHIN:.0f}s")
    nothing_left(space, uid)
    assert gate.trace == trace


@pytest.mark.parametrize("state", ["complete", "cancelled"])
def test_over(space: Space, state: str) -> None:
    """Nobody holds on to it: it would go without an operator, too."""
    space.start({"a": node("pass" if state == "complete" else "1 / 0", undo="pass")})
    space.wait_state("r", state)
    until("it is let go", lambda: "finalizers" not in space.get("plr/r")["metadata"])
    uid = uid_of(space)
    space("delete", "plr/r", "--timeout=5s")
    nothing_left(space, uid)


def test_all_of_a_kind(space: Space, gate: Gate) -> None:
    """`kubectl delete --all`, in any state."""
    space.start({"a": node()}, "over")
    space.wait_state("over", "complete")
    space.start({"h": node(gate.hold("h"), gracePeriod="1s")}, "held")
    gate.wait("h")
    space.apply(*(run(f"p{number}", "of-over", None) for number in range(4)))
    space("delete", "plr", "--all", f"--timeout={STOPPED_WITHIN:.0f}s")
    until("nothing is left", lambda: not space.names("pltr,jobs,pods"))


def test_somebody_elses_finalizer_stays(space: Space, gate: Gate) -> None:
    """What others hold on to is theirs to let go of."""
    space.apply(task("a", gate.hold("a")), pipeline("p", entry("a")))
    theirs = run("r", "p")
    theirs["metadata"]["finalizers"] = ["example.org/mine"]
    space.apply(theirs)
    gate.wait("a")
    assert set(space.get("plr/r")["metadata"]["finalizers"]) == {
        "example.org/mine",
        "xaas.dev/stop",
    }
    gate.release("a")
    space.wait_state("r", "complete")
    until(
        "it is let go",
        lambda: space.get("plr/r")["metadata"].get("finalizers") == ["example.org/mine"],
    )
    space.operate("r", "rollback", "back")
    space.wait_state("r", "cancelled")
    space("delete", "plr/r", "--wait=false")
    until("it is being deleted", lambda: "deletionTimestamp" in space.get("plr/r")["metadata"])
    until(
        "only theirs is left",
        lambda: space.get("plr/r")["metadata"].get("finalizers") == ["example.org/mine"],
    )
    space("patch", "plr/r", "--type=merge", '--patch={"metadata":{"finalizers":null}}')
    space.wait_gone("plr/r")


def test_after_its_time(space: Space) -> None:
    """ttlAfterFinished removes it by itself, and all that belongs to it."""
    space.start({"a": node()}, ttlAfterFinished="1s")
    uid = uid_of(space)
    space.wait_gone("plr/r")
    nothing_left(space, uid)


def test_its_namespace(space: Space, gate: Gate) -> None:
    """With runs under way, retried, cancelling and pending, it goes away within a minute."""
    space.start({"h": node(stoppable(gate), gracePeriod="2s")}, "held")
    space.start({"u": node("1 / 0", undo=gate.hold("undo"), gracePeriod="2s")}, "undone")
    retries = {"limit": 9, "delay": "100ms"}
    space.start({"t": node(gate.note("again") + "1 / 0", retries=retries)}, "retried")
    space.start({"p": node()}, "pending", operation=None)
    space.apply(run("missing", "missing"))
    for key in ("held", "undo", "again"):
        gate.wait(key)
    space.kubectl("delete", "namespace", space.name, "--timeout=60s")
    gate.wait("asked to stop")
