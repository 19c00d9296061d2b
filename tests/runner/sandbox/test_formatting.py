"""`str.format` of ours against Python's own."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from xaas_runner.sandbox.formatting import format_text, format_text_map


class Point:
    """Something with attributes."""

    def __init__(self) -> None:
        self.x = 5
        self.items = [1, {"k": "v"}]


FIELDS = st.sampled_from(
    [
        "",
        "0",
        "1",
        "2",
        "7",
        "a",
        "0.x",
        "0.items[1][k]",
        "a[0]",
        "a[0].x",
        "0.nope",
        "-1",
        "0x",
        "0[",
        ".",
    ]
)
SPECS = st.sampled_from(
    ["", ":", ":>8", ":{}", ":{1}", ":{a}", ":{:{}}", ":,", ":q", "!r", "!s:>4", "!a", "!z", "!"]
)
PIECES = st.one_of(
    st.text(alphabet="ab {}!:[].0", max_size=4),
    st.builds(lambda field, spec: "{" + field + spec + "}", FIELDS, SPECS),
    st.sampled_from(["{{", "}}"]),
)
VALUES = st.one_of(st.integers(-5, 30), st.text(max_size=3), st.builds(Point), st.just([Point()]))


def outcome(call: Any) -> tuple[type, Any]:
    try:
        return str, call()
    except Exception as error:  # noqa: BLE001 - both raise the same
        return type(error), None


@given(
    st.lists(PIECES, max_size=5),
    st.lists(VALUES, max_size=3),
    st.dictionaries(st.just("a"), VALUES),
)
def test_format_is_python_s_own(pieces: list[str], args: list[Any], kwargs: dict[str, Any]) -> None:
    text = "".join(pieces)
    ours = outcome(lambda: format_text(text, args, kwargs, getattr))
    assert ours == outcome(lambda: text.format(*args, **kwargs))
    ours = outcome(lambda: format_text_map(text, kwargs, getattr))
    assert ours == outcome(lambda: text.format_map(kwargs))


@given(st.text(max_size=30), st.lists(VALUES, max_size=2))
def test_any_text(text: str, args: list[Any]) -> None:
    assert outcome(lambda: format_text(text, args, {}, getattr)) == outcome(
        lambda: text.format(*args)
    )


def test_attributes_are_read_by_the_guard_only() -> None:
    asked = []

    def read(obj: Any, name: str) -> Any:
        asked.append(name)
        return "read"

    assert format_text("{0.__class__} {a.b}", [1], {"a": 2}, read) == "read read"
    assert asked == ["__class__", "b"]
