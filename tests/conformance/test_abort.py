"""How a run stops: autoRollback, onAbort, cancel under way, suspend, and that nothing more begins."""

import pytest
from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.product import Product


class TestAutoRollback:
    def test_false_leaves_it_at_rest(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "ok": node(undo="pass"),
            "bad": node(gate.hold("bad") + "1 / 0", undo="pass", after="ok"),
            "held": node(gate.hold("held"), after="ok"),
            "never": node(after="held"),
        }
        run = product.run(nodes, autoRollback=False)
        gate.wait("held")
        gate.release("bad")
        run.wait("aborted")
        gate.release("held")
        run.wait_task("held", "do", "succeeded")
        assert run.status() == "aborted"
        assert sorted(run.get()["operations"]) == ["cancel", "recovery"]
        assert run.states() == {
            "ok": "succeeded", "bad": "failed", "held": "succeeded", "never": "pending",
        }  # fmt: skip
        assert set(run.states("undo").values()) == {"pending"}
        assert "run cancelling" not in run.briefs()

    def test_cancel_then_undoes(self, product: Product) -> None:
        nodes = {
            "ok": node(undo=product.gate.note("undo ok")),
            "bad": node("1 / 0", undo=product.gate.note("undo bad"), after="ok"),
        }
        run = product.run(nodes, autoRollback=False)
        run.wait("aborted")
        assert product.gate.trace == []
        run.operate("cancel")
        run.wait("cancelled")
        assert product.gate.trace == ["undo bad", "undo ok"]

    def test_true_is_the_default(self, product: Product) -> None:
        for fields in ({}, {"autoRollback": True}):
            product.run({"a": node("1 / 0")}, **fields).wait("cancelled")


class TestFinish:
    @pytest.mark.parametrize("fields", [{}, {"onAbort": "finish"}])
    def test_what_runs_finishes(self, product: Product, fields: dict[str, str]) -> None:
        gate = product.gate
        nodes = {
            "bad": node(gate.hold("bad") + "1 / 0"),
            "held": node(gate.hold("held"), undo=gate.note("undo held")),
            "next": node(gate.note("next"), after="held"),
        }
        run = product.run(nodes, **fields)
        gate.wait("held")
        gate.release("bad")
        run.wait("cancelling")
        assert run.task("held")["status"] == "running"
        assert run.task("held", "undo")["status"] == "pending"
        gate.release("held")
        run.wait("cancelled")
        assert run.states() == {"bad": "failed", "held": "succeeded", "next": "pending"}
        assert gate.trace in (["bad", "held", "undo held"], ["held", "bad", "undo held"])  # fmt: skip

    def test_later_steps_of_what_runs(self, product: Product) -> None:
        """A task that runs finishes as a whole: its later steps too."""
        gate = product.gate
        steps = Step(gate.hold("held")), Step(gate.note("second"))
        run = product.run({"a": multi(*steps)})
        gate.wait("held")
        run.operate("cancel")
        gate.release("held")
        run.wait("cancelled")
        assert run.states() == {"a": "succeeded"}
        assert gate.visits["second"] == 1

    def test_what_runs_may_fail_too(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "one": node(gate.hold("one") + "1 / 0", undo=gate.note("undo one")),
            "two": node(gate.hold("two") + "1 / 0", undo=gate.note("undo two")),
        }
        run = product.run(nodes)
        gate.wait("one")
        gate.wait("two")
        gate.release("one")
        run.wait("cancelling")
        gate.release("two")
        run.wait("cancelled")
        assert run.states() == {"one": "failed", "two": "failed"}
        assert run.briefs().count("run aborted") == 1
        assert sorted(gate.trace[2:]) == ["undo one", "undo two"]


class TestTerminate:
    def test_what_runs_is_stopped(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "bad": node(gate.hold("bad") + "1 / 0"),
            "held": node(gate.hold("held"), undo=gate.note("undo held"), gracePeriod="200ms"),
        }
        run = product.run(nodes, onAbort="terminate")
        gate.wait("held")
        gate.release("bad")
        run.wait("cancelled")
        held = run.task("held")
        assert held["status"] == "failed"
        assert held["reason"]
        assert gate.visits["undo held"] == 1

    def test_by_cancel(self, product: Product) -> None:
        gate = product.gate
        nodes = {"held": node(gate.hold("held"), gracePeriod="200ms")}
        run = product.run(nodes, onAbort="terminate")
        gate.wait("held")
        run.operate("cancel")
        run.wait("cancelled")
        assert run.states() == {"held": "failed"}

    def test_one_that_ignores_it_is_killed(self, product: Product) -> None:
        gate = product.gate
        stubborn = gate.note("begun") + "while True:\n    try:\n        while True:\n"
        stubborn += "            pass\n    except Exception:\n        pass\n"
        run = product.run({"a": node(stubborn, gracePeriod="200ms")}, onAbort="terminate")
        gate.wait("begun")
        run.operate("cancel")
        run.wait("cancelled")
        assert run.states() == {"a": "failed"}

    def test_the_edits_of_a_stopped_step_are_lost(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step("params['kept'] = 1"),
            Step("params['lost'] = 1\n" + gate.hold("held"), gate.note("undo", "params")),
        )
        run = product.run({"a": multi(*steps, gracePeriod="200ms")}, onAbort="terminate")
        gate.wait("held")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.noted("undo") == {"kept": 1}

    def test_its_later_steps_never_begin(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step(gate.hold("held"), gate.note("undo 0")),
            Step(gate.note("second"), gate.note("undo 1")),
        )
        run = product.run({"a": multi(*steps, gracePeriod="200ms")}, onAbort="terminate")
        gate.wait("held")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.trace == ["held", "undo 0"]


