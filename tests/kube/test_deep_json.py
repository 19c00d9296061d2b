"""JSON nested deeper than Python reads."""

import json

import pytest

from xaas_kube.deep_json import DEEPEST, loads

DEEP = 9000
ODD = r'"[{\"]}\\"'


def nested(depth: int, inner: str) -> str:
    return '{"a":[' * (depth // 2) + inner + "]}" * (depth // 2)


def test_what_python_reads_is_left_as_it_is() -> None:
    text = nested(DEEPEST + 10, ODD)
    assert loads(text.encode()) == json.loads(text)


def test_what_lies_too_deep_is_null_and_all_beside_it_stays() -> None:
    text = f'{{"deep": {nested(DEEP, ODD)}, "é": [{ODD}, 1.5, {nested(DEEP, "1")}], "z": {{}}}}'
    with pytest.raises(RecursionError):
        json.loads(text)
    found = loads(text.encode())
    assert list(found) == ["deep", "é", "z"]
    assert found["é"][:2] == [json.loads(ODD), 1.5]
    depth, value = 1, found["deep"]
    while value is not None:
        depth, value = depth + 1, value["a"] if isinstance(value, dict) else value[0]
    assert depth == DEEPEST


@pytest.mark.parametrize("text", ["[" * DEEP, "[" * DEEP + "}" * DEEP + "x", "{"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Extra"):
        loads(text.encode())
