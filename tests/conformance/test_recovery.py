"""Recovery: forwards again. What stands is kept, the rest runs again, all undos return to pending."""

from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product


def numbers(task: dict[str, list[dict[str, int]]]) -> list[int]:
    return [attempt["number"] for attempt in task["attempts"]]


class TestOnTheWayForward:
    """`autoRollback: false`: the run rests in `aborted`, nothing was undone."""

    def test_only_what_failed_or_never_ran(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "ok": node(gate.note("ok")),
            "no": node(gate.note("no"), when="False"),
            "bad": node(gate.note("bad") + gate.fails("flaw", 1), after="ok no"),
            "then": node(gate.note("then"), after="bad"),
        }
        run = product.run(nodes, autoRollback=False)
        run.wait("aborted")
        run.operate("recovery")
        run.wait("complete")
        counts = {key: gate.visits[key] for key in ("ok", "no", "bad", "then")}
        assert counts == {"ok": 1, "no": 0, "bad": 2, "then": 1}
        assert numbers(run.task("bad")) == [1, 2]
        assert numbers(run.task("ok")) == [1]
        assert run.get()["finished_at"]

    def test_the_state_starts_clean(self, product: Product) -> None:
        gate = product.gate
        nodes = {"bad": node(gate.fails("bad", 1) + gate.hold("bad again"))}
        run = product.run(nodes, autoRollback=False)
        run.wait("aborted")
        assert run.operate("recovery")["status"] == "processing"
        gate.wait("bad again")
        run.wait_task("bad", "do", "running")
        assert run.get()["finished_at"] is None

    def test_twice(self, product: Product) -> None:
        gate = product.gate
        nodes = {"a": node(gate.note("a")), "b": node(gate.fails("b", 2), after="a")}
        run = product.run(nodes, autoRollback=False)
        for _ in range(2):
            run.wait("aborted")
            run.operate("recovery")
            run.wait_task("b", "do", "failed", "succeeded")
        run.wait("complete")
        assert numbers(run.task("b")) == [1, 2, 3]
        assert gate.visits["a"] == 1

    def test_two_that_failed(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(gate.hold("a") + gate.fails("flaw a", 1)),
            "b": node(gate.hold("b") + gate.fails("flaw b", 1)),
            "c": node(after="a b"),
        }
        run = product.run(nodes, autoRollback=False)
        gate.wait("a")
        gate.wait("b")
        gate.release("a", "b")
        run.wait("aborted")
        run.wait_task("a", "do", "failed")
        run.wait_task("b", "do", "failed")
        run.operate("recovery")
        run.wait("complete")

    def test_while_something_still_runs(self, product: Product) -> None:
        """What still runs at the recovery isn't started a second time."""
        gate = product.gate
        nodes = {
            "bad": node(gate.hold("bad") + gate.fails("flaw", 1)),
            "held": node(gate.hold("held") + gate.note("held ended")),
        }
        run = product.run(nodes, autoRollback=False)
        gate.wait("held")
        gate.release("bad")
        run.wait("aborted")
        answer = product.rest.send(
            "PATCH", f"/pipelineruns/{run.id}", json={"operation": "recovery"}
        )
        assert answer.status_code in {202, 409}, answer.text
        gate.release("held")
        if answer.status_code == 409:
            run.wait_task("held", "do", "succeeded")
            run.operate("recovery")
        run.wait("complete")
        assert gate.visits["held ended"] == 1


