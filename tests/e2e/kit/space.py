"""One namespace, as a user of kubectl sees it: manifests go in, objects come out."""

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from tests.cluster.kubectl import Kubectl
from tests.conformance.kit.plan import Nodes

WITHIN: Final = 60.0
"""Seconds for what is bound to come: pods start slowly when all tests start theirs."""

PAUSE: Final = 0.3
"""Seconds between two looks: each is a process of its own."""

AT_REST: Final = ("complete", "cancelled", "aborted")

Json = dict[str, Any]


def manifest(kind: str, name: str, spec: Json, **metadata: Any) -> Json:
    """An object as it is written in a file."""
    return {
        "apiVersion": "xaas.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def task(name: str, do: str = "pass", undo: str | None = None, **spec: Any) -> Json:
    """A PipelineTask of one step, whose name is the object's."""
    step = {"doScript": do} | ({} if undo is None else {"undoScript": undo})
    return manifest("PipelineTask", name, {"category": "tests", "steps": [step], **spec})


def pipeline(name: str, *tasks: Json, **spec: Any) -> Json:
    """A Pipeline of these entries, whose name is the object's."""
    return manifest("Pipeline", name, {"category": "tests", "tasks": list(tasks), **spec})


def entry(ref: str, *after: str, name: str | None = None, **further: Any) -> Json:
    """An entry of a Pipeline, of the PipelineTask `name` or else `ref`."""
    return {"ref": ref, "name": name or ref, "dependsOn": list(after), **further}


def run(name: str, of: str, operation: str | None = "run", **spec: Any) -> Json:
    """A PipelineRun of the Pipeline `of`, which starts at once."""
    asked = {} if operation is None else {"operation": {"name": operation, "id": "first"}}
    return manifest("PipelineRun", name, {"name": of, "parameters": {}, **asked, **spec})


def until(what: str, probe: Callable[[], Any], within: float = WITHIN, pause: float = PAUSE) -> Any:
    """What `probe` gives as soon as it gives something."""
    deadline = time.monotonic() + within
    while not (found := probe()):
        assert time.monotonic() < deadline, f"waited {within:.0f} s in vain until {what}"
        time.sleep(pause)
    return found


def condition(item: Json, kind: str) -> Json:
    """One condition of an object; without it, an empty one."""
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind), {})


@dataclass(frozen=True)
class Space:
    """kubectl in the namespace `name`."""

    kubectl: Kubectl
    name: str

    def __call__(self, *words: str, given: object = None) -> str:
        """What kubectl says; an error is one of the test."""
        return self.kubectl(f"--namespace={self.name}", *words, given=given)

    def refused(self, *words: str, given: object = None) -> str:
        """What kubectl says of what mustn't work."""
        done = subprocess.run(
            [
                str(self.kubectl.program),
                f"--kubeconfig={self.kubectl.kubeconfig}",
                f"--namespace={self.name}",
                *words,
            ],
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0, done.stdout
        return done.stderr

    # ------------------------------------------------------------------------------------- writing

    def apply(self, *items: Json) -> str:
        """`kubectl apply`, of all at once."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(items)}
        return self("apply", "--filename=-", given=listed)

    def define(self, name: str, nodes: Nodes) -> None:
        """A Pipeline and the PipelineTasks of its nodes, each called as the node is."""
        tasks = [
            manifest("PipelineTask", ref, {**node.body(ref, "tests")})
            for ref, node in nodes.items()
        ]
        entries = [node.place(ref, ref) for ref, node in nodes.items()]
        self.apply(*tasks, pipeline(name, *entries))

    def start(
        self, nodes: Nodes, name: str = "r", operation: str | None = "run", **spec: Any
    ) -> str:
        """A run of a pipeline of these nodes; gives the name of the run."""
        self.define(f"of-{name}", nodes)
        self.apply(run(name, f"of-{name}", operation, **spec))
        return name

    def patch(self, what: str, spec: Json, *words: str) -> str:
        """`kubectl patch` of a spec."""
        return self("patch", what, "--type=merge", f"--patch={json.dumps({'spec': spec})}", *words)

    def operate(self, name: str, operation: str, identity: str) -> None:
        """Ask a run for an operation."""
        self.patch(f"plr/{name}", {"operation": {"name": operation, "id": identity}})

    # ------------------------------------------------------------------------------------- reading

    def get(self, *words: str) -> Any:
        """An object, or a list."""
        return self.kubectl.get(f"--namespace={self.name}", *words)

    def items(self, *words: str) -> list[Json]:
        """The objects of a list."""
        return list(self.get(*words)["items"])

    def is_there(self, what: str) -> bool:
        """Whether there is such an object."""
        return bool(self("get", what, "--ignore-not-found", "--output=name"))

    def status(self, name: str) -> Json:
        """The status of a run."""
        return dict(self.get(f"plr/{name}").get("status") or {})

    def names(self, kinds: str) -> list[str]:
        """What there is, as kind and name."""
        return self("get", kinds, "--output=name").split()

    def task_runs(self, name: str) -> dict[tuple[str, str], Json]:
        """The task runs of a run, by ref and side."""
        found = self.items("pltr", f"--field-selector=spec.run.name={name}")
        return {(each["spec"]["ref"], each["spec"]["processType"]): each for each in found}

    def told_of_runs(self) -> dict[str, set[str]]:
        """The reasons of the Events of each run."""
        found: dict[str, set[str]] = {}
        for event in self.items("events", "--field-selector=involvedObject.kind=PipelineRun"):
            found.setdefault(event["involvedObject"]["name"], set()).add(event["reason"])
        return found

    def wait(self, what: str, *of: str, within: float = WITHIN) -> None:
        """`kubectl wait` until `what`, such as `condition=Ready`, holds."""
        self("wait", f"--for={what}", *of, f"--timeout={within:.0f}s")

    def wait_state(self, name: str, state: str, within: float = WITHIN) -> None:
        """Until a run is in a state."""
        try:
            self.wait(f"jsonpath={{.status.state}}={state}", f"plr/{name}", within=within)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.story(name)}") from None

    def wait_operation(self, name: str, identity: str) -> Json:
        """Until an operation is answered; gives the answer."""
        self.wait(f"jsonpath={{.status.operation.id}}={identity}", f"plr/{name}")
        return dict(self.status(name)["operation"])

    def wait_gone(self, *names: str, within: float = WITHIN) -> None:
        """Until none of the objects is left."""
        for each in names:
            until(f"{each} is gone", lambda: not self.is_there(each), within)  # noqa: B023 (at once)

    def story(self, name: str) -> str:
        """What there is to know of a run, for a failed test."""
        return self("describe", f"plr/{name}") + self("get", "pltr,jobs,pods", "--output=wide")

    def left_of(self, uid: str) -> Iterable[str]:
        """What of a run's is still there."""
        found = self.items("pltr,jobs,pods,controllerrevisions", "--show-managed-fields=false")
        for each in found:
            labels = each["metadata"].get("labels") or {}
            owners = {ref["uid"] for ref in each["metadata"].get("ownerReferences") or ()}
            if uid in owners or labels.get("xaas.dev/run") == uid:
                yield f"{each['kind']}/{each['metadata']['name']}"
