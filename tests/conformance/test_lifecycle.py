"""The life of a run: every row of the table of states, and every operation that a state refuses."""

import threading
from collections.abc import Callable

import pytest
from tests.conformance.kit import oracle
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import path
from tests.conformance.kit.run import Run

OPERATIONS = ["run", "cancel", "recovery", "rollback"]


# One run in each state, kept there as long as the test wants.


def pending(product: Product) -> Run:
    return product.run({"a": node()}, run=False)


def processing(product: Product) -> Run:
    run = product.run({"a": node(product.gate.hold("a"))})
    product.gate.wait("a")
    return run


def aborted(product: Product) -> Run:
    run = product.run({"a": node(product.gate.fails("a", 1))}, autoRollback=False)
    run.wait("aborted")
    return run


def cancelling(product: Product) -> Run:
    nodes = {"a": node(undo=product.gate.hold("undo a")), "b": node("1 / 0", after="a")}
    run = product.run(nodes)
    product.gate.wait("undo a")
    return run


def complete(product: Product) -> Run:
    return product.complete({"a": node()})


def cancelled(product: Product) -> Run:
    run = product.run({"a": node("1 / 0")})
    run.wait("cancelled")
    return run


STATES: dict[str, Callable[[Product], Run]] = {
    "pending": pending,
    "processing": processing,
    "aborted": aborted,
    "cancelling": cancelling,
    "complete": complete,
    "cancelled": cancelled,
}
REFUSED = [
    (state, operation)
    for state in STATES
    for operation in OPERATIONS
    if operation not in oracle.OPERATIONS[state]
]


@pytest.mark.parametrize("state", STATES)
def test_a_state_shows_what_it_allows(product: Product, state: str) -> None:
    run = STATES[state](product).get()
    assert run["status"] == state
    assert sorted(run["operations"]) == sorted(oracle.OPERATIONS[state])


@pytest.mark.parametrize(("state", "operation"), REFUSED)
def test_a_state_refuses_the_rest(product: Product, state: str, operation: str) -> None:
    run = STATES[state](product)
    refusal = run.refuse(operation)
    assert refusal.get("operations", oracle.OPERATIONS[state]) == oracle.OPERATIONS[state]
    assert run.status() == state


