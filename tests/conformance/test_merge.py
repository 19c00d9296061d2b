"""Where branches meet: every branch's edits count, carried values never overwrite, conflicts are told.

Which branch ends first is decided by the test, and must make no difference.
"""

import json
from typing import Any

import pytest
from tests.conformance.kit.plan import Nodes, Step, multi, node, order
from tests.conformance.kit.product import Product
from tests.conformance.kit.run import Run


def join(product: Product, edits: dict[str, str], first: str, parameters: Any = None) -> Run:
    """Branches with these edits, in this order of `tasks`; `first` ends before all others."""
    gate = product.gate
    nodes: Nodes = {
        ref: node(gate.hold(ref) + edit + "\n" + gate.note(f"{ref} ended"))
        for ref, edit in edits.items()
    }
    nodes["join"] = node(gate.note("join", "params"), after=" ".join(edits))
    run = product.run(nodes, parameters)
    for ref in edits:
        gate.wait(ref)
    gate.release(first)
    run.wait_task(first, "do", "succeeded")
    gate.release(*edits)
    run.wait("complete")
    return run


def conflicts(run: Run) -> list[str]:
    return [
        json.dumps(warning, ensure_ascii=False)
        for warning in run.get()["warnings"]
        if "ParamsConflict" in json.dumps(warning)
    ]


NO_CONFLICT = [
    ("params['x'] = 1", "params['y'] = 2", {}, {"x": 1, "y": 2}),
    (
        "params['d']['x'] = 1",
        "params['d']['y'] = {'z': 2}",
        {"d": {"o": 0}},
        {"d": {"o": 0, "x": 1, "y": {"z": 2}}},
    ),
    ("params['d']['x'] = 1", "del params['d']['y']", {"d": {"y": 0}}, {"d": {"x": 1}}),
    ("params['a'] = params['o'] + 1", "pass", {"o": 1}, {"o": 1, "a": 2}),
    ("params['o'] = 2", "params['b'] = params['o']", {"o": 1}, {"o": 2, "b": 1}),
    ("params['o'] = 2", "params = {**params, 'b': 1}", {"o": 1}, {"o": 2, "b": 1}),
    ("del params['o']", "params['b'] = 1", {"o": 1}, {"b": 1}),
    (
        "params['d']['l'] = [1]",
        "params['d']['m'] = [2]",
        {"d": {"l": [], "m": []}},
        {"d": {"l": [1], "m": [2]}},
    ),
]


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize(("a", "b", "parameters", "wanted"), NO_CONFLICT)
def test_both_count(
    product: Product, first: str, a: str, b: str, parameters: Any, wanted: Any
) -> None:
    run = join(product, {"a": a, "b": b}, first, parameters)
    assert product.gate.noted("join") == wanted
    assert conflicts(run) == []


def test_what_steps_take_back_is_no_change(product: Product) -> None:
    """A task's delta is what all its steps changed together: nothing is left of detours."""
    gate = product.gate
    detour = (
        "params['x'] = 2\nparams['t'] = 1",
        "params['x'] = 1\nparams['n'] = 1",
        "del params['t']",
    )
    nodes = {
        "b": node("params['x'] = 5\nparams['t'] = 6"),
        "a": multi(*map(Step, detour)),
        "join": node(gate.note("join", "params"), after="a b"),
    }
    run = product.run(nodes, {"x": 1})
    run.wait("complete")
    assert gate.noted("join") == {"x": 5, "t": 6, "n": 1}
    assert conflicts(run) == []
    assert run.task("a")["delta"] == [{"op": "set", "path": ["n"], "value": 1}]


CONFLICT = [
    ("params['x'] = 'a'", "params['x'] = 'b'", {}, {"x": "b"}),
    ("params['x'] = 'a'", "params['x'] = 'b'", {"x": 0}, {"x": "b"}),
    ("params['x'].append('a')", "params['x'].append('b')", {"x": []}, {"x": ["b"]}),
    ("params['x']['y'] = 1", "params['x'] = 5", {"x": {"z": 0}}, {"x": 5}),
    ("params['x'] = 5", "params['x']['y'] = 1", {"x": {"z": 0}}, {"x": {"y": 1}}),
    ("params['x'] = [5]", "params['x']['y']['w'] = 1", {"x": {"y": {}}}, {"x": {"y": {"w": 1}}}),
]


