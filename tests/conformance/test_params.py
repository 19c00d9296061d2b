"""Params: how edits travel along the pipeline, and what they may hold."""

from typing import Any

import pytest
from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.product import Product

START = {"x": 1, "deep": {"a": {"b": 1, "c": 2}, "list": [1, {"k": 1}]}, "gone": True}
EDITS = [
    pytest.param("pass", START, id="none"),
    pytest.param("params['x'] = 2", START | {"x": 2}, id="set"),
    pytest.param("params['y'] = None", START | {"y": None}, id="null"),
    pytest.param("params['x'] += 41", START | {"x": 42}, id="augmented"),
    pytest.param("params.update(y=1, z=[2])", START | {"y": 1, "z": [2]}, id="update"),
    pytest.param("params.setdefault('y', {})['z'] = 1", START | {"y": {"z": 1}}, id="setdefault"),
    pytest.param("del params['gone']", {k: START[k] for k in ("x", "deep")}, id="delete"),
    pytest.param("params.pop('gone')", {k: START[k] for k in ("x", "deep")}, id="pop"),
    pytest.param("params.clear()", {}, id="clear"),
    pytest.param("params = {'only': 1}", {"only": 1}, id="rebound"),
    pytest.param("params = {**params, 'y': 1}", START | {"y": 1}, id="rebound-copy"),
    pytest.param("params = {}\nparams['y'] = 1", {"y": 1}, id="rebound-and-edited"),
    pytest.param(
        "params['deep']['a']['b'] = 9",
        START | {"deep": {"a": {"b": 9, "c": 2}, "list": [1, {"k": 1}]}},
        id="deep-set",
    ),
    pytest.param(
        "del params['deep']['a']['b']",
        START | {"deep": {"a": {"c": 2}, "list": [1, {"k": 1}]}},
        id="deep-delete",
    ),
    pytest.param(
        "inner = params['deep']\ninner['list'].append(2)\ninner['list'][1]['k'] = 7",
        START | {"deep": {"a": {"b": 1, "c": 2}, "list": [1, {"k": 7}, 2]}},
        id="list-in-place",
    ),
    pytest.param("params['deep'] = 5", START | {"deep": 5}, id="object-to-value"),
    pytest.param("params['x'] = {'y': {'z': 1}}", START | {"x": {"y": {"z": 1}}}, id="to-object"),
    pytest.param("params['deep'] = {}", START | {"deep": {}}, id="emptied"),
    pytest.param("params[''] = params['a.b'] = 1", START | {"": 1, "a.b": 1}, id="odd-keys"),
    pytest.param("params['é/~0~1'] = '🚀\\n\\x00'", START | {"é/~0~1": "🚀\n\x00"}, id="unicode"),
    pytest.param(
        "async def edit():\n    params['x'] = 3\nawait edit()", START | {"x": 3}, id="in-a-function"
    ),
]


@pytest.mark.parametrize(("edit", "wanted"), EDITS)
def test_an_edit_is_carried(product: Product, edit: str, wanted: dict[str, Any]) -> None:
    """To the next step, to the next task, past a task that edits nothing, and into the answer."""
    gate = product.gate
    nodes = {
        "a": multi(Step(edit), Step(gate.note("step", "params"))),
        "b": node(after="a"),
        "c": node(gate.note("task", "params"), after="b"),
    }
    run = product.complete(nodes, START)
    assert gate.noted("step") == wanted
    assert gate.noted("task") == wanted
    assert run.task("c")["input"] == wanted
    assert run.task("a")["input"] == START
    assert run.get()["parameters"] == START


def carried(product: Product, edit: str, view: str, parameters: Any = None) -> Any:
    """What the next task sees, through an expression, after an edit."""
    nodes = {"a": node(edit), "b": node(product.gate.note("b", view), after="a")}
    product.complete(nodes, parameters)
    return product.gate.noted("b")


