"""Deletion, and that a run works on the definitions as they were when it was created."""

import pytest
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import path
from tests.conformance.kit.run import Run


class TestRuns:
    @pytest.mark.parametrize("state", ["complete", "cancelled"])
    def test_one_that_is_over(self, product: Product, state: str) -> None:
        run = product.run({"a": node("pass" if state == "complete" else "1 / 0")})
        run.wait(state)
        run.wait_message(f"run {state}")
        run.delete()
        for parts in ((), ("tasks",), ("tasks", "a", "do"), ("tasks", "a", "do", "logs")):
            product.rest.refuse("GET", path("pipelineruns", run.id, *parts), 404)
        product.rest.refuse("DELETE", path("pipelineruns", run.id), 404)
        product.rest.refuse(
            "PATCH", path("pipelineruns", run.id), 404, json={"operation": "cancel"}
        )
        listed = product.rest.get("pipelineruns", pipeline=run.planned.pipeline)["items"]
        assert listed == []

    def refuse(self, product: Product, run: Run, state: str) -> None:
        assert run.status() == state
        product.rest.refuse("DELETE", path("pipelineruns", run.id), 409)
        assert run.status() == state

    def test_pending(self, product: Product) -> None:
        self.refuse(product, product.run({"a": node()}, run=False), "pending")

    def test_processing(self, product: Product) -> None:
        run = product.run({"a": node(product.gate.hold("a"))})
        product.gate.wait("a")
        self.refuse(product, run, "processing")
        product.gate.release("a")
        run.wait("complete")

    def test_aborted(self, product: Product) -> None:
        run = product.run({"a": node("1 / 0")}, autoRollback=False)
        run.wait("aborted")
        self.refuse(product, run, "aborted")

    def test_cancelling(self, product: Product) -> None:
        run = product.run({"a": node("1 / 0", undo=product.gate.hold("undo"))})
        product.gate.wait("undo")
        self.refuse(product, run, "cancelling")

    @pytest.mark.parametrize(
        "state", ["pending", "processing", "aborted", "cancelling", "complete"]
    )
    def test_by_force(self, product: Product, state: str) -> None:
        """Removes the run and all it owns in any state, and undoes nothing."""
        gate = product.gate
        nodes = {
            "done": node(undo=gate.note("undo done")),
            "held": node(
                gate.hold("held") + gate.note("held ended") + gate.fails("flaw", 1),
                undo=gate.hold("undo held"),
                gracePeriod="200ms",
            ),
        }
        run = product.run(nodes, run=state != "pending", autoRollback=state == "cancelling")
        if state != "pending":
            gate.wait("held")
            run.wait_task("done", "do", "succeeded")
        if state == "complete":
            gate.fails("flaw", 0)
        if state in {"aborted", "cancelling", "complete"}:
            gate.release("held")
            run.wait(state)
        if state == "cancelling":
            gate.wait("undo held")
        undone = gate.visits["undo done"]
        run.force()
        run.until(lambda: product.rest.gone("pipelineruns", run.id), "the run is gone")
        assert product.rest.gone("pipelineruns", run.id, "tasks")
        assert state == "cancelling" or gate.visits["undo done"] == undone == 0
        assert gate.visits["held ended"] == (state in {"aborted", "cancelling", "complete"})

    def test_force_stops_what_runs(self, product: Product) -> None:
        """The script is stopped, not left alone: what follows its hold never happens."""
        gate = product.gate
        run = product.run({"a": node(gate.hold("a") + gate.note("ended"), gracePeriod="100ms")})
        gate.wait("a")
        run.force()
        run.until(lambda: product.rest.gone("pipelineruns", run.id), "the run is gone")
        gate.release("a")
        product.complete({"x": node(), "y": node(after="x")})
        assert gate.visits["ended"] == 0

    def test_others_go_on(self, product: Product) -> None:
        gate = product.gate
        planned = product.pipeline({"a": node(gate.hold("a"))})
        runs = [product.run_of(planned) for _ in range(2)]
        gate.wait("a", visits=2)
        runs[0].force()
        gate.release("a")
        runs[1].wait("complete")

    def test_after_a_while_by_itself(self, product: Product) -> None:
        run = product.run({"a": node()}, ttlAfterFinished=product.patience.duration(0.3))
        run.wait_message("run complete")
        run.until(lambda: product.rest.gone("pipelineruns", run.id), "the run is gone")
        product.complete({"a": node()}, ttlAfterFinished="1h").get()


class TestDefinitionsInUse:
    """Edited or deleted, they never change a run that is there already."""

    def replace(self, product: Product, name: str, do: str, undo: str | None = None) -> None:
        step = {"doScript": do} | ({} if undo is None else {"undoScript": undo})
        body = {"category": "c", "name": name, "steps": [step]}
        product.rest.put("pipelinetasks", name, body)

    def test_an_edited_task(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(gate.hold("a"), undo=gate.note("old undo")),
            "b": node(gate.note("old b"), after="a"),
            "c": node("1 / 0", after="b"),
        }
        run = product.run(nodes)
        gate.wait("a")
        self.replace(product, run.planned.tasks["a"], "pass", gate.note("new undo"))
        self.replace(product, run.planned.tasks["b"], gate.note("new b"))
        gate.release("a")
        run.wait("cancelled")
        assert gate.trace == ["a", "old b", "old undo"]

    def test_an_edited_pipeline(self, product: Product) -> None:
        gate = product.gate
        run = product.run({"a": node(gate.hold("a")), "b": node(gate.note("b"), after="a")})
        gate.wait("a")
        entry = {"ref": "other", "name": run.planned.tasks["a"], "dependsOn": []}
        name = run.planned.pipeline
        product.rest.put("pipelines", name, {"category": "c", "name": name, "tasks": [entry]})
        gate.release("a")
        run.wait("complete")
        assert gate.visits["b"] == 1

    def test_deleted(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(gate.hold("a"), undo=gate.note("undo a")),
            "b": node(gate.fails("b", 1), undo=gate.note("undo b"), after="a"),
        }
        run = product.run(nodes, autoRollback=False)
        gate.wait("a")
        product.rest.delete("pipelines", run.planned.pipeline)
        for name in run.planned.tasks.values():
            product.rest.delete("pipelinetasks", name)
        gate.release("a")
        run.wait("aborted")
        run.operate("recovery")
        run.wait("complete")
        run.operate("rollback")
        run.wait("cancelled")
        assert gate.trace == ["a", "b", "b", "undo b", "undo a"]

    def test_before_it_starts(self, product: Product) -> None:
        """A pending run is planned already."""
        gate = product.gate
        run = product.run({"a": node(gate.note("old"))}, run=False)
        self.replace(product, run.planned.tasks["a"], gate.note("new"))
        product.rest.delete("pipelines", run.planned.pipeline)
        run.operate("run")
        run.wait("complete")
        assert gate.trace == ["old"]

    def test_the_next_run_takes_the_new_ones(self, product: Product) -> None:
        gate = product.gate
        run = product.complete({"a": node(gate.note("old"))})
        self.replace(product, run.planned.tasks["a"], gate.note("new"))
        product.run_of(run.planned).wait("complete")
        assert gate.trace == ["old", "new"]

    def test_a_deleted_pipeline_has_no_new_runs(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        product.rest.delete("pipelines", planned.pipeline)
        body = {"name": planned.pipeline, "parameters": {}}
        product.rest.refuse("POST", "/pipelineruns", 422, json=body)
