"""What a script can use: the names of its space, one by one."""

import json
from typing import Any

import pytest
from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.product import Product


def value(product: Product, script: str, expression: str, parameters: Any = None) -> Any:
    """What an expression is after a script, told by the script itself."""
    product.complete(
        {"a": node(script + "\n" + product.gate.note("value", expression))}, parameters
    )
    return product.gate.noted("value")


def failure(product: Product, script: str, **further: Any) -> dict[str, Any]:
    """The error of a script that must fail."""
    run = product.run({"a": node(script, **further)})
    run.wait("cancelled")
    error: dict[str, Any] = run.task("a")["error"]
    return error


class TestTheBody:
    def test_top_level_await(self, product: Product) -> None:
        script = "x = await asyncio.sleep(0, result=7)"
        assert value(product, script, "x") == 7

    def test_top_level_return(self, product: Product) -> None:
        """Ends the step, whatever the value; the next step runs, with the edits so far."""
        gate = product.gate
        steps = (
            Step("params['a'] = 1\nif params:\n    return 'anything'\nparams['b'] = 1"),
            Step(gate.note("next", "params")),
        )
        product.complete({"a": multi(*steps)})
        assert gate.noted("next") == {"a": 1}

    @pytest.mark.parametrize(
        ("script", "expression", "wanted"),
        [
            ("def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)", "f(10)", 55),
            ("async def f():\n    return 5\nx = await f()", "x", 5),
            ("async def g():\n    yield 1\n    yield 2\nx = [n async for n in g()]", "x", [1, 2]),
            ("class P:\n    def __init__(self, n):\n        self.n = n\np = P(3)", "p.n", 3),
            ("x = 0\nfor n in range(5):\n    x += n", "x", 10),
            ("x = {'a': [0]}\nx['a'][0] += 1\nx['b'] = 2", "x", {"a": [1], "b": 2}),
            ("a, *b = [1, 2, 3]\n(c := 4)", "[a, b, c]", [1, [2, 3], 4]),
            ("x: int = 1\ndef f(n: int) -> int:\n    return n + x", "f(1)", 2),
            ("try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    x = str(e)", "x", "division by zero"),
            ("x = []\ntry:\n    x.append(1)\nfinally:\n    x.append(2)", "x", [1, 2]),
            ("x = f'{3.14159:.2f} {\"q\"!r} {1 + 1}'", "x", "3.14 'q' 2"),
            ("x = [a for b in ([1], [2]) for a in b if a]", "x", [1, 2]),
            ("x = sorted({'b': 1, 'a': 2}.items())", "x", [["a", 2], ["b", 1]]),
            ("x = list(zip('ab', range(2)))[::-1]", "x", [["b", 1], ["a", 0]]),
            ("x = max(map(lambda n: n * 2, [1, 2]), key=lambda n: -n)", "x", 2),
            (
                ("match params:\n    case {'k': [first, *_]}:\n        x = first\n"
                "    case _:\n        x = None"),
                "x",
                1,
            ),
            ("x = '-'.join(['a', 'b']).upper().split('-')", "x", ["A", "B"]),
            ("def f(*a, **k):\n    return [list(a), k]\nx = f(1, *[2], b=3, **{'c': 4})", "x",
             [[1, 2], {"b": 3, "c": 4}]),
            ("global_x = 1\ndef f():\n    global global_x\n    global_x = 2\nf()", "global_x", 2),
        ],
    )  # fmt: skip
    def test_the_language(
        self, product: Product, script: str, expression: str, wanted: Any
    ) -> None:
        assert value(product, script, expression, {"k": [1, 2]}) == wanted

    def test_steps_share_params_alone(self, product: Product) -> None:
        steps = Step("x = 1\nparams['x'] = 1"), Step("params['y'] = x")
        run = product.run({"a": multi(*steps)})
        run.wait("cancelled")
        assert run.task("a")["error"]["type"] == "NameError"

    def test_an_empty_script(self, product: Product) -> None:
        product.complete({"a": node(""), "b": node("# nothing\n")})


