"""Rollback: what is owed an undo, in which order, from which params, and what if an undo fails."""

import pytest
from tests.conformance.kit.plan import Nodes, Step, dependants, multi, node
from tests.conformance.kit.product import Product

TUTORIAL = {
    "1": "", "2": "1", "3": "2", "4": "3", "5": "2", "6": "5", "7": "2", "8": "7", "9": "7",
    "10": "4 6 8 9", "11": "10",
}  # fmt: skip


def traced(product: Product, shape: dict[str, str], failing: str) -> Nodes:
    """A pipeline of this shape whose tasks and undos say that they ran; one fails."""
    gate = product.gate
    return {
        ref: node(
            gate.note(f"do {ref}") + ("1 / 0" if ref == failing else ""),
            undo=gate.note(f"undo {ref}"),
            after=after,
        )
        for ref, after in shape.items()
    }


class TestOrder:
    @pytest.mark.parametrize("failing", ["1", "2", "4", "7", "10", "11"])
    def test_the_tutorial(self, product: Product, failing: str) -> None:
        nodes = traced(product, TUTORIAL, failing)
        run = product.run(nodes)
        run.wait("cancelled")
        trace = product.gate.trace
        began = [key.removeprefix("do ") for key in trace if key.startswith("do ")]
        undone = [key.removeprefix("undo ") for key in trace if key.startswith("undo ")]
        assert sorted(undone) == sorted(began)
        for ref, followers in dependants(nodes).items():
            for follower in followers & set(undone):
                assert undone.index(follower) < undone.index(ref), undone
        for ref, state in run.states("undo").items():
            assert state == ("succeeded" if ref in began else "skipped"), ref

    def test_branches_undo_in_parallel(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(undo=gate.hold("undo b"), after="a"),
            "c": node(undo=gate.hold("undo c"), after="a"),
            "d": node("1 / 0", undo=gate.note("undo d"), after="b c"),
        }
        run = product.run(nodes)
        gate.wait("undo b")
        gate.wait("undo c")
        assert gate.visits["undo d"] == 1
        gate.release("undo c")
        run.wait_task("c", "undo", "succeeded")
        assert gate.visits["undo a"] == 0
        gate.release("undo b")
        run.wait("cancelled")
        assert gate.trace[-1] == "undo a"

    def test_all_that_is_eligible_runs_at_once(self, product: Product) -> None:
        gate = product.gate
        nodes: Nodes = {"a": node()}
        nodes |= {f"b{n}": node(gate.hold(f"b{n}"), after="a") for n in range(4)}
        nodes["c"] = node(after=" ".join(f"b{n}" for n in range(4)))
        run = product.run(nodes)
        for number in range(4):
            gate.wait(f"b{number}")
        assert run.task("c")["status"] == "pending"
        gate.release(*(f"b{number}" for number in range(4)))
        run.wait("complete")

    def test_an_undo_waits_for_its_own_do(self, product: Product) -> None:
        """A branch that still runs holds back its own undo and what it depends on, nothing else."""
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "slow": node(gate.hold("slow"), undo=gate.note("undo slow"), after="a"),
            "other": node(undo=gate.note("undo other"), after="a"),
            "bad": node(gate.hold("bad") + "1 / 0", undo=gate.note("undo bad"), after="other"),
        }
        run = product.run(nodes)
        gate.wait("slow")
        gate.wait("bad")
        gate.release("bad")
        gate.wait("undo other")
        run.wait_task("other", "undo", "succeeded")
        assert gate.visits["undo slow"] == gate.visits["undo a"] == 0
        gate.release("slow")
        run.wait("cancelled")
        assert gate.trace[2:] == ["undo bad", "undo other", "undo slow", "undo a"]


