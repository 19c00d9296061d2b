import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xaas_cli import yaml_files
from xaas_cli.failures import Misuse
from xaas_cli.printing import as_yaml


def value(text: str) -> object:
    [document] = yaml_files.read(text, "f.yaml")
    return document.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:11:12:13:14:15", "10:11:12:13:14:15"),  # a MAC address, not a number in base 60
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("010", "010"),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("1.0", 1.0),
        (".5", 0.5),
        ("1.2.3", "1.2.3"),
        (".nan", ".nan"),
        ("~", None),
        ("null", None),
        ("true", True),
        ("'true'", "true"),
        ('"1"', "1"),
        ("{a: [1, {b: x}]}", {"a": [1, {"b": "x"}]}),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_scalars_are_what_json_has(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_merge_keys_are_resolved_and_give_way() -> None:
    text = "base: &base {a: 1, b: 2}\nmade: {<<: *base, b: 3}\n"
    assert value(text) == {"base": {"a": 1, "b": 2}, "made": {"a": 1, "b": 3}}


def test_empty_documents_are_left_out() -> None:
    assert [
        d.value for d in yaml_files.read("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n", "f")
    ] == [
        {"a": 1},
        {"b": 2},
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: the key 'a' occurs twice"),
        ("a:\n  1: x", "f.yaml:2: a: the key '1' isn't text; write it in quotes"),
        ("a: [", "f.yaml:1:"),
        ("a: b: c", "f.yaml:1: mapping values are not allowed here"),
        ("a: !!binary aGk=", "f.yaml:1: a: 'aGk=' is nothing that JSON has"),
        ("a: !!python/object:os.system {}", "f.yaml:1: a: is tagged tag:yaml.org,2002:python/obj"),
        ("a: !!set {x}", "f.yaml:1: a: is tagged tag:yaml.org,2002:set"),
        ("a: !!int abc", "f.yaml:1: a: 'abc' is nothing that JSON has"),
        ("a: 1e999", "f.yaml:1: a: '1e999' is nothing that JSON has"),
        ("a: &a [*a]", "f.yaml: nested too deep, or an alias contains itself"),
        ("\tx: 1", "f.yaml:1:"),
    ],
)
def test_what_json_does_not_have_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(Misuse) as caught:
        value(text)
    assert str(caught.value).startswith(said)


def test_lines_are_told_also_inside_a_block_of_text() -> None:
    text = "name: x\nsteps:\n  - doScript: |\n      a = 1\n      b = 2\n  - {doScript: c}\n"
    [document] = yaml_files.read(text, "f")
    assert document.line_of(("steps", 0, "doScript")) == 4
    assert document.line_of(("steps", 1, "doScript")) == 6
    assert document.line_of(("steps", 0, "undoScript")) == 3  # the nearest that is there
    assert document.line_of(("nowhere",)) == 1


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("", ()),
        ("name", ("name",)),
        ("steps[0].doScript", ("steps", 0, "doScript")),
        ("parameters['a.b'][2]", ("parameters", "a.b", 2)),
    ],
)
def test_places_are_paths(place: str, path: yaml_files.Path) -> None:
    assert yaml_files.path_of(place) == path


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
@example({"0E0": "1e3", "0o17": ".5", "1.": "+7"})
def test_what_is_printed_as_yaml_reads_back(original: object) -> None:
    [document] = yaml_files.read(as_yaml({"value": original}), "f")
    assert document.value == {"value": original}