class TestOnTheWayBack:
    """An undo has failed: the run rests in `aborted`, half undone."""

    def test_what_was_undone_runs_again(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(gate.note("do a"), undo=gate.note("undo a")),
            "b": node(gate.note("do b"), undo=gate.fails("undo b", 1), after="a"),
            "c": node(gate.fails("do c", 1), undo=gate.note("undo c"), after="b"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        assert run.states("undo") == {"a": "pending", "b": "failed", "c": "succeeded"}
        run.operate("recovery")
        run.wait("complete")
        assert gate.trace == ["do a", "do b", "do c", "undo c", "undo b", "do b", "do c"]
        assert set(run.states("undo").values()) == {"pending"}
        assert {ref: numbers(run.task(ref)) for ref in "abc"} == {
            "a": [1],
            "b": [1, 2],
            "c": [1, 2],
        }

    def test_branches_that_stand(self, product: Product) -> None:
        """One branch is undone, its sibling's undo failed, the root wasn't touched."""
        gate = product.gate
        nodes = {
            "root": node(gate.note("root")),
            "left": node(gate.note("left"), undo=gate.note("undo left"), after="root"),
            "right": node(
                gate.note("right"),
                undo=gate.hold("undo right") + gate.fails("flaw", 1),
                after="root",
            ),
            "end": node(gate.fails("end", 1), after="left right"),
        }
        run = product.run(nodes)
        gate.wait("undo right")
        run.wait_task("left", "undo", "succeeded")
        gate.release("undo right")
        run.wait("aborted")
        run.operate("recovery")
        run.wait("complete")
        counts = {ref: gate.visits[ref] for ref in nodes}
        assert counts == {"root": 1, "left": 2, "right": 2, "end": 2}

    def test_what_follows_from_what_runs_again(self, product: Product) -> None:
        """A do that was never undone runs again if a dependency does; a bystander doesn't."""
        gate = product.gate
        nodes = {
            "root": node(gate.note("root"), undo=gate.fails("flaw", 1)),
            "a": node(gate.note("a"), undo="pass", after="root"),
            "x": node(gate.note("x"), after="a"),
            "bystander": node(gate.note("bystander")),
            "end": node(gate.fails("end", 1), after="x bystander"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        assert run.states("undo") | {"end": ""} == {
            "root": "failed", "a": "succeeded", "x": "skipped", "bystander": "skipped", "end": "",
        }  # fmt: skip
        run.operate("recovery")
        run.wait("complete")
        counts = {ref: gate.visits[ref] for ref in nodes}
        assert counts == {"root": 2, "a": 2, "x": 2, "bystander": 1, "end": 2}

    def test_and_back_again(self, product: Product) -> None:
        """After a recovery the rollback owes everything that has begun since."""
        gate = product.gate
        nodes = {
            "a": node(gate.note("do a"), undo=gate.note("undo a")),
            "b": node(
                gate.note("do b"), undo=gate.note("undo b") + gate.fails("flaw", 1), after="a"
            ),
            "c": node(gate.note("do c") + "1 / 0", undo=gate.note("undo c"), after="b"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        run.operate("recovery")
        run.wait("cancelled")
        forward, back = ["do b", "do c", "undo c", "undo b"], ["flaw", "undo a"]
        assert gate.trace == ["do a", *forward, "flaw", *forward, *back]
        assert numbers(run.task("b", "undo")) == [1, 2]

    def test_after_a_renewed_cancel(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node(gate.note("do a"), undo=gate.fails("undo a", 2)),
            "b": node(gate.fails("do b", 1), undo=gate.note("undo b"), after="a"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        run.operate("cancel")
        run.wait_message("run aborted", 3)
        run.wait("aborted")
        run.operate("recovery")
        run.wait("complete")
        assert gate.trace == ["do a", "do b", "undo b", "undo a", "undo a", "do a", "do b"]
        assert run.briefs().count("run aborted") == 3


class TestWhatStartsAfresh:
    def test_conditions(self, product: Product) -> None:
        """Evaluated anew for what runs again; what stands keeps its value."""
        gate = product.gate
        nodes = {
            "flip": node("params['n'] = context.attempt", undo=gate.fails("undo flip", 1)),
            "first": node(gate.note("first"), when="params['n'] == 1", after="flip"),
            "again": node(gate.note("again"), when="params['n'] == 2", after="flip"),
            "kept": node(gate.note("kept"), when="params.get('n') is None"),
            "end": node(gate.fails("end", 1), after="first again kept"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        assert run.states()["first"] == "succeeded"
        assert run.states()["again"] == "skipped"
        run.operate("recovery")
        run.wait("complete")
        assert run.states()["first"] == "skipped"
        assert run.states()["again"] == "succeeded"
        assert [gate.visits[ref] for ref in ("first", "again", "kept")] == [1, 1, 1]

    def test_a_condition_that_failed(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node("params['n'] = context.attempt", undo=gate.fails("undo a", 1)),
            "b": node(gate.note("b"), when="1 / (params['n'] - 1)", after="a"),
        }
        run = product.run(nodes)
        run.wait("aborted")
        assert run.states() == {"a": "succeeded", "b": "failed"}
        run.operate("recovery")
        run.wait("complete")
        assert gate.visits["b"] == 1

    def test_retries(self, product: Product) -> None:
        """`limit` counts afresh, the attempts' numbers go on."""
        retries = {"limit": 1, "delay": "1ms"}
        nodes = {"a": node(product.gate.fails("a", 3), retries=retries)}
        run = product.run(nodes, autoRollback=False)
        run.wait("aborted")
        assert numbers(run.task("a")) == [1, 2]
        run.operate("recovery")
        run.wait("complete")
        assert numbers(run.task("a")) == [1, 2, 3, 4]

    def test_retries_of_what_still_runs(self, product: Product) -> None:
        """The attempt that runs at the recovery is the first of those that count from there on."""
        gate = product.gate
        work = gate.fails("flaw", 1) + gate.hold("held") + gate.fails("another flaw", 1)
        nodes = {
            "bad": node(gate.hold("bad") + gate.fails("bad flaw", 1)),
            "held": node(work, retries={"limit": 1, "delay": "1ms"}),
        }
        run = product.run(nodes, autoRollback=False)
        gate.wait("held")  # its second attempt, and so its last
        gate.release("bad")
        run.wait("aborted")
        run.operate("recovery")
        gate.release("held")
        run.wait("complete")
        assert numbers(run.task("held")) == [1, 2, 3]

    def test_the_runs_timeout(self, product: Product) -> None:
        """It is long enough for a busy cluster to start a pod: ``b`` must end within it."""
        gate, patience = product.gate, product.patience
        nodes = {"a": node(gate.hold("a") + gate.note("ended")), "b": node(after="a")}
        run = product.run(nodes, autoRollback=False, timeout=patience.duration(2))
        gate.wait("a")
        run.wait("aborted")
        gate.release("a")
        run.wait_task("a", "do", "succeeded")
        run.operate("recovery")
        run.wait("complete")
        assert run.states() == {"a": "succeeded", "b": "succeeded"}
        assert gate.visits["ended"] == 1

    def test_params(self, product: Product) -> None:
        """An attempt before the recovery leaves nothing in the params."""
        gate = product.gate
        script = "params[f'attempt{context.attempt}'] = True\n" + gate.fails("flaw", 1)
        nodes = {
            "a": node("params['a'] = 1"),
            "b": node(script, after="a"),
            "c": node(gate.note("c", "params"), after="b"),
        }
        run = product.run(nodes, autoRollback=False)
        run.wait("aborted")
        run.operate("recovery")
        run.wait("complete")
        assert gate.noted("c") == {"a": 1, "attempt2": True}
