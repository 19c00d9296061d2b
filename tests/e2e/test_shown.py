"""What kubectl shows: columns, and the story of a failure without any log."""

import re

from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Step, multi, node
from tests.e2e.kit.space import Space, entry, pipeline, run, task, until

RAISES = "params['x'] = 1\n\nraise ValueError('no port is free')"


def columns(text: str) -> list[dict[str, str]]:
    """A table of kubectl's, row by row."""
    head, *rows = text.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], None]
    return [
        {
            head[start:end].strip(): row[start:end].strip()
            for start, end in zip(starts, ends, strict=True)
        }
        for row in rows
    ]


def test_the_columns(space: Space, gate: Gate) -> None:
    nodes = {
        "ok": node(undo="pass"),
        "bad": node("1 / 0", undo=gate.hold("undo"), after="ok"),
    }
    space.start(nodes)
    space.apply(pipeline("broken", entry("x")))
    gate.wait("undo")
    space.wait("condition=Ready", "pl/of-r")
    space.wait("condition=Ready=False", "pl/broken")
    space.wait("condition=Ready", "plt/ok", "plt/bad")

    def row(kind: str, name: str) -> dict[str, str]:
        return next(each for each in columns(space("get", kind)) if each["NAME"] == name)

    shown = row("pl", "of-r")
    assert (shown["READY"], shown["CATEGORY"]) == ("True", "tests")
    shown = row("pl", "broken")
    assert (shown["READY"], shown["REASON"]) == ("False", "DefinitionMissing")
    assert row("plt", "ok")["READY"] == "True"
    shown = row("plr", "r")
    wanted = ("of-r", "cancelling", "1/2", "TaskFailed")
    assert tuple(shown[each] for each in ("PIPELINE", "STATE", "TASKS", "REASON")) == wanted
    assert re.fullmatch(r"\d+[sm].*", shown["STARTED"])
    assert re.fullmatch(r"\d+[sm].*", shown["AGE"])
    rows = {(each["REF"], each["TYPE"]): each for each in columns(space("get", "pltr"))}
    assert rows["ok", "do"]["STATE"] == "succeeded"
    failed = rows["bad", "do"]
    assert (failed["RUN"], failed["STATE"], failed["REASON"]) == ("r", "failed", "ScriptError")
    assert rows["bad", "undo"]["STATE"] == "running"
    # All four kinds at once, and by the category.
    for kinds in ("pl,plt,plr,pltr", "xaas"):
        told = space("get", kinds)
        assert all(
            f"{kind}.xaas.dev/" in told for kind in ("pipeline", "pipelinetask", "pipelinerun")
        )
        assert "pipelinetaskrun.xaas.dev/" in told
    wide = columns(space("get", "plr", "--output=wide"))[0]
    assert "'bad'" in wide["MESSAGE"]
    gate.release("undo")
    space.wait_state("r", "cancelled")


def test_why_it_failed_without_the_logs(space: Space) -> None:
    nodes = {
        "fine": node(undo="pass"),
        "flawed": multi(Step(), Step(RAISES), after="fine"),
    }
    space.start(nodes)
    space.wait_state("r", "cancelled")

    def described() -> str:
        told = space("describe", "plr/r")
        return told if "Cancelled" in told.partition("\nEvents:")[2] else ""

    told = until("the events tell of the end", described)
    status, _, events = told.partition("\nEvents:")
    assert "task 'flawed' failed" in status
    failure = next(line for line in events.splitlines() if "TaskFailed" in line)
    assert failure.split()[0] == "Warning"
    for part in ("task 'flawed'", "step 1", "line 3", "ValueError: no port is free"):
        assert part in failure
    reasons = [line.split()[1] for line in events.splitlines() if "xaas-pipeline" in line]
    wanted = ["Processing", "TaskFailed", "Aborted", "Cancelling", "Cancelled"]
    assert sorted(reasons) == sorted(wanted), events
    # The task run has it whole.
    name = next(
        each["metadata"]["name"]
        for each in space.items("pltr")
        if (each["spec"]["ref"], each["spec"]["processType"]) == ("flawed", "do")
    )
    told = space("describe", f"pltr/{name}")
    assert "no port is free" in told
    attempt = space.get(f"pltr/{name}")["status"]["attempts"][-1]
    assert attempt["failure"]["type"] == "ValueError"
    assert (attempt["failure"]["step"], attempt["failure"]["line"]) == (1, 3)


def test_every_end_has_its_event(space: Space) -> None:
    """Also of runs that are over at once, many at a time."""
    space.apply(
        task("none", steps=[]),
        pipeline("empty", entry("a", name="none")),
        *(run(f"r{number}", "empty") for number in range(12)),
    )
    for number in range(12):
        space.wait("condition=Succeeded", f"plr/r{number}")

    wanted = {f"r{number}": {"Processing", "Complete"} for number in range(12)}
    until("each has all events", lambda: space.told_of_runs() == wanted, within=15)


def test_a_pod_that_cant_start(space: Space) -> None:
    """Kubernetes' own reason is in the status."""
    definition = task("a", image="localhost/nowhere:none", startTimeout="2s")
    space.apply(definition, pipeline("p", entry("a")), run("r", "p"))
    space.wait("condition=Succeeded=False", "plr/r")
    (found,) = (each for each in space.items("pltr") if each["spec"]["processType"] == "do")
    assert found["status"]["state"] == "failed"
    assert found["status"]["reason"] == "NotStarted"
    assert "nowhere" in found["status"]["message"], found["status"]
    assert re.search(r"ImagePull|ErrImage", found["status"]["message"])
