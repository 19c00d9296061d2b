"""Definitions by kubectl: what is wrong with one, and that it becomes ready by itself."""

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.space import Json, Space, condition, entry, manifest, pipeline, run, task, until

UNUSABLE: dict[str, tuple[Json, tuple[str, ...]]] = {
    "a script that doesn't compile": (
        task("x", "params['a'] = 1\nif True\n    pass"),
        ("steps[0].doScript", "line 2"),
    ),
    "an undoScript that doesn't compile": (
        task("x", undo="\n\n)"),
        ("steps[0].undoScript", "line 3"),
    ),
    "a script that the sandbox refuses": (
        task("x", "params['a'] = 1\nimport os"),
        ("steps[0].doScript", "line 2", "os"),
    ),
    "a secret named twice": (
        task("x", secrets=[{"name": "s", "secret": "one", "key": "k"}] * 2),
        ("secrets[1].name", "'s'"),
    ),
    "an unknown ref": (
        pipeline("x", entry("a", name="t"), entry("b", "nowhere", name="t")),
        ("tasks[1].dependsOn", "'nowhere'"),
    ),
    "a ref that is there twice": (
        pipeline("x", entry("a", name="t"), entry("a", name="t")),
        ("tasks[1].ref", "'a'"),
    ),
    "a cycle": (
        pipeline("x", entry("a", "c", name="t"), entry("b", "a", name="t"), entry("c", "b", name="t")),
        ("dependsOn", "a -> b -> c -> a"),
    ),
    "a condition that doesn't compile": (
        pipeline("x", entry("a", name="t", condition="params['a'] ==")),
        ("tasks[0].condition", "line 1"),
    ),
    "a condition that the sandbox refuses": (
        pipeline("x", entry("a", name="t", condition="import os\nreturn True")),
        ("tasks[0].condition", "line 1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNUSABLE)
def test_what_is_wrong_is_said_and_it_can_be_mended(space: Space, what: str) -> None:
    item, places = UNUSABLE[what]
    kind = item["kind"]
    space.apply(task("t"), item)
    space.wait("condition=Ready=False", f"{kind}/x")
    ready = condition(space.get(f"{kind}/x"), "Ready")
    assert ready["reason"] == "Invalid"
    missing = [each for each in places if each not in ready["message"]]
    assert not missing, ready["message"]
    space.apply(task("x") if kind == "PipelineTask" else pipeline("x", entry("a", name="t")))
    space.wait("condition=Ready", f"{kind}/x")
    mended = space.get(f"{kind}/x")
    assert mended["status"]["observedGeneration"] == mended["metadata"]["generation"] == 2
    assert condition(mended, "Ready")["reason"] == "Valid"


REFUSED: dict[str, tuple[Json, str]] = {
    "no tasks": (pipeline("x"), "spec.tasks"),
    "no steps": (manifest("PipelineTask", "x", {"category": "tests"}), "spec.steps"),
    "an unknown field": (pipeline("x", entry("a"), colour="red"), "spec.colour"),
    "no duration": (task("x", timeout="soon"), "spec.timeout"),
    "a ref that is a dot": (pipeline("x", entry(".")), "spec.tasks[0].ref"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_schema_refuses(space: Space, what: str) -> None:
    item, place = REFUSED[what]
    told = space.refused("apply", "--filename=-", given=item)
    assert place in told
    assert not space.is_there(f"{item['kind']}/x")


def test_a_pipeline_waits_for_its_tasks(space: Space) -> None:
    """In any order; and what goes missing is said again."""
    space.apply(pipeline("p", entry("a"), entry("b", "a", name="missing")), task("a"))
    space.wait("condition=Ready=False", "pl/p")

    def ready() -> Json:
        return condition(space.get("pl/p"), "Ready")

    until("the first task is seen", lambda: "'a'" not in ready()["message"])
    assert ready()["reason"] == "DefinitionMissing"
    assert "task 'b' needs the PipelineTask 'missing'" in ready()["message"]
    space.apply(task("missing"))
    space.wait("condition=Ready", "pl/p")
    space("delete", "plt/a")
    space.wait("condition=Ready=False", "pl/p")
    assert "task 'a' needs the PipelineTask 'a'" in ready()["message"]


def test_applied_again_nothing_changes(space: Space) -> None:
    """What is shown beside the spec isn't in the way of GitOps."""
    items = (task("a"), pipeline("p", entry("a")), run("r", "p"))
    space.apply(*items)
    space.wait("condition=Succeeded", "plr/r")
    space.wait("condition=Ready", "pl/p")
    said = space.apply(*items)
    assert [line.split()[-1] for line in said.splitlines()] == ["unchanged"] * 3
    listed = {"apiVersion": "v1", "kind": "List", "items": list(items)}
    assert space("diff", "--filename=-", given=listed) == ""
    assert "name" not in space.get("pl/p")["spec"]


def test_the_name_is_the_objects_own_unless_said(space: Space, rest: Rest) -> None:
    own = manifest("PipelineTask", "other", {**task("x")["spec"], "name": "Größe/1"})
    space.apply(task("plain"), own)
    assert rest.get("pipelinetasks", "plain")["name"] == "plain"
    assert rest.get("pipelinetasks", "Größe/1")["name"] == "Größe/1"
    assert rest.gone("pipelinetasks", "other")
    told = space.refused("patch", "plt/other", "--type=merge", '--patch={"spec":{"name":"y"}}')
    assert "the name can't be changed" in told


@pytest.mark.parametrize("kind", ["PipelineTask", "Pipeline"])
def test_a_name_that_is_taken(space: Space, rest: Rest, kind: str) -> None:
    """The older one stays in use; when it goes, the younger takes its place."""
    plural = f"{kind.lower()}s"
    spec = (task("x") if kind == "PipelineTask" else pipeline("x", entry("t")))["spec"]
    space.apply(task("t"), manifest(kind, "one", {**spec, "name": "X", "category": "older"}))
    space.wait("condition=Ready", f"{kind}/one")
    space.apply(manifest(kind, "another", {**spec, "name": "X", "category": "younger"}))
    space.wait("condition=Ready=False", f"{kind}/another")
    ready = condition(space.get(f"{kind}/another"), "Ready")
    assert ready["reason"] == "NameTaken"
    assert "'one'" in ready["message"]
    assert rest.get(plural, "X")["category"] == "older"
    # Written again, the older one is still the one.
    space.patch(f"{kind}/one", {"category": "older still"})
    assert rest.get(plural, "X")["category"] == "older still"
    listed = [item["category"] for item in rest.get(plural)["items"] if item["name"] == "X"]
    assert listed == ["older still"]
    assert condition(space.get(f"{kind}/one"), "Ready")["status"] == "True"
    space("delete", f"{kind}/one")
    space.wait("condition=Ready", f"{kind}/another")
    assert rest.get(plural, "X")["category"] == "younger"


def test_edited_and_deleted_while_a_run_uses_them(space: Space, gate: Gate) -> None:
    nodes = {
        "a": node(gate.hold("a"), undo=gate.note("undo a")),
        "b": node(gate.note("b", "'as it was'"), after="a"),
    }
    space.start(nodes)
    gate.wait("a")
    space.apply(task("b", "raise Error(1, 'edited')"))
    space.apply(pipeline("of-r", entry("a")))
    space.wait("condition=Ready", "plt/b")
    space("delete", "plt/a", "plt/b", "pl/of-r")
    assert space.names("pl,plt") == []
    gate.release("a")
    space.wait_state("r", "complete")
    assert gate.noted("b") == "as it was"
    # Nor do they matter when it is undone.
    space.operate("r", "rollback", "back")
    space.wait_state("r", "cancelled")
    assert gate.visits["undo a"] == 1