class TestErrors:
    def test_where_it_happened(self, product: Product) -> None:
        steps = Step("pass"), Step("x = 1\n\nraise ValueError('out of cheese')\n")
        run = product.run({"a": multi(*steps)})
        run.wait("cancelled")
        for error in (run.task("a")["error"], run.task("a")["attempts"][0]["error"]):
            assert error["type"] == "ValueError"
            assert "out of cheese" in error["message"]
            assert (error["step"], error["line"]) == (1, 3)
            assert "out of cheese" in str(error["traceback"])

    def test_the_line_of_the_users_script(self, product: Product) -> None:
        script = "def f(x):\n    return 1 / x\n\n\nf(0)\n"
        error = failure(product, script)
        assert error["type"] == "ZeroDivisionError"
        assert error["line"] in {2, 5}
        assert "line 2" in str(error["traceback"])
        assert "line 5" in str(error["traceback"])

    def test_error(self, product: Product) -> None:
        error = failure(product, "raise Error(503, 'no capacity')")
        assert error["type"] == "Error"
        assert "503" in error["message"]
        assert "no capacity" in error["message"]

    def test_error_can_be_caught(self, product: Product) -> None:
        script = (
            "try:\n    raise Error(404, 'gone')\nexcept Error as e:\n    x = [e.code, e.reason]"
        )
        assert value(product, script, "x") == [404, "gone"]

    def test_a_script_that_wants_to_exit(self, product: Product) -> None:
        """Ending the process isn't succeeding."""
        for script in ("raise SystemExit(0)", "exit(0)", "quit()"):
            body = {"category": "c", "name": product.name(), "steps": [{"doScript": script}]}
            if product.rest.send("POST", "/pipelinetasks", json=body).status_code == 201:
                assert failure(product, script)

    def test_out_of_memory(self, product: Product) -> None:
        resources = {"limits": {"memory": "128Mi"}}
        error = failure(product, "x = 'x' * 10 ** 10", resources=resources)
        assert error["message"]

    def test_a_message_of_any_size(self, product: Product) -> None:
        error = failure(product, "raise ValueError('é' * 5_000_000)")
        assert error["type"] == "ValueError"

    def test_endless_recursion(self, product: Product) -> None:
        assert failure(product, "def f():\n    return f()\nf()")["type"] == "RecursionError"


class TestContext:
    def test_what_it_says(self, product: Product) -> None:
        gate = product.gate
        fields = ["run_id", "pipeline", "ref", "task", "process_type", "step", "attempt"]
        told = "{" + ", ".join(f"'{name}': context.{name}" for name in fields) + "}"
        steps = (
            Step("pass", gate.note("undo 0", told)),
            Step(gate.note("do 1", told), gate.note("undo 1", told)),
        )
        run = product.run({"an é/ref": multi(*steps), "b": node("1 / 0", after=("an é/ref",))})
        run.wait("cancelled")
        common = {
            "run_id": run.id, "pipeline": run.planned.pipeline, "ref": "an é/ref",
            "task": run.planned.tasks["an é/ref"], "attempt": 1,
        }  # fmt: skip
        assert gate.noted("do 1") == common | {"process_type": "do", "step": 1}
        assert gate.noted("undo 1") == common | {"process_type": "undo", "step": 1}
        assert gate.noted("undo 0") == common | {"process_type": "undo", "step": 0}

    def test_namespace(self, product: Product) -> None:
        assert isinstance(value(product, "", "context.namespace"), str)

    @pytest.mark.parametrize("edit", ["context.ref = 'x'", "del context.ref", "context.new = 1"])
    def test_read_only(self, product: Product, edit: str) -> None:
        body = {"category": "c", "name": product.name(), "steps": [{"doScript": edit}]}
        if product.rest.send("POST", "/pipelinetasks", json=body).status_code == 201:
            assert failure(product, edit)["message"]


class TestAsyncio:
    @pytest.mark.parametrize(
        ("script", "expression", "wanted"),
        [
            (
                (
                    "async def f(n):\n    await asyncio.sleep(0.001)\n    return n\n"
                    "x = await asyncio.gather(f(1), f(2))"
                ),
                "list(x)",
                [1, 2],
            ),
            (
                (
                    "try:\n    await asyncio.wait_for(asyncio.sleep(60), 0.01)\n"
                    "except TimeoutError:\n    x = 'timeout'"
                ),
                "x",
                "timeout",
            ),
            (
                (
                    "try:\n    async with asyncio.timeout(0.01):\n        await asyncio.sleep(60)\n"
                    "except TimeoutError:\n    x = 'timeout'"
                ),
                "x",
                "timeout",
            ),
        ],
    )
    def test_it(self, product: Product, script: str, expression: str, wanted: Any) -> None:
        assert value(product, script, expression) == wanted

    def test_gather_is_concurrent(self, product: Product) -> None:
        gate = product.gate
        lines = [gate.hold(name).replace("\n", "\n    ") for name in ("one", "two")]
        script = f"async def one():\n    {lines[0]}\nasync def two():\n    {lines[1]}\n"
        script += "await asyncio.gather(one(), two())\n"
        run = product.run({"a": node(script)})
        gate.wait("one")
        gate.wait("two")
        gate.release("one", "two")
        run.wait("complete")