NUMBERS = [
    "1.0", "1", "-0.0", "0", "1e300", "0.1", "1e16", "5e-324", "1.7976931348623157e308",
    "2 ** 53 + 1", "2 ** 63", "2 ** 64 + 1", "-2 ** 200", "10 ** 400", "True", "None",
]  # fmt: skip


class TestExactly:
    def test_numbers(self, product: Product) -> None:
        edit = f"params = {{'n': [{', '.join(NUMBERS)}]}}"
        seen = carried(product, edit, "[repr(number) for number in params['n']]")
        assert seen == [repr(eval(number)) for number in NUMBERS]

    def test_what_is_equal_isnt_the_same(self, product: Product) -> None:
        """A change to a value that Python finds equal is a change, at every depth."""
        changes = [(1, "1.0"), (1, "True"), (0, "False"), (1.5, "'1.5'"), (0, "-0.0"), (1, "'1'")]
        before = [before for before, _ in changes]
        edit, view = "", []
        for number, (_, after) in enumerate(changes):
            for place in (
                f"params['{number}']",
                f"params['d']['{number}']",
                f"params['l'][{number}]",
            ):
                edit += f"{place} = {after}\n"
                view.append(f"repr({place})")
        keyed = {str(number): value for number, value in enumerate(before)}
        parameters = keyed | {"d": keyed, "l": before}
        wanted = [repr(eval(after)) for _, after in changes for _ in range(3)]
        assert carried(product, edit, f"[{', '.join(view)}]", parameters) == wanted

    def test_a_delta_shows_large_integers(self, product: Product) -> None:
        run = product.complete({"a": node("params['n'] = 2 ** 200"), "b": node(after="a")})
        assert run.task("b")["input"] == {"n": 2**200}

    def test_order_of_keys(self, product: Product) -> None:
        edit = "for key in ['z', 'a', 'm']:\n    params[key] = {'y': 1, 'b': 2, 'x': 3}\n"
        view = "[list(params), list(params['a'])]"
        assert carried(product, edit, view) == [["z", "a", "m"], ["y", "b", "x"]]

    def test_a_new_order_of_keys(self, product: Product) -> None:
        """An object bound anew, or a key deleted and set again: the order is the script's."""
        edit = (
            "params['d'] = {'b': 2, 'a': 1}\nfirst = params['e'].pop('a')\nparams['e']['a'] = first"
        )
        parameters = {"d": {"a": 1, "b": 2}, "e": {"a": 1, "b": 2}}
        view = "[list(params['d']), list(params['e'])]"
        assert carried(product, edit, view, parameters) == [["b", "a"], ["b", "a"]]

    def test_texts(self, product: Product) -> None:
        text = "'\\t\\\\ \"quoted\" </script> \\u2028 \\x7f é 漢字 🚀 ' * 3"
        assert carried(product, f"params['t'] = {text}", "params['t']") == eval(text)

    def test_64_bit_integers_in_parameters(self, product: Product) -> None:
        parameters = {"top": 2**63 - 1, "low": -(2**63), "deep": [{"x": 2**53 + 1}]}
        assert carried(product, "pass", "params", parameters) == parameters

    def test_parameters_of_any_shape(self, product: Product) -> None:
        parameters = {
            "": 0, "a.b": {"c/d": [None, True, False, 0.5, "é", [], {}, [[{}]]]}, "$ref": "#",
            "constructor": 1, "__proto__": {"x": 1}, "é 🚀": "\u2028", "n": 1e-7, "kind": "List",
        }  # fmt: skip
        run = product.complete({"a": node(product.gate.note("a", "params"))}, parameters)
        assert product.gate.noted("a") == parameters
        assert run.get()["parameters"] == parameters


