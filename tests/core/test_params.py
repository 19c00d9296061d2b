"""Params: deltas, the merge order, conflicts, an undo's input, and sizes."""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.engine.graph import Graph
from xaas_core.engine.history import Change, History
from xaas_core.engine.params import MAX_BYTES, Inputs, apply, conflicts, encode, size
from xaas_core.engine.records import Attempt, StepRecord, TaskRecord
from xaas_core.engine.states import RunState, Side, TaskState

Delta = tuple[dict[str, Any], ...]


def put(path: str, value: Any) -> dict[str, Any]:
    """Set the value at `a.b`."""
    return {"op": "set", "path": path.split("."), "value": value}


def drop(path: str) -> dict[str, Any]:
    """Delete `a.b`."""
    return {"op": "delete", "path": path.split(".")}


def sort(path: str, keys: str) -> dict[str, Any]:
    """Order the keys of `a.b`, each of one letter."""
    return {"op": "order", "path": path.split(".") if path else [], "keys": list(keys)}


# --- applying a delta ---


@pytest.mark.parametrize(
    ("params", "delta", "result"),
    [
        ({}, [put("a", 1)], {"a": 1}),
        ({"a": 1}, [put("a", None)], {"a": None}),
        ({"a": {"b": 1}}, [put("a.c", 2)], {"a": {"b": 1, "c": 2}}),
        # missing parents are made
        ({}, [put("a.b.c", 1)], {"a": {"b": {"c": 1}}}),
        # a set replaces a parent that is no object
        ({"a": 1}, [put("a.b", 2)], {"a": {"b": 2}}),
        ({"a": [1, 2]}, [put("a.b", 2)], {"a": {"b": 2}}),
        ({"a": None}, [put("a.b.c", 2)], {"a": {"b": {"c": 2}}}),
        # a list is one value
        ({"a": [1, {"x": 1}]}, [put("a", [3])], {"a": [3]}),
        # deletes
        ({"a": 1, "b": 2}, [drop("a")], {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, [drop("a.b")], {"a": {"c": 2}}),
        ({"a": 1}, [drop("b"), drop("a.b"), drop("c.d.e")], {"a": 1}),
        ({"a": [1]}, [drop("a.0")], {"a": [1]}),
        # in their order
        ({}, [put("a", 1), drop("a")], {}),
        ({"a": {"b": 1}}, [drop("a"), put("a.c", 2)], {"a": {"c": 2}}),
        ({"a": {"b": 1}}, [put("a", {}), put("a.c", 2)], {"a": {"c": 2}}),
        # an order
        ({"a": 1, "b": 2, "c": 3}, [sort("", "cab")], {"c": 3, "a": 1, "b": 2}),
        ({"x": {"a": 1, "b": 2}}, [sort("x", "ba")], {"x": {"b": 2, "a": 1}}),
        # of keys that it doesn't know, or that are gone
        ({"a": 1, "z": 0, "b": 2}, [sort("", "bxa")], {"b": 2, "a": 1, "z": 0}),
        ({"x": 1}, [sort("x", "ab"), sort("y.z", "ab")], {"x": 1}),
        # an empty key is a key
        ({}, [{"op": "set", "path": ["", ""], "value": 1}], {"": {"": 1}}),
        # exact numbers
        (
            {"a": 1},
            [put("a", 1.0), put("b", 10**400), put("c", -0.0)],
            {"a": 1.0, "b": 10**400, "c": -0.0},
        ),
    ],
)
def test_apply(params: dict[str, Any], delta: list[dict[str, Any]], result: dict[str, Any]) -> None:
    apply(params, delta)
    assert repr(params) == repr(result), "values, types and the order of keys"


def test_applying_leaves_the_delta_alone() -> None:
    delta = [put("a", {"x": [1]}), put("a.y", 2)]
    before = copy.deepcopy(delta)
    params: dict[str, Any] = {}
    apply(params, delta)
    params["a"]["x"].append(9)
    assert delta == before


# --- inputs ---

DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


class Case:
    """A graph with what was recorded; deltas are of the last attempt."""

    def __init__(self, edges: Mapping[str, Sequence[str]]) -> None:
        self.graph = Graph(edges)
        self.history = History(self.graph, [Change(RunState.PROCESSING, 1)])
        self.records: dict[tuple[str, Side], TaskRecord] = {}
        self.parameters: dict[str, Any] = {}

    def did(self, ref: str, *deltas: Delta, ok: bool = True, side: Side = Side.DO) -> "Case":
        """Attempts of one step each, of which the last ended so."""
        key = (ref, side)
        old = self.records.get(key, TaskRecord(*key))
        number = len(old.attempts)
        made = [
            Attempt(
                number + n, 0, 0, (0,), steps=(StepRecord(0, n, "", succeeded=ok, delta=delta),)
            )
            for n, delta in enumerate(deltas, 1)
        ]
        self.records[key] = TaskRecord(*key, attempts=(*old.attempts, *made))
        for state in (TaskState.RUNNING, TaskState.SUCCEEDED if ok else TaskState.FAILED):
            self.history.append(Change(state, 1, *key, attempt=1))
        return self

    def undid(self, ref: str, *deltas: Delta, ok: bool = True) -> "Case":
        """The same of the undo."""
        return self.did(ref, *deltas, ok=ok, side=Side.UNDO)

    def moves(self, *states: RunState) -> "Case":
        """The run moves."""
        for state in states:
            self.history.append(Change(state, 1))
        return self

    def skipped(self, *refs: str, side: Side = Side.DO) -> "Case":
        """These were skipped."""
        for ref in refs:
            self.history.append(Change(TaskState.SKIPPED, 1, ref, side))
        return self

    def input(self, ref: str, side: Side = Side.DO) -> dict[str, Any]:
        """The input of a task run."""
        inputs = Inputs(encode(self.parameters), self.graph, self.history, self.records)
        return inputs.of(ref, side)


def test_the_first_tasks_input_is_the_runs_parameters() -> None:
    case = Case(DIAMOND)
    case.parameters = {"x": {"y": [1.0, 2]}}
    assert repr(case.input("a")) == "{'x': {'y': [1.0, 2]}}"


def test_a_task_sees_its_ancestors_edits_and_nobody_elses() -> None:
    case = Case({**DIAMOND, "e": ()})
    case.did("e", (put("e", 1),)).did("a", (put("a", 1),)).did("b", (put("b", 1),))
    assert case.input("b") == {"a": 1}
    assert case.input("c") == {"a": 1}
    assert case.input("e") == {}


def test_parallel_edits_of_different_keys_both_count_however_deep() -> None:
    case = Case(DIAMOND)
    case.parameters = {"x": {"y": {"keep": 0}}}
    case.did("a", ()).did("b", (put("x.y.b", 1),)).did("c", (put("x.y.c", 2),))
    assert case.input("d") == {"x": {"y": {"keep": 0, "b": 1, "c": 2}}}


def test_a_value_that_a_branch_merely_carries_never_overwrites_anothers_edit() -> None:
    case = Case(DIAMOND).did("a", (put("x", "a"),)).did("b", (put("x", "b"),)).did("c", ())
    assert case.input("d") == {"x": "b"}


@pytest.mark.parametrize(
    ("tasks", "last"),
    [("abcd", "c"), ("acbd", "b"), ("dcba", "b"), ("cbad", "b")],
)
def test_the_later_in_the_order_wins(tasks: str, last: str) -> None:
    case = Case({ref: DIAMOND[ref] for ref in tasks})
    case.did("a", (put("x", "a"),)).did("c", (put("x", "c"),)).did("b", (put("x", "b"),))
    assert case.input("d") == {"x": last}


def test_an_ancestor_counts_once() -> None:
    case = Case(DIAMOND)
    case.parameters = {"list": []}
    # Were a's delta applied again after b's, b's edit would be lost.
    case.did("a", (put("list", [1]),)).did("b", (put("list", [1, 2]),)).did("c", ())
    assert case.input("d") == {"list": [1, 2]}


def test_a_set_above_replaces_what_a_parallel_task_set_below_and_the_other_way_round() -> None:
    case = Case(DIAMOND).did("a", ()).did("b", (put("x.y", 1),)).did("c", (put("x", 5),))
    assert case.input("d") == {"x": 5}
    case = Case(DIAMOND).did("a", ()).did("b", (put("x", 5),)).did("c", (put("x.y", 1),))
    assert case.input("d") == {"x": {"y": 1}}


def test_a_parallel_delete_and_set_resolve_by_the_order() -> None:
    case = Case(DIAMOND)
    case.parameters = {"x": 1}
    case.did("a", ()).did("b", (drop("x"),)).did("c", (put("x", 2),))
    assert case.input("d") == {"x": 2}
    case = Case(DIAMOND)
    case.parameters = {"x": 1}
    case.did("a", ()).did("b", (put("x", 2),)).did("c", (drop("x"),))
    assert case.input("d") == {}


def test_of_several_attempts_the_last_ones_edits_count() -> None:
    case = Case(DIAMOND).did("a", (put("x", 1), put("y", 1)), (put("x", 2),))
    assert case.input("b") == {"x": 2}


def test_an_attempt_that_never_began_changes_nothing() -> None:
    case = Case(DIAMOND).did("a", (put("x", 1),))
    record = case.records["a", Side.DO]
    case.records["a", Side.DO] = TaskRecord(
        "a", Side.DO, attempts=(*record.attempts, Attempt(2, 0, 0, (0,)))
    )
    assert case.input("b") == {"x": 1}


def test_the_steps_of_an_attempt_count_one_after_the_other() -> None:
    case = Case(DIAMOND).did("a", ())
    steps = (
        StepRecord(0, 1, "", delta=(put("x", 1), put("y", 1))),
        StepRecord(1, 2, "", delta=(put("x", 2), drop("y"))),
    )
    record = TaskRecord("a", Side.DO, attempts=(Attempt(1, 0, 0, (0, 1), steps=steps),))
    case.records["a", Side.DO] = record
    assert case.input("b") == {"x": 2}


def test_a_skipped_ancestor_changes_nothing_whatever_it_did_before_a_recovery() -> None:
    case = Case({"a": (), "b": ("a",), "c": ("b",)})
    case.did("a", (put("a", 1),)).did("b", (put("b", 1),), ok=False)
    case.moves(RunState.ABORTED, RunState.PROCESSING).skipped("b")
    assert case.input("c") == {"a": 1}


# --- an undo's input ---


@pytest.mark.parametrize("ok", [True, False])
def test_an_undo_starts_from_what_its_own_do_left(ok: bool) -> None:
    case = Case({"a": (), "b": ("a",)}).did("a", (put("x", "a"),))
    case.did("b", (put("x", "b"), put("id", 7)), ok=ok)
    assert case.input("b", Side.UNDO) == {"x": "b", "id": 7}
    # What its dependants did isn't in it: they are undone.
    assert case.input("a", Side.UNDO) == {"x": "a"}


def test_an_undo_sees_the_edits_of_its_descendants_undos_in_reverse_order() -> None:
    case = Case(DIAMOND).did("a", (put("x", "a"),))
    for ref in "bcd":
        case.did(ref, (put("x", ref),))
    case.moves(RunState.COMPLETE, RunState.CANCELLING)
    case.undid("d", (put("x", "undo d"), put("d", 1)))
    case.undid("b", (put("x", "undo b"), put("b", 1)))
    case.undid("c", (put("x", "undo c"), put("c", 1)))
    assert case.input("a", Side.UNDO) == {"x": "undo b", "d": 1, "c": 1, "b": 1}
    assert case.input("b", Side.UNDO) == {"x": "undo d", "d": 1}


def test_an_undo_that_failed_or_is_of_no_descendant_changes_nothing() -> None:
    case = Case({"a": (), "b": ("a",), "e": ()}).did("a", ()).did("b", ()).did("e", ())
    case.moves(RunState.COMPLETE, RunState.CANCELLING)
    case.undid("e", (put("e", 1),)).undid("b", (put("b", 1),), ok=False)
    assert case.input("a", Side.UNDO) == {}
    case.moves(RunState.ABORTED, RunState.CANCELLING)
    case.undid("b", (put("b", 2),))
    assert case.input("a", Side.UNDO) == {"b": 2}


def test_an_undo_from_before_a_recovery_is_no_part_of_it() -> None:
    case = Case({"a": (), "b": ("a",), "c": ("b",)})
    case.did("a", (put("x", 1),)).did("b", ()).did("c", ())
    case.moves(RunState.COMPLETE, RunState.CANCELLING)
    case.undid("c", (put("c", "undone"),)).undid("b", (), ok=False)
    case.moves(RunState.ABORTED, RunState.PROCESSING)
    case.did("b", (), ok=False).moves(RunState.ABORTED, RunState.CANCELLING)
    case.skipped("c", side=Side.UNDO)
    assert case.input("b", Side.UNDO) == {"x": 1}


# --- conflicts ---


@pytest.mark.parametrize(
    ("deltas", "found"),
    [
        ({"b": [put("x", 1)], "c": [put("y", 1)]}, []),
        ({"b": [put("x.y", 1)], "c": [put("x.z", 1)]}, []),
        ({"b": [put("x", 1)], "c": [put("x", 2)]}, [("x", "bc")]),
        ({"b": [put("x.y", 1)], "c": [put("x.y", 1)]}, [("x.y", "bc")]),
        # one above the other's, either way
        ({"b": [put("x", 1)], "c": [put("x.y.z", 1)]}, [("x", "bc")]),
        ({"b": [put("x.y.z", 1)], "c": [put("x", 1)]}, [("x", "bc")]),
        # a delete is a change like a set
        ({"b": [drop("x")], "c": [put("x", 1)]}, [("x", "bc")]),
        ({"b": [put("x.y", 1)], "c": [drop("x")]}, [("x", "bc")]),
        # of two deletes nothing depends on the order
        ({"b": [drop("x")], "c": [drop("x.y"), drop("x")]}, []),
        # the order of keys is nobody's
        ({"b": [sort("x", "ab")], "c": [put("x", 1)]}, []),
        # those that follow from each other don't conflict
        ({"a": [put("x", 1)], "b": [put("x", 2)], "d": [put("x", 3)]}, []),
        # several
        (
            {"b": [put("x", 1), put("y.a", 1)], "c": [put("x", 1), put("y", 1)]},
            [("x", "bc"), ("y", "bc")],
        ),
        # one pair and path is said once
        ({"b": [put("x", 1), put("x", 2)], "c": [put("x", 3), put("x", 4)]}, [("x", "bc")]),
    ],
)
def test_conflicts(deltas: dict[str, list[dict[str, Any]]], found: list[tuple[str, str]]) -> None:
    graph = Graph(DIAMOND)
    listed = [(ref, deltas.get(ref, [])) for ref in graph.order]
    assert [(".".join(c.path), "".join(c.refs)) for c in conflicts(graph, listed)] == found


def test_a_conflict_names_path_and_refs() -> None:
    graph = Graph(DIAMOND)
    [conflict] = conflicts(graph, [("b", [put("x.y", 1)]), ("c", [put("x.y", 1)])])
    assert conflict.message() == ("params['x']['y'] is set by 'b' and 'c'; the last one wins")


# --- sizes and texts ---


@pytest.mark.parametrize(
    ("params", "bytes_"),
    [({}, 2), ({"a": 1}, 7), ({"é": "é"}, 11), ({"a": [1, 2]}, 11), ({"a": "\U0001f600"}, 12)],
)
def test_size_is_of_compact_json_in_utf8(params: dict[str, Any], bytes_: int) -> None:
    assert size(params) == bytes_


def test_the_limit_is_a_mebibyte() -> None:
    assert MAX_BYTES == 2**20


@pytest.mark.parametrize("digits", [4_301, 99_999])
def test_integers_of_any_size_are_kept(digits: int) -> None:
    value = 10 ** (digits - 1) + 1
    params: dict[str, Any] = {}
    apply(params, [put("a", [value])])
    assert json.loads(encode(params))["a"] == [value]


# --- any deltas of any DAG, against an oracle that applies them one by one ---

KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
PATHS = st.lists(KEYS, min_size=1, max_size=3)
OPS = st.one_of(
    st.builds(lambda path, value: {"op": "set", "path": path, "value": value}, PATHS, VALUES),
    st.builds(lambda path: {"op": "delete", "path": path}, PATHS),
    st.builds(
        lambda path, keys: {"op": "order", "path": path[1:], "keys": keys},
        PATHS,
        st.permutations("abc"),
    ),
)
DELTAS = st.lists(OPS, max_size=4).map(tuple)


def naive_apply(params: Any, op: dict[str, Any]) -> Any:
    """What one change makes of a value; nothing is changed in place."""
    head, *tail = op["path"] or [None]
    if head is None:
        if not isinstance(params, dict):
            return params
        known = [key for key in op["keys"] if key in params]
        return {key: params[key] for key in known + [k for k in params if k not in known]}
    if not isinstance(params, dict):
        if op["op"] != "set":
            return params
        params = {}
    if op["op"] == "order" or tail:
        if head not in params and op["op"] != "set":
            return params
        inner = {**op, "path": tail}
        return {**params, head: naive_apply(params.get(head), inner)}
    if op["op"] == "set":
        return {**params, head: op["value"]}
    return {key: value for key, value in params.items() if key != head}


@given(st.dictionaries(KEYS, VALUES, max_size=3), DELTAS)
def test_apply_of_anything(params: dict[str, Any], delta: Delta) -> None:
    expected: Any = params
    for op in delta:
        expected = naive_apply(expected, op)
    changed = copy.deepcopy(params)
    apply(changed, delta)
    assert repr(changed) == repr(expected)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, dict[str, Delta]]:
    """A DAG in which every task succeeded, with any delta each."""
    refs = "uvwxy"
    ranked = draw(st.permutations(refs))
    edges = {
        ref: tuple(draw(st.lists(st.sampled_from(ranked[:i]), unique=True, max_size=2)))
        if i
        else ()
        for i, ref in enumerate(ranked)
    }
    case = Case({ref: edges[ref] for ref in refs})
    deltas = {ref: draw(DELTAS) for ref in refs}
    for ref in case.graph.order:
        case.did(ref, deltas[ref])
    case.parameters = draw(st.dictionaries(KEYS, VALUES, max_size=2))
    return case, deltas


