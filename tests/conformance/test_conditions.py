"""Conditions: an expression or a body, once, over a copy of the task's input and the ancestors' states."""

import pytest
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product

PARAMETERS = {"vendor": "cisco", "ports": [1, 2, 3], "zero": 0, "none": None}
VALUES = [
    ("True", True),
    ("False", False),
    ("params['vendor'] == 'cisco' and len(params['ports']) > 2", True),
    ("params['vendor'] == 'juniper' or not params['ports']", False),
    ("params['ports']", True),
    ("params['zero']", False),
    ("params['none']", False),
    ("''", False),
    ("'no'", True),
    ("{}", False),
    ("sum(p for p in params['ports']) == 6", True),
    ("all(isinstance(p, int) for p in params['ports'])", True),
    ("return params['vendor'] == 'cisco'", True),
    ("return 0", False),
    ("return", False),
    ("if params['zero']:\n    return True\nreturn False", False),
    ("for port in params['ports']:\n    if port == 2:\n        return True\n", True),
    ("def odd(n):\n    return n % 2\nreturn [p for p in params['ports'] if odd(p)]", True),
    ("  params['vendor'] == 'cisco'  ", True),
    ("(params['vendor'] ==\n 'cisco')", True),
]


def test_its_value_decides(product: Product) -> None:
    """Each condition on a task of its own, all in one run."""
    gate = product.gate
    nodes = {
        f"c{number}": node(gate.note(condition), when=condition)
        for number, (condition, _) in enumerate(VALUES)
    }
    run = product.complete(nodes, PARAMETERS)
    states = run.states()
    found = {condition: states[f"c{number}"] for number, (condition, _) in enumerate(VALUES)}
    assert found == {condition: "succeeded" if runs else "skipped" for condition, runs in VALUES}
    assert sorted(gate.trace) == sorted(condition for condition, runs in VALUES if runs)


def test_a_skipped_task(product: Product) -> None:
    """It satisfies its dependants, and nothing of it ran."""
    run = product.complete({"a": node(when="False"), "b": node(after="a"), "c": node(after="b")})
    task = run.task("a")
    assert task["status"] == "skipped"
    assert task["runner_id"] is None
    assert task["attempts"] == []
    assert task["error"] is None


ERRORS = [
    ("params['nowhere']", "KeyError"),
    ("1 / 0", "ZeroDivisionError"),
    ("if not params:\n    raise ValueError('broken')\nreturn True", "ValueError"),
    ("nonsense", "NameError"),
    ("x = 1\nreturn x.nowhere", "AttributeError"),
    ("len(5)", "TypeError"),
]


@pytest.mark.parametrize(("condition", "error"), ERRORS)
def test_an_exception_fails_the_task(product: Product, condition: str, error: str) -> None:
    gate = product.gate
    nodes = {"a": node(undo="pass"), "b": node(gate.note("b"), when=condition, after="a")}
    run = product.run(nodes)
    run.wait("cancelled")
    task = run.task("b")
    assert task["status"] == "failed"
    assert task["error"]["type"] == error
    assert task["runner_id"] is None
    assert gate.visits["b"] == 0


class TestWhatItSees:
    def test_the_tasks_input(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node("params['n'] = 1"),
            "b": node("params['n'] = 2", after="a"),
            "other": node("params['other'] = 1"),
            "c": node(gate.note("c"), when="params == {'n': 2, 'p': 0}", after="b"),
        }
        product.complete(nodes, {"p": 0})
        assert gate.visits["c"] == 1

    def test_the_states_of_its_ancestors(self, product: Product) -> None:
        nodes = {
            "a": node(),
            "b": node(when="False", after="a"),
            "other": node(),
            "c": node(when="tasks == {'a': 'succeeded', 'b': 'skipped'}", after="b"),
            "d": node(when="tasks == {}"),
        }
        run = product.complete(nodes)
        assert run.states()["c"] == "succeeded"
        assert run.states()["d"] == "succeeded"

    def test_its_edits_are_lost(self, product: Product) -> None:
        gate = product.gate
        condition = "params['x'] = 2\nparams['d']['y'] = 2\ntasks.clear()\nreturn True"
        nodes = {
            "a": node(gate.note("a", "params"), when=condition),
            "b": node(gate.note("b", "params"), after="a"),
        }
        product.complete(nodes, {"x": 1, "d": {"y": 1}})
        assert gate.noted("a") == gate.noted("b") == {"x": 1, "d": {"y": 1}}

    @pytest.mark.parametrize("name", ["callout", "PipelineRun", "SDKRunner", "context", "secrets"])
    def test_nothing_to_reach_out_with(self, product: Product, name: str) -> None:
        """Refused when written, or a failure when evaluated; never a value."""
        task = product.task()
        entry = {"ref": "a", "name": task, "dependsOn": [], "condition": f"{name} is not None"}
        body = {"category": "c", "name": product.name("p"), "tasks": [entry]}
        answer = product.rest.send("POST", "/pipelines", json=body)
        if answer.status_code == 422:
            return
        run = product.rest.post(
            "pipelineruns", {"name": body["name"], "parameters": {}, "run": True}
        )
        url = f"/pipelineruns/{run['instance_id']}"
        product.log.wait(
            lambda: product.rest.get("pipelineruns", run["instance_id"])["status"] == "cancelled",
            product.patience.wait,
        )
        task_run = product.rest.call("GET", f"{url}/tasks/a/do", 200).json()
        assert task_run["status"] == "failed"


class TestLimits:
    @pytest.mark.parametrize(
        "condition",
        [
            "while True:\n    pass\nreturn True",
            "[n for n in range(10 ** 12)]",
            "'x' * 10 ** 10",
            "return len([0] * (200 * 1024 * 1024)) > 0",
            "10 ** 10 ** 9 > 0",
        ],
    )
    def test_time_and_memory(self, product: Product, condition: str) -> None:
        run = product.run({"a": node(when=condition)})
        run.wait("cancelled")
        assert run.task("a")["status"] == "failed"
        assert run.task("a")["error"]["message"]

    def test_others_go_on_meanwhile(self, product: Product) -> None:
        endless = product.run({"a": node(when="while True:\n    pass\nreturn True")})
        product.complete({"a": node(when="True")})
        endless.wait("cancelled")


def test_evaluated_when_its_turn_comes(product: Product) -> None:
    """After its dependencies, once; an ended run evaluates none."""
    gate = product.gate
    nodes = {
        "a": node(gate.hold("a") + "1 / 0"),
        "b": node(when="1 / 0", after="a"),
    }
    run = product.run(nodes)
    gate.wait("a")
    assert run.task("b")["status"] == "pending"
    gate.release("a")
    run.wait("cancelled")
    assert run.task("b")["status"] == "pending"


def test_once_for_all_attempts(product: Product) -> None:
    """A retry doesn't evaluate again: the value is stored."""
    retries = {"limit": 2, "delay": "1ms"}
    nodes = {
        "a": node("import random\nparams['r'] = random.random()"),
        "b": node(product.gate.fails("b", 2), when="params['r'] < 2", retries=retries, after="a"),
    }
    run = product.complete(nodes)
    assert len(run.task("b")["attempts"]) == 3
    assert run.briefs().count("b do skipped") == 0
