"""The product as one test sees it: definitions and runs under names of the test's own."""

from typing import Any
from uuid import uuid4

from tests.conformance.kit.events import EventLog
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.oracle import Planned
from tests.conformance.kit.plan import Nodes
from tests.conformance.kit.rest import Rest
from tests.conformance.kit.run import OVER, Run


class Product:
    """Makes what a test needs, remembers it, judges every run at the end, and tidies up."""

    def __init__(self, rest: Rest, log: EventLog, gate: Gate) -> None:
        self.rest = rest
        self.log = log
        self.gate = gate
        self.patience = rest.patience
        self.tag = uuid4().hex[:10]
        self.runs: list[Run] = []
        self._count = 0
        self._defined: list[tuple[str, str]] = []

    def name(self, hint: str = "x") -> str:
        """A name nobody else uses; also fit to be written as an identifier in a script."""
        self._count += 1
        return f"{hint}_{self.tag}_{self._count}"

    @property
    def category(self) -> str:
        return f"conformance-{self.tag}"

    # ------------------------------------------------------------------------------- definitions

    def define(self, kind: str, body: Any) -> Any:
        answer = self.rest.post(kind, body)
        self._defined.append((kind, body["name"]))
        return answer

    def task(self, do: str = "pass", undo: str | None = None, **further: Any) -> str:
        """A PipelineTask of one step; its name."""
        step = {"doScript": do} | ({} if undo is None else {"undoScript": undo})
        body = {"category": self.category, "name": self.name("task"), "steps": [step], **further}
        self.define("pipelinetasks", body)
        return str(body["name"])

    def pipeline(self, nodes: Nodes) -> Planned:
        """The tasks and the pipeline of these nodes."""
        tasks = {ref: self.name("task") for ref in nodes}
        for ref, entry in nodes.items():
            self.define("pipelinetasks", entry.body(tasks[ref], self.category))
        name = self.name("pipeline")
        entries = [entry.place(ref, tasks[ref]) for ref, entry in nodes.items()]
        self.define("pipelines", {"category": self.category, "name": name, "tasks": entries})
        return Planned(name, nodes, tasks)

    # -------------------------------------------------------------------------------------- runs

    def run(self, nodes: Nodes, parameters: Any = None, **fields: Any) -> Run:
        """A run of these nodes, started at once (`run=False` leaves it pending)."""
        return self.run_of(self.pipeline(nodes), parameters, **fields)

    def run_of(self, planned: Planned, parameters: Any = None, **fields: Any) -> Run:
        fields = {"run": True} | fields
        body = {"name": planned.pipeline, "parameters": parameters or {}, **fields}
        answer = self.rest.post("pipelineruns", body)
        return self.adopt(answer["instance_id"], planned, **fields)

    def adopt(self, run_id: str, planned: Planned, **fields: Any) -> Run:
        """A run made by other means, judged like the others."""
        whole = Planned(planned.pipeline, planned.nodes, planned.tasks, fields)
        run = Run(self.rest, self.log, run_id, whole)
        self.runs.append(run)
        return run

    def complete(self, nodes: Nodes, parameters: Any = None, **fields: Any) -> Run:
        """A run of these nodes, waited for until it is complete."""
        run = self.run(nodes, parameters, **fields)
        run.wait(*OVER, "aborted")
        assert run.status() == "complete", f"the run is {run.status()}, not complete"
        return run

    # ------------------------------------------------------------------------------------ the end

    def assert_legal(self) -> None:
        for run in self.runs:
            run.assert_legal()

    def story(self) -> str:
        told = [run.story() for run in self.runs]
        return "\n\n".join([*told, f"the scripts' calls, in order: {self.gate.trace}"])

    def tidy(self) -> None:
        """Nothing stays behind on a server that lives longer than the test."""
        for run in self.runs:
            self.rest.send("DELETE", f"/pipelineruns/{run.id}", params={"force": "true"})
        for kind, name in reversed(self._defined):
            self.rest.send("DELETE", f"/{kind}/{name}")