class TestOwed:
    def test_steps_in_reverse_the_failing_one_included(self, product: Product) -> None:
        gate = product.gate
        steps = [Step(gate.note(f"do {n}"), gate.note(f"undo {n}")) for n in range(5)]
        steps[3] = Step(gate.note("do 3") + "1 / 0", gate.note("undo 3"))
        run = product.run({"a": multi(*steps)})
        run.wait("cancelled")
        does, undoes = [f"do {n}" for n in range(4)], [f"undo {n}" for n in (3, 2, 1, 0)]
        assert gate.trace == does + undoes
        assert [step["status"] for step in run.task("a")["steps"]][:4] == [
            "succeeded", "succeeded", "succeeded", "failed",
        ]  # fmt: skip

    def test_steps_without_an_undo_are_passed_over(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step(gate.note("do 0"), gate.note("undo 0")),
            Step(gate.note("do 1")),
            Step(gate.note("do 2"), gate.note("undo 2")),
        )
        run = product.run({"a": multi(*steps), "b": node("1 / 0", after="a")})
        run.wait("cancelled")
        assert gate.trace == ["do 0", "do 1", "do 2", "undo 2", "undo 0"]

    def test_no_undo_among_the_steps_that_began(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step(gate.note("do 0")),
            Step(gate.note("do 1") + "1 / 0"),
            Step(gate.note("do 2"), gate.note("undo 2")),
        )
        run = product.run({"a": multi(*steps)})
        run.wait("cancelled")
        assert gate.trace == ["do 0", "do 1"]
        assert run.task("a", "undo")["status"] == "skipped"

    def test_skipped_and_never_begun(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "done": node(undo=gate.note("undo done")),
            "skipped": node(undo=gate.note("undo skipped"), when="False", after="done"),
            "plain": node(after="skipped"),
            "bad": node("1 / 0", undo=gate.note("undo bad"), after="plain"),
            "never": node(undo=gate.note("undo never"), after="bad"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.trace == ["undo bad", "undo done"]
        assert run.states("undo") == {
            "done": "succeeded", "skipped": "skipped", "plain": "skipped",
            "bad": "succeeded", "never": "skipped",
        }  # fmt: skip
        for ref in ("skipped", "plain", "never"):
            undo = run.task(ref, "undo")
            assert (undo["runner_id"], undo["attempts"]) == (None, [])

    def test_a_condition_that_raised(self, product: Product) -> None:
        """It failed without beginning: nothing to undo."""
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(gate.note("do b"), undo=gate.note("undo b"), when="1 / 0", after="a"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.trace == ["undo a"]
        assert run.states() == {"a": "succeeded", "b": "failed"}
        assert run.states("undo") == {"a": "succeeded", "b": "skipped"}

    def test_of_a_complete_run(self, product: Product) -> None:
        gate = product.gate
        shape = {"a": "", "b": "a", "c": "a", "d": "b c"}
        run = product.complete(traced(product, shape, failing=""))
        run.operate("rollback")
        run.wait("cancelled")
        undone = [key for key in gate.trace if key.startswith("undo")]
        assert (undone[0], undone[-1]) == ("undo d", "undo a")
        assert sorted(undone[1:3]) == ["undo b", "undo c"]

    def test_a_rollback_with_nothing_to_undo(self, product: Product) -> None:
        run = product.complete({"a": node(), "b": node(after="a")})
        run.operate("rollback")
        run.wait("cancelled")
        assert set(run.states("undo").values()) == {"skipped"}


class TestInput:
    def test_as_its_own_do_left_them(self, product: Product) -> None:
        """Not what followed, but what the undos of what followed changed."""
        gate = product.gate
        nodes = {
            "a": node("params['a'] = 1", undo=gate.note("undo a", "params")),
            "b": node(
                "params['b'] = 1",
                undo="params['undone_b'] = params['b']\ndel params['b']",
                after="a",
            ),
            "c": node("params['c'] = 1\n1 / 0", undo=gate.note("undo c", "params"), after="b"),
        }
        run = product.run(nodes, {"p": 0})
        run.wait("cancelled")
        assert gate.noted("undo c") == {"p": 0, "a": 1, "b": 1, "c": 1}
        assert gate.noted("undo a") == {"p": 0, "a": 1, "undone_b": 1}
        assert run.task("a", "undo")["input"] == {"p": 0, "a": 1, "undone_b": 1}

    def test_from_both_branches(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a", "params")),
            "b": node(undo="params['b'] = 'undone'", after="a"),
            "c": node(undo="params['c'] = 'undone'", after="a"),
            "d": node("1 / 0", undo="params['d'] = 'undone'", after="b c"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.noted("undo a") == {"b": "undone", "c": "undone", "d": "undone"}

    def test_in_reverse_order(self, product: Product) -> None:
        """Of two descendants' undos that set one path, the earlier task's comes later and wins."""
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a", "params")),
            "b": node(undo="params['x'] = 'b'", after="a"),
            "c": node(undo="params['x'] = 'c'", after="a"),
            "d": node("1 / 0", undo="params['x'] = 'd'", after="b c"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.noted("undo a") == {"x": "b"}

    def test_from_step_to_step(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step("params['do'] = 0", gate.note("undo 0", "params")),
            Step("params['do'] = 1", "params['undo'] = params['do']\nparams['do'] = 'undone'"),
        )
        run = product.run({"a": multi(*steps), "b": node("1 / 0", after="a")})
        run.wait("cancelled")
        assert gate.noted("undo 0") == {"do": "undone", "undo": 1}

    def test_edits_of_a_raising_step(self, product: Product) -> None:
        gate = product.gate
        script = "params['new'] = {'id': 7}\nraise ValueError('half done')\n"
        run = product.run({"a": node(script, undo=gate.note("undo", "params"))}, {"p": 0})
        run.wait("cancelled")
        assert gate.noted("undo") == {"p": 0, "new": {"id": 7}}

    def test_a_bystanders_edit_is_not_there(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node("params['a'] = 1", undo=gate.note("undo a", "params")),
            "b": node("params['b'] = 1", undo="params['undone b'] = 1"),
            "c": node("1 / 0", after="a b"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        assert gate.noted("undo a") == {"a": 1}


class TestAFailingUndo:
    def test_rests_in_aborted(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(undo="raise ValueError('stuck')", after="a"),
            "c": node("1 / 0", undo=gate.note("undo c"), after="b"),
        }
        run = product.run(nodes)
        shown = run.wait("aborted")
        assert sorted(shown["operations"]) == ["cancel", "recovery"]
        assert shown["reason"]
        assert run.states("undo") == {"a": "pending", "b": "failed", "c": "succeeded"}
        assert "stuck" in run.task("b", "undo")["error"]["message"]
        assert gate.trace == ["undo c"]

    def test_cancel_renews_only_what_is_owed(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b": node(undo=gate.fails("undo b", 1), after="a"),
            "c": node(undo=gate.note("undo c"), after="b"),
            "d": node("1 / 0", undo=gate.note("undo d"), after="c"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.trace == ["undo d", "undo c", "undo b", "undo b", "undo a"]
        numbers = [attempt["number"] for attempt in run.task("b", "undo")["attempts"]]
        assert numbers == [1, 2]

    def test_again_and_again(self, product: Product) -> None:
        gate = product.gate
        run = product.run({"a": node("1 / 0", undo=gate.fails("undo a", 3))})
        for renewals in range(3):
            run.wait("aborted")
            assert len(run.task("a", "undo")["attempts"]) == renewals + 1
            run.operate("cancel")
        run.wait("cancelled")
        assert gate.visits["undo a"] == 4

    def test_runs_again_whole_from_its_original_input(self, product: Product) -> None:
        gate = product.gate
        steps = (
            Step("params['do'] = 0", gate.note("undo 0", "params") + gate.fails("flaw", 1)),
            Step("params['do'] = 1", gate.note("undo 1", "params") + "params['undone'] = 1"),
        )
        run = product.run({"a": multi(*steps), "b": node("1 / 0", after="a")})
        run.wait("aborted")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.trace == ["undo 1", "undo 0", "flaw", "undo 1", "undo 0", "flaw"]
        assert gate.notes["undo 1"] == [{"do": 1}, {"do": 1}]
        assert gate.notes["undo 0"] == [{"do": 1, "undone": 1}] * 2

    def test_those_running_finish_and_no_other_starts(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a")),
            "b1": node(undo=gate.note("undo b1"), after="a"),
            "b2": node(undo=gate.hold("undo b2"), after="b1"),
            "c": node(undo=gate.hold("undo c") + gate.fails("flaw", 1), after="a"),
            "d": node("1 / 0", after="b2 c"),
        }
        run = product.run(nodes)
        gate.wait("undo b2")
        gate.wait("undo c")
        gate.release("undo c")
        run.wait_task("c", "undo", "failed")
        assert run.status() == "cancelling"
        assert run.get()["operations"] == []
        gate.release("undo b2")
        run.wait("aborted")
        assert run.states("undo") == {
            "a": "pending", "b1": "pending", "b2": "succeeded", "c": "failed", "d": "skipped",
        }  # fmt: skip
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.visits["undo b2"] == 1
        assert gate.trace[-1] == "undo a"

    def test_none_begins_once_one_has_failed(self, product: Product) -> None:
        """Many undos start at the same time; those that began before the failure finish."""
        nodes = {f"n{n}": node(undo="pass") for n in range(12)} | {"bad": node(undo="1 / 0")}
        run = product.complete(nodes)
        run.operate("rollback")
        run.wait("aborted")
        run.wait_message("run aborted")
        briefs = run.briefs()
        late = briefs[briefs.index("bad undo failed") :]
        assert [brief for brief in late if brief.endswith("undo running")] == []
        states = run.states("undo")
        assert states.pop("bad") == "failed"
        assert set(states.values()) <= {"succeeded", "pending"}

    def test_a_failed_undos_delta_is_not_carried(self, product: Product) -> None:
        """Only succeeded undos change what earlier undos see."""
        gate = product.gate
        nodes = {
            "a": node(undo=gate.note("undo a", "params")),
            "b": node(
                "1 / 0",
                undo="params[f'n{context.attempt}'] = 1\n" + gate.fails("flaw", 1),
                after="a",
            ),
        }
        run = product.run(nodes)
        run.wait("aborted")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.noted("undo a") == {"n2": 1}

    def test_of_a_complete_run(self, product: Product) -> None:
        gate = product.gate
        run = product.complete({"a": node(undo=gate.fails("undo a", 1))})
        run.operate("rollback")
        run.wait("aborted")
        run.operate("cancel")
        run.wait("cancelled")
        assert gate.visits["undo a"] == 2