@given(cases())
def test_inputs_of_anything(made: tuple[Case, dict[str, Delta]]) -> None:
    case, deltas = made
    for ref in case.graph.order:
        expected: Any = case.parameters
        for other in case.graph.order:
            if other in case.graph.ancestors(ref):
                for op in deltas[other]:
                    expected = naive_apply(expected, op)
        assert repr(case.input(ref)) == repr(expected)


@given(cases())
def test_conflicts_of_anything(made: tuple[Case, dict[str, Delta]]) -> None:
    case, deltas = made
    graph = case.graph
    paths = {
        ref: {(tuple(op["path"]), op["op"]) for op in delta if op["op"] != "order"}
        for ref, delta in deltas.items()
    }
    expected = set()
    for place, first in enumerate(graph.order):
        for second in graph.order[place + 1 :]:
            if first in graph.ancestors(second):
                continue
            for mine, my_op in paths[first]:
                for theirs, their_op in paths[second]:
                    if my_op == their_op == "delete":
                        continue
                    short = min(mine, theirs, key=len)
                    if mine[: len(short)] == theirs[: len(short)]:
                        expected.add((short, (first, second)))
    found = conflicts(graph, [(ref, deltas[ref]) for ref in graph.order])
    assert {(conflict.path, conflict.refs) for conflict in found} == expected
    assert len(found) == len(expected)