NOT_JSON = [
    ("params['place'] = {1, 2}", "set"),
    ("params['place'] = lambda: 1", "function"),
    ("params['place'] = float('nan')", "nan"),
    ("params['place'] = float('inf')", "infinity"),
    ("params['place'] = -float('inf')", "minus-infinity"),
    ("params['place'] = b'bytes'", "bytes"),
    ("params['place'] = 1j", "complex"),
    ("params['place'] = {1: 2}", "key-not-a-string"),
    ("params['place'] = {None: 2}", "key-null"),
    ("params['place'] = [[], {'x': {1, 2}}]", "deep-in-a-list"),
    ("params['place'] = params", "cycle"),
    ("params['place'] = []\nparams['place'].append(params['place'])", "list-cycle"),
    ("import datetime\nparams['place'] = datetime.datetime(2026, 1, 1)", "datetime"),
    ("import decimal\nparams['place'] = decimal.Decimal('1.5')", "decimal"),
    ("class Thing:\n    pass\nparams['place'] = Thing()", "object"),
    ("params['place'] = (n for n in [1])", "generator"),
    ("params['place'] = params.keys()", "view"),
    ("params['place'] = logger", "logger"),
]


class TestNotJson:
    @pytest.mark.parametrize(("edit", "what"), NOT_JSON, ids=[what for _, what in NOT_JSON])
    def test_fails_the_step_and_names_the_key(self, product: Product, edit: str, what: str) -> None:
        gate = product.gate
        steps = (
            Step("params['good'] = 1", gate.note("undo 0", "params")),
            Step(f"params['also'] = 1\n{edit}", gate.note("undo 1", "params")),
        )
        run = product.run({"a": multi(*steps)})
        run.wait("cancelled")
        error = run.task("a")["error"]
        assert "place" in error["message"], what
        assert error["step"] == 1
        # The edits of a step whose params can't be JSON don't count; those of the step before do.
        assert gate.noted("undo 1") == {"good": 1}

    @pytest.mark.parametrize("value", ["5", "None", "[]", "'text'"])
    def test_params_must_be_a_dict(self, product: Product, value: str) -> None:
        run = product.run({"a": node(f"params = {value}")})
        run.wait("cancelled")
        assert "params" in run.task("a")["error"]["message"]

    def test_endless_depth(self, product: Product) -> None:
        script = "deep = []\nfor n in range(100000):\n    deep = [deep]\nparams['place'] = deep\n"
        run = product.run({"a": node(script)})
        run.wait("cancelled")
        assert run.task("a")["error"]["message"]

    def test_a_lone_surrogate(self, product: Product) -> None:
        """Not UTF-8, so not JSON here: the step fails, nothing else does."""
        run = product.run({"a": node("params['place'] = '\\ud800'")})
        run.wait("cancelled")
        assert "place" in run.task("a")["error"]["message"]


class TestLimit:
    def test_an_edit_beyond_a_mebibyte(self, product: Product) -> None:
        run = product.run({"a": node("params['big'] = 'x' * (1 << 20)")})
        run.wait("cancelled")
        assert "1 MiB" in run.task("a")["error"]["message"] or "1048576" in str(
            run.task("a")["error"]
        )

    def test_almost_a_mebibyte(self, product: Product) -> None:
        nodes = {
            "a": node("params['big'] = 'x' * ((1 << 20) - 100)"),
            "b": node(product.gate.note("b", "len(params['big'])"), after="a"),
        }
        product.complete(nodes)
        assert product.gate.noted("b") == (1 << 20) - 100

    def test_it_is_counted_in_utf8(self, product: Product) -> None:
        """700,000 letters of two bytes each are too many."""
        run = product.run({"a": node("params['big'] = 'é' * 700000")})
        run.wait("cancelled")
        assert run.task("a")["status"] == "failed"
        product.complete({"a": node("params['big'] = 'é' * 500000")})

    def test_a_merge_beyond(self, product: Product) -> None:
        gate = product.gate
        nodes = {
            "a": node("params['a'] = 'x' * 600000", undo=gate.note("undo a")),
            "b": node("params['b'] = 'x' * 600000"),
            "join": node(gate.note("join"), undo=gate.note("undo join"), after="a b"),
        }
        run = product.run(nodes)
        run.wait("cancelled")
        join = run.task("join")
        assert join["status"] == "failed"
        assert join["error"]["message"]
        assert gate.trace == ["undo a"]
        assert "join do running" not in run.briefs()