class TestNothingMoreBegins:
    def test_after_cancel(self, product: Product) -> None:
        gate = product.gate
        nodes = {"a": node(gate.hold("a")), "b": node(gate.note("b"), after="a")}
        run = product.run(nodes)
        gate.wait("a")
        run.operate("cancel")
        gate.release("a")
        run.wait("cancelled")
        assert run.states() == {"a": "succeeded", "b": "pending"}
        assert gate.trace == ["a"]

    def test_a_wide_fan_out(self, product: Product) -> None:
        """Cancelled while it fans out: what didn't begin stays pending."""
        nodes = {"a": node()} | {f"b{n}": node(after="a", undo="pass") for n in range(8)}
        run = product.run(nodes)
        run.wait_task("a", "do", "running", "succeeded")
        answer = product.rest.send("PATCH", f"/pipelineruns/{run.id}", json={"operation": "cancel"})
        assert answer.status_code in {202, 409}
        run.wait("cancelled", "complete")
        assert (run.status() == "cancelled") == (answer.status_code == 202)

    @pytest.mark.parametrize("how", ["failure", "cancel"])
    def test_one_waiting_for_its_next_attempt_is_failed(self, product: Product, how: str) -> None:
        gate = product.gate
        retries = {"limit": 5, "delay": "1h", "factor": 1}
        nodes = {
            "waiting": node("1 / 0", undo=gate.note("undo waiting"), retries=retries),
            "bad": node(gate.hold("bad") + "1 / 0"),
        }
        run = product.run(nodes)
        gate.wait("bad")
        run.until(lambda: attempt_is_over(run.task("waiting")), "the first attempt has failed")
        assert run.task("waiting")["status"] == "running"
        if how == "cancel":
            run.operate("cancel")
        gate.release("bad")
        run.wait("cancelled")
        assert run.task("waiting")["status"] == "failed"
        assert len(run.task("waiting")["attempts"]) == 1
        assert gate.visits["undo waiting"] == 1


def attempt_is_over(task: dict[str, list[dict[str, str]]]) -> bool:
    return bool(task["attempts"]) and task["attempts"][0]["finished_at"] is not None


class TestSuspend:
    def test_starts_no_further_task(self, product: Product) -> None:
        gate = product.gate
        run = product.run({"a": node(gate.hold("a")), "b": node(after="a")})
        gate.wait("a")
        assert run.suspend(value=True)["status"] == "processing"
        gate.release("a")
        run.wait_task("a", "do", "succeeded")
        product.complete({"x": node(), "y": node(after="x")})  # meanwhile others run
        assert run.states() == {"a": "succeeded", "b": "pending"}
        assert run.status() == "processing"
        run.suspend(value=False)
        run.wait("complete")

    def test_from_the_beginning(self, product: Product) -> None:
        run = product.run({"a": node()}, suspend=True)
        run.wait("processing")
        product.complete({"x": node()})
        assert run.states() == {"a": "pending"}
        run.suspend(value=False)
        run.wait("complete")

    def test_while_pending(self, product: Product) -> None:
        run = product.run({"a": node()}, run=False)
        assert run.suspend(value=True)["status"] == "pending"
        assert run.operate("run")["status"] == "processing"
        product.complete({"x": node()})
        assert run.states() == {"a": "pending"}
        run.suspend(value=False)
        run.wait("complete")

    def test_of_a_rollback(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(gate.hold("b"), undo=gate.note("undo b"), after="a"),
        }
        run = product.run(nodes)
        gate.wait("b")
        run.suspend(value=True)
        assert run.operate("cancel")["status"] == "cancelling"
        gate.release("b")
        run.wait_task("b", "do", "succeeded")
        product.complete({"x": node()})
        assert gate.trace == ["b"]
        assert run.status() == "cancelling"
        run.suspend(value=False)
        run.wait("cancelled")
        assert gate.trace == ["b", "undo b", "undo a"]

    def test_a_suspended_run_can_be_cancelled(self, product: Product) -> None:
        run = product.run({"a": node()}, suspend=True)
        run.wait("processing")
        run.operate("cancel")
        run.suspend(value=False)
        run.wait("cancelled")
        assert run.states() == {"a": "pending"}

    def test_twice_is_as_once(self, product: Product) -> None:
        run = product.run({"a": node()}, suspend=True)
        run.suspend(value=True)
        run.suspend(value=False)
        run.suspend(value=False)
        run.wait("complete")
