"""Free-form JSON that the API server would change."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_kube import definition_objects, exact

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def as_the_server_has_it(value: Any) -> Any:
    """Keys sorted, and integral floats as integers."""
    if isinstance(value, dict):
        return {key: as_the_server_has_it(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [as_the_server_has_it(each) for each in value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**63
    return int(value) if whole else value


@given(value=JSON)
def test_it_comes_back_as_it_was_written(value: Any) -> None:
    text = exact.text_if_changed(value)
    assert repr(exact.exactly(as_the_server_has_it(value), text)) == repr(value)


@pytest.mark.parametrize("value", [{"a": 1, "b": {"c": [1.5]}}, [], None, "x"])
def test_nothing_is_kept_of_what_comes_back_anyway(value: Any) -> None:
    assert exact.text_if_changed(value) is None


def test_what_somebody_changed_since_then_counts() -> None:
    text = exact.text_if_changed({"b": 1.0, "a": 2})
    assert exact.exactly({"a": 3, "b": 1}, text) == {"a": 3, "b": 1}
    assert exact.exactly({"a": 1}, "no JSON") == {"a": 1}
    assert exact.exactly({"a": 1}, "[" * 2000) == {"a": 1}
    for odd in ("[1]", "null", '{"limits": [1]}', '{"a": "b"}'):
        assert exact.exactly({"a": 1}, odd, definition_objects._storable) == {"a": 1}


def test_what_is_too_long_is_left_to_the_server() -> None:
    assert exact.text_if_changed({"b": "x" * exact.MOST, "a": 1}) is None
    assert json.loads(exact.text_if_changed({"b": "x", "a": 1}) or "") == {"b": "x", "a": 1}
