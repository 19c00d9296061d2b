import collections
import enum
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xaas_runner.delta import apply, bundled, diff
from xaas_runner.params import MAX_DEPTH, NotJson, check_json, from_text, plain, to_text

KEYS = st.sampled_from(["a", "b", "c", "d", "", "é", "a.b", "__class__"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**64, max_value=2**200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, "1"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
PARAMS = st.dictionaries(KEYS, VALUES, max_size=5)


@settings(max_examples=400)
@given(PARAMS, PARAMS)
def test_a_delta_leads_from_before_to_after_with_types_and_order(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    start = to_text(before)
    delta = diff(before, after)
    assert to_text(before) == start, "diff changed its input"
    # As JSON, the way it travels; as text, which tells 1 from 1.0 and one order from another.
    arrived = json.loads(json.dumps(delta))
    assert to_text(apply(from_text(start), arrived)) == to_text(after)


EDITS = st.lists(
    st.tuples(st.lists(st.integers(0, 3), max_size=3), KEYS, st.none() | VALUES), max_size=4
)


def edit(params: dict[str, Any], edits: list[tuple[list[int], str, Any]]) -> dict[str, Any]:
    """Return a copy after a few edits deep down: what scripts do. None deletes."""
    copy: dict[str, Any] = json.loads(json.dumps(params))
    for way, key, value in edits:
        target = copy
        for turn in way:
            inner = [item for item in target.values() if isinstance(item, dict)]
            target = inner[turn % len(inner)] if inner else target
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value
    return copy


@settings(max_examples=400)
@given(PARAMS, EDITS)
def test_edits_deep_down(before: dict[str, Any], edits: list[tuple[list[int], str, Any]]) -> None:
    after = edit(before, edits)
    assert to_text(apply(from_text(to_text(before)), diff(before, after))) == to_text(after)


def unbundled(delta: list[Any]) -> list[Any]:
    """What the gateway makes of bundles."""

    def leaves(tree: dict[str, Any], path: list[str]) -> list[tuple[list[str], Any]]:
        found = []
        for key, value in tree.items():
            here = [*path, key]
            inner = isinstance(value, dict) and value
            found += leaves(value, here) if inner else [(here, value)]
        return found

    ops: list[Any] = []
    for op in delta:
        if op["op"] == "sets":
            found = leaves(op["values"], [])
            ops += [{"op": "set", "path": path, "value": value} for path, value in found]
        elif op["op"] == "deletes":
            ops += [{"op": "delete", "path": path} for path, _ in leaves(op["keys"], [])]
        else:
            ops.append(op)
    return ops


@settings(max_examples=400)
@given(PARAMS, PARAMS | EDITS)
def test_a_bundled_delta_says_the_same(before: dict[str, Any], then: Any) -> None:
    after = then if isinstance(then, dict) else edit(before, then)
    delta = diff(before, after)
    bundles = bundled(delta)
    assert len(bundles) <= 2 + sum(op["op"] == "order" for op in delta)
    arrived = unbundled(json.loads(json.dumps(bundles)))
    assert sorted(map(to_text, arrived)) == sorted(map(to_text, delta))
    assert to_text(apply(from_text(to_text(before)), arrived)) == to_text(after)


@given(PARAMS)
def test_nothing_changed_is_no_delta(params: dict[str, Any]) -> None:
    assert diff(params, from_text(to_text(params))) == []


@given(PARAMS)
def test_plain_keeps_plain_json(params: dict[str, Any]) -> None:
    copy = plain(params)
    assert to_text(copy) == to_text(params)
    assert copy is not params


@pytest.mark.parametrize(
    ("before", "after", "delta"),
    [
        ({}, {"a": 1}, [{"op": "set", "path": ["a"], "value": 1}]),
        ({"a": 1}, {"a": 1.0}, [{"op": "set", "path": ["a"], "value": 1.0}]),
        ({"a": 1}, {"a": True}, [{"op": "set", "path": ["a"], "value": True}]),
        ({"a": 0.0}, {"a": -0.0}, [{"op": "set", "path": ["a"], "value": -0.0}]),
        ({"a": 1, "b": 2}, {"b": 2}, [{"op": "delete", "path": ["a"]}]),
        ({"a": {"x": {"y": 1}}}, {}, [{"op": "delete", "path": ["a"]}]),
        (
            {"a": 5},
            {"a": {"x": 1, "y": {"z": 2}}},
            [
                {"op": "set", "path": ["a", "x"], "value": 1},
                {"op": "set", "path": ["a", "y", "z"], "value": 2},
            ],
        ),
        ({}, {"a": {"x": {}}}, [{"op": "set", "path": ["a", "x"], "value": {}}]),
        ({"a": {"x": 1}}, {"a": {}}, [{"op": "delete", "path": ["a", "x"]}]),
        ({"a": [1, 2]}, {"a": [1, 3]}, [{"op": "set", "path": ["a"], "value": [1, 3]}]),
        ({"a": [1]}, {"a": [1.0]}, [{"op": "set", "path": ["a"], "value": [1.0]}]),
        (
            {"a": [{"x": 1, "y": 2}]},
            {"a": [{"y": 2, "x": 1}]},
            [{"op": "set", "path": ["a"], "value": [{"y": 2, "x": 1}]}],
        ),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, [{"op": "order", "path": [], "keys": ["b", "a"]}]),
        # A new key at the end needs no order; one before the others does.
        ({"a": 1}, {"a": 1, "b": 2}, [{"op": "set", "path": ["b"], "value": 2}]),
        (
            {"a": 1},
            {"b": 2, "a": 1},
            [
                {"op": "set", "path": ["b"], "value": 2},
                {"op": "order", "path": [], "keys": ["b", "a"]},
            ],
        ),
        (
            {"o": {"a": 1, "b": 2, "c": 3}},
            {"o": {"c": 3, "a": 1}},
            [
                {"op": "delete", "path": ["o", "b"]},
                {"op": "order", "path": ["o"], "keys": ["c", "a"]},
            ],
        ),
    ],
)
def test_diff(before: dict[str, Any], after: dict[str, Any], delta: list[dict[str, Any]]) -> None:
    assert json.dumps(diff(before, after)) == json.dumps(delta)


def test_apply_makes_what_is_missing_and_forgives_what_is_gone() -> None:
    params: dict[str, Any] = {"a": 1, "o": {"z": 0, "y": 1}}
    apply(
        params,
        [
            {"op": "set", "path": ["a", "b", "c"], "value": 2},
            {"op": "delete", "path": ["x", "y"]},
            {"op": "delete", "path": ["a", "b", "c", "d"]},
            {"op": "order", "path": ["o"], "keys": ["y", "gone"]},
            {"op": "order", "path": ["a", "b", "c"], "keys": ["y"]},
        ],
    )
    assert to_text(params) == '{"a":{"b":{"c":2}},"o":{"y":1,"z":0}}'


def cycle() -> dict[str, Any]:
    inner: list[Any] = []
    inner.append({"again": inner})
    return {"c": inner}


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return {"deep": value}


def unfolding() -> dict[str, Any]:
    """A few hundred bytes of objects that would be a text of 2**60 bytes."""
    value: list[Any] = [0]
    for _ in range(60):
        value = [value, value]
    return {"bomb": value}


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "lie"

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "params is an int; it must stay a dict"),
        (None, "params is a NoneType"),
        ({"a": {"b": {1, 2}}}, "params['a']['b'] is a set"),
        ({"a": [0, b"x"]}, "params['a'][1] is a bytes"),
        ({"a": float("nan")}, "params['a'] is nan"),
        ({"a": [float("-inf")]}, "params['a'][0] is -inf"),
        ({"a": {1: 2}}, "params['a'] has the key 1, an int; keys must be strings"),
        ({(1, 2): 1}, "params has the key (1, 2), a tuple"),
        ({None: 1}, "params has the key None"),
        ({"a": "x\ud800"}, r"params['a'] holds '\ud800'"),
        ({"a": {"\udfff": 1}}, "params['a'] has a key that holds"),
        ({"a": print}, "params['a'] is a builtin_function_or_method"),
        ({"a": 10**100_001}, "params['a'] is an integer of more than 100000 digits"),
        ({Text("x"): 1, Text("x"): 2}, "params has the key 'x' twice"),
        (cycle(), "params['c'][0]['again'] contains itself"),
        (nested(100_000), f"is nested deeper than {MAX_DEPTH} levels"),
        (unfolding(), "makes params larger than 1048576 bytes"),
        ({"s": 1, "big": "x" * 2_000_000}, "params['big'] makes params larger than 1048576 bytes"),
        ({"s": 1, "big": "é" * 1_000_000}, "params['big'] is the largest value of params that are"),
    ],
)
def test_what_is_no_json_is_named(value: Any, message: str) -> None:
    with pytest.raises(NotJson) as caught:
        check_json(value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


class Half(float):
    __slots__ = ()

    def __float__(self) -> float:
        return 99.0


def test_subclasses_become_what_they_extend() -> None:
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    point = Point(1, 2)
    value = {
        "text": Text("true"),
        "enum": Colour.RED,
        "level": Level.HIGH,
        "half": Half(0.5),
        "ordered": ordered,
        "count": collections.Counter("aab"),
        "tuple": (1, (2,)),
        "point": point,
    }
    copy = plain(value)
    assert to_text(copy) == (
        '{"text":"true","enum":"red","level":3,"half":0.5,"ordered":{"b":2,"a":1},'
        '"count":{"a":2,"b":1},"tuple":[1,[2]],"point":[1,2]}'
    )
    assert [type(item) for item in copy.values()] == [str, str, int, float, dict, dict, list, list]


def test_the_limits_themselves_are_allowed() -> None:
    deepest = nested(MAX_DEPTH - 1)
    assert plain(deepest) == deepest
    most = {"a": "x" * (1024 * 1024 - len('{"a":""}'))}
    assert plain(most) == most
    with pytest.raises(NotJson):
        plain({"a": most["a"] + "x"})


def test_one_object_in_two_places_is_no_cycle() -> None:
    shared = {"x": 1}
    assert plain({"a": shared, "b": [shared, shared]}) == {"a": shared, "b": [shared, shared]}


def test_too_long_an_integer_is_not_even_read() -> None:
    with pytest.raises(ValueError, match="more than 100000 digits"):
        from_text("1" * 200_000)
