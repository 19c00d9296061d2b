"""What is refused when it is written, each with an error that names the place."""

import json
import re
from typing import Any

import pytest
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import names, names_line


def entry(ref: str, *after: str, **further: Any) -> dict[str, Any]:
    return {"ref": ref, "name": "T", "dependsOn": list(after), **further}


def refuse(product: Product, kind: str, body: Any) -> dict[str, Any]:
    """Refused by POST, and nothing was made."""
    refusal = product.rest.refuse("POST", f"/{kind}", 422, json=body)
    if isinstance(body, dict) and isinstance(body.get("name"), str) and body["name"]:
        assert kind == "pipelineruns" or product.rest.gone(kind, body["name"])
    return refusal


def refuse_pipeline(product: Product, *entries: Any, **further: Any) -> dict[str, Any]:
    body = {"category": "c", "name": product.name("p"), "tasks": list(entries), **further}
    return refuse(product, "pipelines", body)


def refuse_task(product: Product, *steps: Any, **further: Any) -> dict[str, Any]:
    body = {"category": "c", "name": product.name("t"), "steps": list(steps), **further}
    return refuse(product, "pipelinetasks", body)


class TestGraph:
    def test_an_unknown_ref(self, product: Product) -> None:
        refusal = refuse_pipeline(product, entry("alpha"), entry("beta", "alpha", "gamma"))
        names(refusal, "beta", "gamma")

    def test_a_repeated_ref(self, product: Product) -> None:
        names(refuse_pipeline(product, entry("alpha"), entry("beta"), entry("alpha")), "alpha")

    def test_a_task_that_depends_on_itself(self, product: Product) -> None:
        names(refuse_pipeline(product, entry("alpha", "alpha")), "alpha")

    @pytest.mark.parametrize(
        ("edges", "cycle"),
        [
            ({"aa": ["bb"], "bb": ["aa"]}, ["aa", "bb"]),
            ({"xx": [], "aa": ["cc", "xx"], "bb": ["aa"], "cc": ["bb"]}, ["aa", "bb", "cc"]),
            (
                {"aa": [], "bb": ["aa", "ee"], "cc": ["bb"], "dd": ["cc"], "ee": ["dd"]},
                ["bb", "cc", "dd", "ee"],
            ),
        ],
    )
    def test_a_cycle_is_printed(
        self, product: Product, edges: dict[str, list[str]], cycle: list[str]
    ) -> None:
        refusal = refuse_pipeline(product, *(entry(ref, *after) for ref, after in edges.items()))
        text = json.dumps(refusal, ensure_ascii=False)
        rounds = []
        for way in (cycle, cycle[::-1]):
            rounds += [way[start:] + way[:start] for start in range(len(way))]
        printed = any(re.search(r"\W{1,8}".join(turn), text) for turn in rounds)
        assert printed, f"the cycle {cycle} isn't printed: {text}"

    def test_no_tasks(self, product: Product) -> None:
        names(refuse_pipeline(product), "tasks")

    def test_put_refuses_as_post_does(self, product: Product) -> None:
        body = {"category": "c", "name": product.name("p"), "tasks": [entry("alpha")]}
        product.define("pipelines", body)
        cyclic = body | {"tasks": [entry("alpha", "beta"), entry("beta", "alpha")]}
        refusal = product.rest.refuse("PUT", f"/pipelines/{body['name']}", 422, json=cyclic)
        names(refusal, "alpha", "beta")


SCRIPTS = [
    ("a = 1\nb = = 2\n", 2),
    ("if True:\npass\n", 2),
    ("x = 1\nfor i in range(3)\n    pass", 2),
    ("pass\nimport os\n", 2),
    ("pass\npass\nfrom subprocess import run\n", 3),
    ("pass\nx = params.__class__\n", 2),
    ("x = ().__class__.__bases__\n", 1),
    ("pass\n\n\n__builtins__ = None\n", 4),
]


@pytest.mark.parametrize(("script", "line"), SCRIPTS)
class TestScripts:
    def test_do_script(self, product: Product, script: str, line: int) -> None:
        refusal = refuse_task(product, {"doScript": "pass"}, {"doScript": script})
        names(refusal, "steps", "1", "doScript")
        names_line(refusal, line)

    def test_undo_script(self, product: Product, script: str, line: int) -> None:
        refusal = refuse_task(product, {"doScript": "pass", "undoScript": script})
        names(refusal, "steps", "0", "undoScript")
        names_line(refusal, line)


@pytest.mark.parametrize(
    "condition",
    [
        "1 +",
        "params['x'",
        "if True:\nreturn 1",
        "params.__class__",
        "import os\nreturn os.name",
        "x = 1",
        "await asyncio.sleep(0)",
        "await callout(url='http://127.0.0.1')",
    ],
)
def test_a_condition_is_checked(product: Product, condition: str) -> None:
    refusal = refuse_pipeline(product, entry("alpha"), entry("beta", "alpha", condition=condition))
    names(refusal, "tasks", "1", "condition")