MODULES = {
    "json": "json.loads('[1]')", "re": "re.sub('a', 'b', 'a')", "math": "math.sqrt(4)",
    "datetime": "datetime.datetime(2026, 1, 2).isoformat()", "time": "time.time() > 0",
    "uuid": "len(str(uuid.uuid4()))", "random": "0 <= random.random() < 1",
    "base64": "base64.b64encode(b'x').decode()", "copy": "copy.deepcopy({'a': [1]})",
    "ipaddress": "str(ipaddress.ip_network('10.0.0.0/30')[1])",
    "urllib.parse": "urllib.parse.quote('a b')",
    "hashlib": "hashlib.sha256(b'x').hexdigest()[:4]",
    "hmac": "len(hmac.new(b'k', b'x', 'sha256').hexdigest())",
    "itertools": "list(itertools.chain([1], [2]))", "functools": "functools.reduce(max, [1, 2])",
    "collections": "dict(collections.Counter('aab'))", "statistics": "statistics.mean([1, 3])",
    "string": "string.digits", "textwrap": "textwrap.dedent('  x')",
    "decimal": "str(decimal.Decimal('1.10'))", "fractions": "str(fractions.Fraction(2, 4))",
    "enum": "enum.Enum('E', 'A').A.name", "dataclasses": "callable(dataclasses.dataclass)",
    "typing": "typing.cast(int, 1)",
}  # fmt: skip


class TestModules:
    def test_import(self, product: Product) -> None:
        lines = [f"import {module}\ntold[{module!r}] = {use}\n" for module, use in MODULES.items()]
        told = value(product, "told = {}\n" + "".join(lines), "told")
        assert told == {module: expected(module) for module in MODULES}

    def test_from_import(self, product: Product) -> None:
        script = "from datetime import datetime, timedelta\nfrom urllib.parse import urlsplit as u"
        expression = "[(datetime(2026, 1, 2) + timedelta(days=1)).day, u('http://h/p').path]"
        assert value(product, script, expression) == [3, "/p"]

    def test_dates_are_formatted(self, product: Product) -> None:
        script = "import datetime\nd = datetime.datetime.strptime('2026-01-02', '%Y-%m-%d')"
        assert value(product, script, "[d.strftime('%d.%m.%Y'), f'{d:%j}']") == [
            "02.01.2026",
            "002",
        ]

    @pytest.mark.parametrize(
        "module", ["os", "sys", "subprocess", "socket", "builtins", "importlib", "ctypes", "pickle"]
    )
    def test_no_other(self, product: Product, module: str) -> None:
        script = {"doScript": f"pass\nimport {module}"}
        body = {"category": "c", "name": product.name(), "steps": [script]}
        refusal = product.rest.refuse("POST", "/pipelinetasks", 422, json=body)
        assert module in json.dumps(refusal)

    def test_allowed_imports(self, product: Product) -> None:
        script = "import csv\nparams['rows'] = list(csv.reader(['a,b']))"
        body = {"category": "c", "name": product.name(), "steps": [{"doScript": script}]}
        product.rest.refuse("POST", "/pipelinetasks", 422, json=body)
        run = product.complete({"a": node(script, allowedImports=["csv"]), "b": node(after="a")})
        assert run.task("b")["input"] == {"rows": [["a", "b"]]}


def expected(module: str) -> Any:
    """What the same expression is outside of the sandbox."""
    space: dict[str, Any] = {}
    exec(f"import {module}", space)
    return eval(MODULES[module], space)


class TestCallout:
    def test_get(self, product: Product) -> None:
        script = f"r = await callout(url='{product.gate.echo()}')"
        told = value(product, script, "[r.code, r.json()['method'], r.body]")
        assert told[:2] == [201, "GET"]
        assert json.loads(told[2])["method"] == "GET"

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_methods_bodies_headers(self, product: Product, method: str) -> None:
        script = (
            f"r = await callout(url='{product.gate.echo()}', method='{method}', "
            "body='häß', headers={'X-Mine': 'yes', 'Content-Type': 'text/plain; charset=utf-8'})"
        )
        told = value(product, script, "r.json()")
        assert (told["method"], told["body"]) == (method, "häß")
        assert told["headers"]["x-mine"] == "yes"
        assert told["headers"]["content-type"] == "text/plain; charset=utf-8"

    def test_nobody_there(self, product: Product) -> None:
        error = failure(product, "await callout(url='http://127.0.0.1:1/')")
        assert error["message"]

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "nonsense", "", "ftp://127.0.0.1/"])
    def test_http_only(self, product: Product, url: str) -> None:
        assert failure(product, f"await callout(url={url!r})")["message"]

    def test_in_parallel(self, product: Product) -> None:
        script = (
            f"async def one(n):\n    return (await callout(url='{product.gate.echo()}')).code\n"
            "x = await asyncio.gather(*[one(n) for n in range(5)])"
        )
        assert value(product, script, "list(x)") == [201] * 5