class TestRows:
    """from, on, to: row by row."""

    def test_pending_run_processing(self, product: Product) -> None:
        run = product.run({"a": node(product.gate.hold("a"))}, run=False)
        assert run.status() == "pending"
        assert run.briefs() == []
        assert run.operate("run")["status"] == "processing"
        product.gate.wait("a")
        assert run.status() == "processing"

    def test_pending_cancel_cancelled(self, product: Product) -> None:
        run = pending(product)
        assert run.operate("cancel")["status"] == "cancelled"
        run.wait_message("run cancelled")
        assert run.briefs() == ["run cancelled"]

    def test_post_with_run(self, product: Product) -> None:
        planned = product.pipeline({"a": node(product.gate.hold("a"))})
        body = {"name": planned.pipeline, "parameters": {}, "run": True}
        answer = product.rest.post("pipelineruns", body)
        assert answer["status"] in {"pending", "processing"}
        product.adopt(answer["instance_id"], planned).wait("processing")

    def test_post_without_run(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        for extra in ({}, {"run": False}):
            answer = product.rest.post(
                "pipelineruns", {"name": planned.pipeline, "parameters": {}, **extra}
            )
            assert answer["status"] == "pending"

    def test_processing_complete(self, product: Product) -> None:
        run = product.complete({"a": node(), "b": node(after="a", when="False")})
        run.wait_message("run complete")
        assert run.briefs() == [
            "run processing", "a do running", "a do succeeded", "b do skipped", "run complete",
        ]  # fmt: skip

    def test_processing_aborted_cancelling_cancelled(self, product: Product) -> None:
        run = product.run({"a": node(undo="pass"), "b": node("1 / 0", undo="pass", after="a")})
        run.wait("cancelled")
        run.wait_message("run cancelled")
        assert run.briefs() == [
            "run processing", "a do running", "a do succeeded", "b do running", "b do failed",
            "run aborted", "run cancelling", "b undo running", "b undo succeeded",
            "a undo running", "a undo succeeded", "run cancelled",
        ]  # fmt: skip

    def test_a_get_shows_only_cancelling(self, product: Product) -> None:
        run = product.run({"a": node("1 / 0", undo=product.gate.hold("undo a"))})
        seen = {run.status() for _ in range(50)}
        product.gate.wait("undo a")
        assert seen | {run.status()} <= {"processing", "cancelling"}
        assert "run aborted" in run.briefs()

    def test_processing_cancel_cancelling(self, product: Product) -> None:
        run = processing(product)
        assert run.operate("cancel")["status"] == "cancelling"
        product.gate.release("a")
        run.wait("cancelled")
        assert "run aborted" not in run.briefs()

    def test_aborted_cancel_cancelled(self, product: Product) -> None:
        run = aborted(product)
        run.operate("cancel")
        run.wait("cancelled")

    def test_aborted_recovery_processing(self, product: Product) -> None:
        run = aborted(product)
        run.operate("recovery")
        run.wait("complete")
        run.wait_message("run complete")
        assert run.briefs() == [
            "run processing", "a do running", "a do failed", "run aborted",
            "run processing", "a do running", "a do succeeded", "run complete",
        ]  # fmt: skip

    def test_cancelling_aborted_when_an_undo_fails(self, product: Product) -> None:
        nodes = {"a": node(undo="1 / 0"), "b": node("1 / 0", after="a")}
        run = product.run(nodes)
        assert run.wait("aborted")["operations"]
        run.wait_message("run aborted", 2)
        assert run.briefs()[-2:] == ["a undo failed", "run aborted"]

    def test_complete_rollback_cancelling(self, product: Product) -> None:
        run = product.complete({"a": node(undo=product.gate.hold("undo a"))})
        assert run.operate("rollback")["status"] == "cancelling"
        product.gate.wait("undo a")
        assert run.status() == "cancelling"
        product.gate.release("undo a")
        run.wait("cancelled")


class TestAnswers:
    def test_a_new_run(self, product: Product) -> None:
        planned = product.pipeline({"a": node(), "b": node(after="a")})
        body = {"name": planned.pipeline, "parameters": {"x": [1, {"y": None}]}}
        run = product.adopt(product.rest.post("pipelineruns", body)["instance_id"], planned).get()
        assert run["name"] == planned.pipeline
        assert run["parameters"] == body["parameters"]
        assert run["warnings"] == []
        assert run["started_at"] is None
        assert run["finished_at"] is None
        counts = {"total": 2, "pending": 2, "running": 0, "succeeded": 0, "failed": 0, "skipped": 0}
        assert run["tasks"] == counts

    def test_counts_and_times(self, product: Product) -> None:
        run = product.run(
            {
                "ok": node(),
                "no": node(when="False"),
                "held": node(product.gate.hold("held"), after="ok no"),
                "last": node(after="held"),
            }
        )
        product.gate.wait("held")
        run.wait_task("held", "do", "running")
        shown = run.get()
        counts = {"total": 4, "pending": 1, "running": 1, "succeeded": 1, "failed": 0, "skipped": 1}
        assert shown["tasks"] == counts
        assert shown["created_at"] <= shown["started_at"]
        assert shown["finished_at"] is None
        product.gate.release("held")
        done = run.wait("complete")
        assert done["started_at"] == shown["started_at"]
        assert done["finished_at"] >= done["started_at"]
        counts = {"total": 4, "pending": 0, "running": 0, "succeeded": 3, "failed": 0, "skipped": 1}
        assert done["tasks"] == counts

    def test_the_reason_of_a_failure(self, product: Product) -> None:
        run = product.run({"a": node("raise ValueError('out of cheese')")})
        run.wait("cancelled")
        assert run.get()["reason"]
        assert run.task("a")["reason"]
        assert "out of cheese" in run.task("a")["error"]["message"]

    def test_no_steps_is_legal(self, product: Product) -> None:
        """The task succeeds at once, without a runner."""
        planned = product.pipeline({"a": node()})
        empty = {"category": "c", "name": planned.tasks["a"], "steps": []}
        product.rest.put("pipelinetasks", planned.tasks["a"], empty)
        run = product.rest.post(
            "pipelineruns", {"name": planned.pipeline, "parameters": {}, "run": True}
        )
        without = type(planned.nodes["a"])(steps=())
        nodes = {"a": without}
        adopted = product.adopt(
            run["instance_id"], oracle.Planned(planned.pipeline, nodes, planned.tasks)
        )
        adopted.wait("complete")
        task = adopted.task("a")
        assert task["status"] == "succeeded"
        assert task["runner_id"] is None

    def test_an_unknown_run(self, product: Product) -> None:
        for run in ("nowhere", "00000000-0000-0000-0000-000000000000", "a/b", "é"):
            url = path("pipelineruns", run)
            product.rest.refuse("GET", url, 404)
            product.rest.refuse("GET", f"{url}/tasks", 404)
            product.rest.refuse("DELETE", url, 404)
            product.rest.refuse("DELETE", url, 404, params={"force": "true"})
            product.rest.refuse("PATCH", url, 404, json={"operation": "run"})

    def test_an_unknown_task_run(self, product: Product) -> None:
        run = product.run({"a": node()}, run=False)
        base = ("pipelineruns", run.id, "tasks")
        product.rest.refuse("GET", path(*base, "nowhere", "do"), 404)
        product.rest.refuse("GET", path(*base, "nowhere", "do", "logs"), 404)
        answer = product.rest.send("GET", path(*base, "a", "sideways"))
        assert answer.status_code in {404, 422}, answer.text

    def test_refs_of_any_spelling(self, product: Product) -> None:
        refs = ["é/1", "a b", "%2F", "..x"]
        run = product.complete({ref: node("params['x'] = context.ref") for ref in refs})
        for ref in refs:
            task = run.task(ref)
            assert (task["ref"], bool(task["delta"])) == (ref, True)
            assert run.task(ref, "undo")["process_type"] == "undo"

    def test_planned_at_once(self, product: Product) -> None:
        """All task runs of both sides are there from the beginning."""
        run = product.run({"a": node(), "b": node(after="a")}, run=False)
        states = {(ref, side): task["status"] for (ref, side), task in run.tasks().items()}
        assert states == {(ref, side): "pending" for ref in "ab" for side in ("do", "undo")}
        ids = {key: task["instance_id"] for key, task in run.tasks().items()}
        run.operate("run")
        run.wait("complete")
        assert {key: task["instance_id"] for key, task in run.tasks().items()} == ids


class TestAtOnce:
    @pytest.mark.parametrize("operation", ["run", "cancel"])
    def test_one_of_many_operations_counts(self, product: Product, operation: str) -> None:
        """The same operation many times at once: one is accepted, the others are refused."""
        run = product.run({"a": node(product.gate.hold("a"))}, run=operation == "cancel")
        if operation == "cancel":
            product.gate.wait("a")
        answers: list[int] = []

        def send() -> None:
            body = {"operation": operation}
            url = path("pipelineruns", run.id)
            answers.append(product.rest.send("PATCH", url, json=body).status_code)

        threads = [threading.Thread(target=send) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        product.gate.release("a")
        assert sorted(answers) == [202, 409, 409, 409, 409, 409]
        run.wait("complete" if operation == "run" else "cancelled")

    def test_run_and_cancel(self, product: Product) -> None:
        """Both at once: whatever the order, the run is stopped, and nothing is lost."""
        run = product.run({"a": node(), "b": node(after="a")}, run=False)
        answers: dict[str, int] = {}

        def send(operation: str) -> None:
            body = {"operation": operation}
            url = path("pipelineruns", run.id)
            answers[operation] = product.rest.send("PATCH", url, json=body).status_code

        threads = [threading.Thread(target=send, args=(name,)) for name in ("run", "cancel")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 202 in answers.values()
        if answers["cancel"] == 202:
            run.wait("cancelled")
        else:
            run.wait("complete")

    def test_a_client_reads_its_own_operations(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        for _ in range(5):
            run = product.run_of(planned, run=False)
            listed = product.rest.get("pipelineruns", pipeline=planned.pipeline)["items"]
            assert run.id in [item["instance_id"] for item in listed]
            assert run.status() == "pending"
            run.operate("cancel")
            assert run.status() == "cancelled"
            run.delete()
            assert product.rest.gone("pipelineruns", run.id)

    def test_many_runs(self, product: Product) -> None:
        nodes = {"a": node("params['a'] = params['n']"), "b": node(after="a"), "c": node(after="a")}
        planned = product.pipeline(nodes)
        runs = [product.run_of(planned, {"n": number}) for number in range(10)]
        for number, run in enumerate(runs):
            run.wait("complete")
            assert run.task("c")["input"] == {"n": number, "a": number}