class TestSize:
    def test_one_mebibyte_of_definitions_in_a_pipeline(self, product: Product) -> None:
        """Four tasks of 300 KB each: every one may exist, all in one pipeline may not."""
        script = "pass\n# " + "x" * 300_000
        tasks = [product.task(script) for _ in range(4)]
        entries = [
            {"ref": str(number), "name": task, "dependsOn": []} for number, task in enumerate(tasks)
        ]
        body = {"category": "c", "name": product.name("p"), "tasks": entries}
        answer = product.rest.send("POST", "/pipelines", json=body)
        if answer.status_code == 201:
            run = {"name": body["name"], "parameters": {}}
            answer = product.rest.send("POST", "/pipelineruns", json=run)
        assert answer.status_code == 422, answer.text
        assert re.search(r"1 ?MiB|1,?048,?576|too large", answer.text), answer.text

    def test_below_one_mebibyte_is_fine(self, product: Product) -> None:
        script = "pass\n# " + "x" * 300_000
        product.complete({"1": node(script), "2": node(script), "3": node(script)})


REQUIRED = [
    ("pipelinetasks", {"category": "c", "steps": []}, "name"),
    ("pipelinetasks", {"name": "n", "steps": []}, "category"),
    ("pipelinetasks", {"category": "c", "name": "n"}, "steps"),
    ("pipelinetasks", {"category": "c", "name": "n", "steps": [{}]}, "doScript"),
    ("pipelines", {"category": "c", "tasks": [entry("a")]}, "name"),
    ("pipelines", {"name": "n", "tasks": [entry("a")]}, "category"),
    ("pipelines", {"category": "c", "name": "n"}, "tasks"),
    ("pipelines", {"category": "c", "name": "n", "tasks": [{"ref": "a"}]}, "name"),
    ("pipelines", {"category": "c", "name": "n", "tasks": [{"name": "a"}]}, "ref"),
    ("pipelineruns", {"parameters": {}}, "name"),
    ("pipelineruns", {"name": "n"}, "parameters"),
]


@pytest.mark.parametrize(("kind", "body", "missing"), REQUIRED)
def test_a_required_field(product: Product, kind: str, body: Any, missing: str) -> None:
    if "name" in body:
        body = body | {"name": product.name()}
    names(refuse(product, kind, body), missing)


STEP = {"doScript": "pass"}
UNKNOWN = [
    ("pipelinetasks", {"category": "c", "name": "n", "steps": [], "colour": 1}),
    ("pipelinetasks", {"category": "c", "name": "n", "steps": [STEP | {"colour": 1}]}),
    ("pipelinetasks", {"category": "c", "name": "n", "steps": [], "retries": {"colour": 1}}),
    ("pipelines", {"category": "c", "name": "n", "tasks": [entry("a")], "colour": 1}),
    ("pipelines", {"category": "c", "name": "n", "tasks": [entry("a", colour=1)]}),
    ("pipelineruns", {"name": "n", "parameters": {}, "colour": 1}),
]


@pytest.mark.parametrize(("kind", "body"), UNKNOWN)
def test_an_unknown_field(product: Product, kind: str, body: Any) -> None:
    names(refuse(product, kind, body | {"name": product.name()}), "colour")


SPELLED_OTHERWISE = [
    ("pipelinetasks", {"category": "c", "steps": [{"do_script": "pass"}]}, "do_script"),
    ("pipelinetasks", {"category": "c", "steps": [], "start_timeout": "1m"}, "start_timeout"),
    ("pipelinetasks", {"category": "c", "steps": [], "retries": {"max_delay": "1s"}}, "max_delay"),
    ("pipelines", {"category": "c", "tasks": [{"ref": "a", "name": "T", "depends_on": []}]}, "_on"),
    ("pipelineruns", {"parameters": {}, "auto_rollback": True}, "auto_rollback"),
]


@pytest.mark.parametrize(("kind", "body", "field"), SPELLED_OTHERWISE)
def test_a_fields_words_are_fixed(product: Product, kind: str, body: Any, field: str) -> None:
    names(refuse(product, kind, body | {"name": product.name()}), field)


RESOURCES = [
    ({"limit": {"memory": "1Gi"}}, "limit"),
    ({"limits": {"memroy": "1Gi"}}, "memroy"),
    ({"limits": {"ephemeral-storage": "lots"}}, "ephemeral-storage"),
    ({"requests": {"cpu": [1]}}, "cpu"),
]


@pytest.mark.parametrize(("resources", "place"), RESOURCES)
def test_resources_are_as_in_kubernetes(product: Product, resources: Any, place: str) -> None:
    names(refuse_task(product, {"doScript": "pass"}, resources=resources), "resources", place)