@pytest.mark.parametrize("first", ["a", "b"])
@pytest.mark.parametrize(("a", "b", "parameters", "wanted"), CONFLICT)
def test_the_later_in_the_order_wins(
    product: Product, first: str, a: str, b: str, parameters: Any, wanted: Any
) -> None:
    """The same way every time, whoever ends first; and the run carries a warning."""
    run = join(product, {"a": a, "b": b}, first, parameters)
    assert product.gate.noted("join") == wanted
    found = conflicts(run)
    assert len(found) == 1, run.get()["warnings"]
    for word in ("x", "a", "b"):
        assert word in found[0].replace("ParamsConflict", "")


def test_the_order_is_that_of_tasks(product: Product) -> None:
    """Repeatedly the first in `tasks` whose dependencies are all placed."""
    gate = product.gate
    shape = {"late": "root", "root": "", "end": "late early", "early": "root"}
    nodes = {
        ref: node(
            f"params['x'] = params.get('x', []) + ['{ref}']\nparams['last'] = '{ref}'", after=after
        )
        for ref, after in shape.items()
    }
    nodes["see"] = node(gate.note("see", "params"), after="end")
    assert order(nodes) == ["root", "late", "early", "end", "see"]
    run = product.complete(nodes)
    assert gate.noted("see") == {"x": ["root", "early", "end"], "last": "end"}
    assert run.task("end")["input"] == {"x": ["root", "early"], "last": "early"}


def test_along_a_path_there_is_no_conflict(product: Product) -> None:
    nodes = {
        "a": node("params['x'] = 'a'"),
        "b": node("params['x'] = 'b'", after="a"),
        "c": node(product.gate.note("c", "params"), after="a b"),
    }
    run = product.complete(nodes)
    assert product.gate.noted("c") == {"x": "b"}
    assert conflicts(run) == []


def test_once_each(product: Product) -> None:
    """An ancestor reached by two ways counts once: what came after it isn't set back."""
    gate = product.gate
    nodes = {
        "a": node("params['n'] = 1"),
        "b": node("params['n'] = 2", after="a"),
        "c": node("params['c'] = 1", after="a"),
        "d": node(gate.note("d", "params"), after="b c"),
        "e": node(gate.note("e", "params"), after="a d"),
    }
    product.complete(nodes)
    assert gate.noted("d") == gate.noted("e") == {"n": 2, "c": 1}


def test_not_those_beside(product: Product) -> None:
    """A task sees its ancestors' edits, no others, even if they ended long ago."""
    gate = product.gate
    nodes = {
        "other": node("params['other'] = 1"),
        "a": node(gate.hold("a") + "params['a'] = 1"),
        "b": node(gate.note("b", "params"), after="a"),
    }
    run = product.run(nodes)
    run.wait_task("other", "do", "succeeded")
    gate.release("a")
    run.wait("complete")
    assert gate.noted("b") == {"a": 1}


def test_many_branches(product: Product) -> None:
    gate = product.gate
    nodes = {f"b{n}": node(f"params['d']['{n}'] = {n}") for n in range(12)}
    nodes["join"] = node(gate.note("join", "params['d']"), after=" ".join(nodes))
    product.complete(nodes, {"d": {}})
    assert gate.noted("join") == {str(n): n for n in range(12)}


def test_a_skipped_task_edits_nothing(product: Product) -> None:
    gate = product.gate
    nodes = {
        "a": node("params['a'] = 1"),
        "b": node("params['b'] = 1", when="False", after="a"),
        "c": node(gate.note("c", "params"), after="b"),
    }
    product.complete(nodes)
    assert gate.noted("c") == {"a": 1}


def test_a_conflict_warns_once(product: Product) -> None:
    """Seen by two tasks that follow, still one warning."""
    nodes = {
        "a": node("params['x'] = 1"),
        "b": node("params['x'] = 2"),
        "c": node(after="a b"),
        "d": node(after="a b"),
        "e": node(after="c d"),
    }
    run = product.complete(nodes)
    assert len(conflicts(run)) == 1
