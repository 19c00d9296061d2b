"""Time-outs and retries: attempts, their numbers, their distance, what they start from."""

from datetime import datetime
from typing import Any

import pytest
from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.product import Product

FOR_EVER = "await asyncio.sleep(3600)\n"
SPIN = "while True:\n    pass\n"


def attempts(task: dict[str, Any]) -> list[tuple[int, str]]:
    return [(attempt["number"], attempt["status"]) for attempt in task["attempts"]]


def seconds(earlier: str, later: str) -> float:
    times = [datetime.fromisoformat(time) for time in (earlier, later)]
    return (times[1] - times[0]).total_seconds()


class TestRetries:
    def test_until_it_succeeds(self, product: Product) -> None:
        gate = product.gate
        script = gate.note("attempt", "context.attempt") + gate.fails("flaw", 2)
        retries = {"limit": 5, "delay": "1ms", "factor": 2, "maxDelay": "10ms"}
        run = product.complete({"a": node(script, retries=retries)})
        assert attempts(run.task("a")) == [(1, "failed"), (2, "failed"), (3, "succeeded")]
        assert gate.notes["attempt"] == [1, 2, 3]
        run.wait_message("run complete")
        assert run.briefs() == ["run processing", "a do running", "a do succeeded", "run complete"]
        runners = [attempt["runner_id"] for attempt in run.task("a")["attempts"]]
        assert len(set(runners)) == 3
        errors = [attempt["error"] for attempt in run.task("a")["attempts"]]
        assert "planned failure" in errors[0]["message"]
        assert errors[2] is None
        assert run.task("a")["error"] is None

    @pytest.mark.parametrize("limit", [0, 1, 3])
    def test_limit_counts_those_after_the_first(self, product: Product, limit: int) -> None:
        run = product.run({"a": node("1 / 0", retries={"limit": limit, "delay": "1ms"})})
        run.wait("cancelled")
        wanted = [(number, "failed") for number in range(1, limit + 2)]
        assert attempts(run.task("a")) == wanted
        assert run.task("a")["status"] == "failed"

    def test_none_without_retries(self, product: Product) -> None:
        run = product.run({"a": node("1 / 0")})
        run.wait("cancelled")
        assert attempts(run.task("a")) == [(1, "failed")]

    def test_back_off(self, product: Product) -> None:
        retries = {"limit": 3, "delay": "100ms", "factor": 2}
        run = product.run({"a": node("1 / 0", retries=retries)})
        run.wait("cancelled")
        tries = run.task("a")["attempts"]
        for number, least in ((0, 0.1), (1, 0.2), (2, 0.4)):
            gap = seconds(tries[number]["finished_at"], tries[number + 1]["started_at"])
            assert gap >= least - 0.005, f"attempt {number + 2} came after {gap} s"

    def test_max_delay(self, product: Product) -> None:
        """Without the bound the fourth attempt would come in hours."""
        retries = {"limit": 3, "delay": "10ms", "factor": 1000, "maxDelay": "20ms"}
        run = product.run({"a": node("1 / 0", retries=retries)})
        run.wait("cancelled")
        assert len(run.task("a")["attempts"]) == 4

    def test_the_pipelines_entry_wins(self, product: Product) -> None:
        entry = {"retries": {"limit": 2, "delay": "1ms"}}
        task = {"limit": 0, "delay": "1ms"}
        run = product.run({"a": node("1 / 0", retries=task, entry=entry)})
        run.wait("cancelled")
        assert len(run.task("a")["attempts"]) == 3

    def test_all_steps_from_the_original_input(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step(gate.note("first", "params") + "params['first'] = context.attempt"),
            Step(gate.note("second", "params") + "params['x'] = 1\n" + gate.fails("flaw", 1)),
        )
        nodes = {
            "a": multi(*steps, retries={"limit": 1, "delay": "1ms"}),
            "b": node(gate.note("after", "params"), after="a"),
        }
        product.complete(nodes, {"p": 0})
        assert gate.notes["first"] == [{"p": 0}, {"p": 0}]
        assert gate.notes["second"] == [{"p": 0, "first": 1}, {"p": 0, "first": 2}]
        assert gate.noted("after") == {"p": 0, "first": 2, "x": 1}

    def test_the_last_attempts_delta(self, product: Product) -> None:
        gate = product.gate
        script = "params[f'n{context.attempt}'] = 1\n" + gate.fails("flaw", 2)
        nodes = {
            "a": node(script, retries={"limit": 2, "delay": "1ms"}),
            "b": node(gate.note("b", "params"), after="a"),
        }
        product.complete(nodes)
        assert gate.noted("b") == {"n3": 1}

    def test_the_last_attempts_delta_of_a_failure(self, product: Product) -> None:
        """The undo sees what the last attempt left, and nothing of the one before."""
        gate = product.gate
        script = "params[f'n{context.attempt}'] = 1\n1 / 0\n"
        undo = gate.note("undo", "params")
        retries = {"limit": 1, "delay": "1ms"}
        # The undo may be retried too, but has no need to.
        run = product.run({"a": node(script, undo, retries=retries)}, {"p": 0})
        run.wait("cancelled")
        assert gate.noted("undo") == {"p": 0, "n2": 1}

    def test_an_undo_is_retried(self, product: Product) -> None:
        gate = product.gate
        undo = gate.note("attempt", "[context.attempt, params]") + (
            "params['left'] = context.attempt\n" + gate.fails("flaw", 1)
        )
        nodes = {
            "a": node("params['a'] = 1", undo, retries={"limit": 1, "delay": "1ms"}),
            "b": node("1 / 0", after="a"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.notes["attempt"] == [[1, {"a": 1}], [2, {"a": 1}]]
        assert attempts(run.task("a", "undo")) == [(1, "failed"), (2, "succeeded")]
        assert run.briefs().count("a undo running") == 1

    def test_each_attempts_steps(self, product: Product) -> None:
        """Undone is what began in any attempt, not in the last one alone."""
        gate = product.gate
        steps = (
            Step("pass", gate.note("undo 0")),
            Step("if context.attempt == 2:\n    1 / 0\n", gate.note("undo 1")),
            Step("1 / 0", gate.note("undo 2")),
        )
        run = product.run({"a": multi(*steps, retries={"limit": 1, "delay": "1ms"})})
        run.wait("cancelled")
        assert gate.trace == ["undo 2", "undo 1", "undo 0"]


class TestTimeouts:
    @pytest.mark.parametrize("script", [FOR_EVER, SPIN])
    def test_of_a_task(self, product: Product, script: str) -> None:
        timeout = product.patience.duration(0.4)
        run = product.run({"a": node(script, timeout=timeout, gracePeriod="100ms")})
        run.wait("cancelled")
        task = run.task("a")
        assert task["status"] == "failed"
        assert task["reason"] == "Timeout"
        assert task["attempts"][0]["error"]
        assert seconds(task["started_at"], task["finished_at"]) >= 0.3

    def test_of_all_its_steps_together(self, product: Product) -> None:
        """The time-out is one attempt's, however many steps that has."""
        nap = product.patience.duration(0.3).removesuffix("ms")
        steps = [Step(f"await asyncio.sleep({nap} / 1000)")] * 4
        timeout = product.patience.duration(0.8)
        run = product.run({"a": multi(*steps, timeout=timeout, gracePeriod="100ms")})
        run.wait("cancelled")
        assert run.task("a")["reason"] == "Timeout"

    def test_none_when_in_time(self, product: Product) -> None:
        product.complete({"a": node(timeout=product.patience.duration(15))})

    def test_the_pipelines_entry_wins(self, product: Product) -> None:
        entry = {"timeout": product.patience.duration(0.3)}
        nodes = {"a": node(FOR_EVER, timeout="1h", gracePeriod="100ms", entry=entry)}
        run = product.run(nodes)
        run.wait("cancelled")
        assert run.task("a")["reason"] == "Timeout"

    def test_of_each_attempt(self, product: Product) -> None:
        gate = product.gate
        script = f"if context.attempt == 1:\n    {FOR_EVER}" + gate.note("second")
        further: dict[str, Any] = {"timeout": product.patience.duration(1), "gracePeriod": "100ms"}
        run = product.complete({"a": node(script, retries={"limit": 1, "delay": "1ms"}, **further)})
        assert attempts(run.task("a")) == [(1, "failed"), (2, "succeeded")]

    def test_of_an_undo(self, product: Product) -> None:
        further: dict[str, Any] = {
            "timeout": product.patience.duration(0.5),
            "gracePeriod": "100ms",
        }
        run = product.run({"a": node(undo=FOR_EVER, **further), "b": node("1 / 0", after="a")})
        run.wait("aborted")
        assert run.task("a", "undo")["reason"] == "Timeout"

    def test_its_undo_runs(self, product: Product) -> None:
        """Stopped steps began: they are undone, and their own edits don't count."""
        gate = product.gate
        steps = (
            Step("params['kept'] = 1", gate.note("undo 0")),
            Step("params['lost'] = 1\n" + FOR_EVER, gate.note("undo 1", "params")),
            Step(gate.note("never"), gate.note("undo 2")),
        )
        further: dict[str, Any] = {
            "timeout": product.patience.duration(0.5),
            "gracePeriod": "100ms",
        }
        run = product.run({"a": multi(*steps, **further)})
        run.wait("cancelled")
        assert gate.trace == ["undo 1", "undo 0"]
        assert gate.noted("undo 1") == {"kept": 1}


class TestTimeoutOfARun:
    """Where a task must begin in time, the time is one in which a busy cluster starts two pods."""

    def test_aborts_and_rolls_back(self, product: Product) -> None:
        gate, patience = product.gate, product.patience
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(gate.hold("b"), undo=gate.note("undo b"), after="a"),
            "c": node(after="b"),
        }
        run = product.run(nodes, timeout=patience.duration(2))
        gate.wait("b")
        run.wait("cancelling")
        assert run.get()["reason"]
        gate.release("b")
        run.wait("cancelled")
        assert run.states() == {"a": "succeeded", "b": "succeeded", "c": "pending"}
        assert gate.trace == ["b", "undo b", "undo a"]
        assert "run aborted" in run.briefs()

    def test_with_terminate(self, product: Product) -> None:
        nodes = {"a": node(FOR_EVER, gracePeriod="100ms")}
        fields = {"timeout": product.patience.duration(2), "onAbort": "terminate"}
        run = product.run(nodes, **fields)
        run.wait("cancelled")
        assert run.states() == {"a": "failed"}

    def test_without_rollback(self, product: Product) -> None:
        gate = product.gate
        fields = {"timeout": product.patience.duration(0.5), "autoRollback": False}
        run = product.run({"a": node(gate.hold("a"))}, **fields)
        run.wait("aborted")
        gate.release("a")
        run.wait_task("a", "do", "succeeded")
        assert run.status() == "aborted"

    def test_a_pending_run_has_none(self, product: Product) -> None:
        """The time begins when the run does."""
        run = product.run({"a": node()}, run=False, timeout=product.patience.duration(2))
        product.complete({"x": node("await asyncio.sleep(0.1)")})
        run.operate("run")
        run.wait("complete")

    def test_complete_in_time(self, product: Product) -> None:
        product.complete({"a": node()}, timeout="1h")


def test_a_timeouts_error_is_told(product: Product) -> None:
    further: dict[str, Any] = {"timeout": product.patience.duration(0.4), "gracePeriod": "100ms"}
    run = product.run({"a": node(FOR_EVER, **further)})
    run.wait("cancelled")
    error = run.task("a")["error"]
    assert error["type"]
    assert error["message"]