def test_an_unknown_field_of_a_patch(product: Product) -> None:
    run = product.run({"a": node()}, run=False)
    refusal = product.rest.refuse(
        "PATCH", f"/pipelineruns/{run.id}", 422, json={"operation": "run", "colour": 1}
    )
    names(refusal, "colour")
    assert run.status() == "pending"


WRONG = [
    ("pipelinetasks", {"name": 7}, "name"),
    ("pipelinetasks", {"name": None}, "name"),
    ("pipelinetasks", {"category": ["c"]}, "category"),
    ("pipelinetasks", {"steps": {"doScript": "pass"}}, "steps"),
    ("pipelinetasks", {"steps": ["pass"]}, "steps"),
    ("pipelinetasks", {"steps": [{"doScript": 7}]}, "doScript"),
    ("pipelinetasks", {"steps": [STEP | {"undoScript": []}]}, "undoScript"),
    ("pipelinetasks", {"timeout": "5 parsecs"}, "timeout"),
    ("pipelinetasks", {"timeout": "-5s"}, "timeout"),
    ("pipelinetasks", {"startTimeout": "soon"}, "startTimeout"),
    ("pipelinetasks", {"gracePeriod": {}}, "gracePeriod"),
    ("pipelinetasks", {"retries": 3}, "retries"),
    ("pipelinetasks", {"retries": {"limit": -1}}, "limit"),
    ("pipelinetasks", {"retries": {"limit": "many"}}, "limit"),
    ("pipelinetasks", {"retries": {"limit": 1, "delay": "x"}}, "delay"),
    ("pipelinetasks", {"secrets": [{"name": "x"}]}, "secrets"),
    ("pipelinetasks", {"allowedImports": "csv"}, "allowedImports"),
    ("pipelines", {"tasks": "a"}, "tasks"),
    ("pipelines", {"tasks": [7]}, "tasks"),
    ("pipelines", {"tasks": [entry("a") | {"dependsOn": "b"}]}, "dependsOn"),
    ("pipelines", {"tasks": [entry("a") | {"dependsOn": [1]}]}, "dependsOn"),
    ("pipelines", {"tasks": [entry("a", condition=True)]}, "condition"),
    ("pipelines", {"tasks": [entry("a", timeout="x")]}, "timeout"),
    ("pipelines", {"tasks": [entry("a", retries={"limit": -3})]}, "limit"),
    ("pipelineruns", {"parameters": []}, "parameters"),
    ("pipelineruns", {"parameters": None}, "parameters"),
    ("pipelineruns", {"parameters": "x=1"}, "parameters"),
    ("pipelineruns", {"run": "perhaps"}, "run"),
    ("pipelineruns", {"timeout": "x"}, "timeout"),
    ("pipelineruns", {"autoRollback": "perhaps"}, "autoRollback"),
    ("pipelineruns", {"onAbort": "explode"}, "onAbort"),
    ("pipelineruns", {"suspend": "perhaps"}, "suspend"),
    ("pipelineruns", {"ttlAfterFinished": "x"}, "ttlAfterFinished"),
]


@pytest.mark.parametrize(("kind", "wrong", "place"), WRONG)
def test_a_wrong_value(product: Product, kind: str, wrong: dict[str, Any], place: str) -> None:
    body: dict[str, Any]
    if kind == "pipelinetasks":
        body = {"category": "c", "name": product.name(), "steps": [STEP]}
    elif kind == "pipelines":
        body = {"category": "c", "name": product.name(), "tasks": [entry("a")]}
    else:
        body = {"name": product.pipeline({"a": node()}).pipeline, "parameters": {}}
    names(product.rest.refuse("POST", f"/{kind}", 422, json=body | wrong), place)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"operation": "explode"},
        {"operation": None},
        {"operation": ["run"]},
        {"suspend": "perhaps"},
        {"suspend": None},
    ],
)
def test_a_wrong_patch(product: Product, body: Any) -> None:
    run = product.run({"a": node()}, run=False)
    product.rest.refuse("PATCH", f"/pipelineruns/{run.id}", 422, json=body)
    assert run.status() == "pending"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40, -(10**40)])
@pytest.mark.parametrize("shape", ["plain", "deep"])
def test_integers_beyond_64_bit_in_parameters(product: Product, number: int, shape: str) -> None:
    name = product.pipeline({"a": node()}).pipeline
    parameters = {"big": number} if shape == "plain" else {"x": [{"big": number}]}
    refusal = product.rest.refuse(
        "POST", "/pipelineruns", 422, json={"name": name, "parameters": parameters}
    )
    names(refusal, "big")


def test_parameters_beyond_one_mebibyte(product: Product) -> None:
    name = product.pipeline({"a": node()}).pipeline
    body = {"name": name, "parameters": {"x": "y" * (1 << 20)}}
    refusal = product.rest.refuse("POST", "/pipelineruns", 422, json=body)
    names(refusal, "parameters")
