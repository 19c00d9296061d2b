"""Definitions: written, read, listed, replaced, removed, whatever their names."""

import threading
from typing import Any

import pytest
from tests.conformance.kit.oracle import Planned, times_of
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import Rest, names, path

KINDS = ["pipelinetasks", "pipelines"]
NAMES = [
    "Task-1",
    "with spaces in it",
    "タスク 1/é",
    "a/b/c",
    "/leading",
    "trailing/",
    "per%20cent",
    "per%2Fcent",
    "q?a=b&c#d",
    "semi;colon,comma",
    "plus+plus",
    "emoji-🚀",
    "UPPER_lower.dots",
    "quote\"quote'",
    "back\\slash",
    "{braces}",
    "x" * 200,
]


def body_of(kind: str, name: str, **further: Any) -> dict[str, Any]:
    if kind == "pipelinetasks":
        return {"category": "c", "name": name, "steps": [{"doScript": "pass"}], **further}
    entry = {"ref": "a", "name": "some-task", "dependsOn": []}
    return {"category": "c", "name": name, "tasks": [entry], **further}


def includes(whole: Any, part: Any) -> bool:
    """Everything written is there, unchanged; a definition may come back with more members."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and includes(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return (
            isinstance(whole, list)
            and len(whole) == len(part)
            and all(includes(one, other) for one, other in zip(whole, part, strict=True))
        )
    return bool(whole == part)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", NAMES)
def test_a_name_keeps_its_spelling(product: Product, kind: str, spelling: str) -> None:
    name = f"{spelling}{product.tag}" if not spelling.endswith("/") else f"{product.tag}{spelling}"
    body = body_of(kind, name)
    made = product.define(kind, body)
    assert made["name"] == name
    assert product.rest.get(kind, name)["name"] == name
    assert product.rest.put(kind, name, body | {"category": "d"})["category"] == "d"
    product.rest.delete(kind, name)
    assert product.rest.gone(kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_differ_a_little_are_two(product: Product, kind: str) -> None:
    spellings = [product.name("Name"), product.name("Name").lower()]
    tricky = [f"{product.tag}-x", f"{product.tag} x", f"{product.tag}/x", f"{product.tag}.x"]
    spellings += [*tricky, spellings[0].swapcase()]
    for number, name in enumerate(spellings):
        product.define(kind, body_of(kind, name) | {"category": f"c{number}"})
    for number, name in enumerate(spellings):
        assert product.rest.get(kind, name)["category"] == f"c{number}"


def test_a_task_and_a_pipeline_may_share_a_name(product: Product) -> None:
    name = product.name()
    for kind in KINDS:
        product.define(kind, body_of(kind, name))
    product.rest.delete("pipelinetasks", name)
    assert product.rest.get("pipelines", name)["name"] == name


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_back(product: Product, kind: str) -> None:
    body = body_of(kind, product.name())
    for answer in (product.define(kind, body), product.rest.get(kind, body["name"])):
        assert includes(answer, body)
        assert isinstance(answer["resource_version"], str | int)
        assert times_of(answer, "created_at") == []
        assert answer["created_at"]


def test_a_task_comes_back_as_written(product: Product) -> None:
    further = {
        "timeout": "1h30m",
        "startTimeout": "90s",
        "gracePeriod": "100ms",
        "retries": {"limit": 3, "delay": "1s", "factor": 2, "maxDelay": "5m"},
        "resources": {"limits": {"memory": "256Mi", "cpu": "500m"}, "requests": {"cpu": "10m"}},
        "allowedImports": ["csv"],
    }
    body: dict[str, Any] = {
        "category": "größer",
        "name": product.name(),
        "steps": [
            {"doScript": "x = 'é\\t🚀'\n\n# a comment  \n", "undoScript": "pass\r\npass"},
            {"doScript": "pass"},
        ],
        **further,
    }
    product.define("pipelinetasks", body)
    assert includes(product.rest.get("pipelinetasks", body["name"]), body)


def test_a_pipeline_comes_back_as_written(product: Product) -> None:
    body: dict[str, Any] = {
        "category": "c",
        "name": product.name(),
        "tasks": [
            {"ref": "last one", "name": "Z", "dependsOn": ["é/2", "1"], "condition": "True"},
            {"ref": "é/2", "name": "Z", "dependsOn": ["1"], "timeout": "5m"},
            {"ref": "1", "name": "Y", "dependsOn": [], "retries": {"limit": 2, "delay": "10ms"}},
        ],
    }
    product.define("pipelines", body)
    assert includes(product.rest.get("pipelines", body["name"]), body)


def test_definitions_in_any_order(product: Product) -> None:
    """A pipeline may come before the tasks that it names."""
    planned_task, pipeline = product.name("task"), product.name("pipeline")
    entry = {"ref": "a", "name": planned_task, "dependsOn": []}
    product.define("pipelines", {"category": "c", "name": pipeline, "tasks": [entry]})
    body = {"name": pipeline, "parameters": {}, "run": True}
    refusal = product.rest.refuse("POST", "/pipelineruns", 422, json=body)
    names(refusal, planned_task)
    product.define("pipelinetasks", body_of("pipelinetasks", planned_task))
    product.rest.post("pipelineruns", body)


def test_names_of_any_spelling_run(product: Product) -> None:
    """In answers, filters, notifications and the script's context the name is as it was written."""
    name = f"タスク 1/é {product.tag} %2F"
    gate = product.gate
    seen = gate.note("seen", "[context.pipeline, context.task, context.ref]")
    product.define("pipelinetasks", {"category": "c", "name": name, "steps": [{"doScript": seen}]})
    entry = {"ref": "é/1", "name": name, "dependsOn": []}
    product.define("pipelines", {"category": "c", "name": name, "tasks": [entry]})
    run = product.run_of(Planned(name, {"é/1": node()}, {"é/1": name}))
    assert run.wait("complete")["name"] == name
    assert gate.noted("seen") == [name, name, "é/1"]
    listed = product.rest.get("pipelineruns", pipeline=name)["items"]
    assert [item["instance_id"] for item in listed] == [run.id]


def test_a_run_of_an_unknown_pipeline_is_refused(product: Product) -> None:
    name = product.name("nowhere")
    body = {"name": name, "parameters": {}}
    names(product.rest.refuse("POST", "/pipelineruns", 422, json=body), name)


def test_one_task_in_many_places(product: Product) -> None:
    task = product.task("params['n'] = params.get('n', 0) + 1")
    entries = [
        {"ref": ref, "name": task, "dependsOn": after}
        for ref, after in (("1", []), ("2", ["1"]), ("3", ["2"]))
    ]
    pipeline = product.name("pipeline")
    product.define("pipelines", {"category": "c", "name": pipeline, "tasks": entries})
    nodes = {"1": node(), "2": node(after="1"), "3": node(after="2")}
    run = product.run_of(Planned(pipeline, nodes, dict.fromkeys(nodes, task)))
    run.wait("complete")
    assert run.task("3")["input"] == {"n": 2}


@pytest.mark.parametrize("kind", KINDS)
class TestRefusals:
    def test_a_name_that_exists(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        product.define(kind, body)
        for again in (body, body | {"category": "other"}):
            names(product.rest.refuse("POST", f"/{kind}", 409, json=again), body["name"])
        assert product.rest.get(kind, body["name"])["category"] == "c"

    def test_put_of_an_unknown_name(self, product: Product, kind: str) -> None:
        name = product.name()
        product.rest.refuse("PUT", path(kind, name), 404, json=body_of(kind, name))
        assert product.rest.gone(kind, name)

    def test_put_of_another_name(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        product.define(kind, body)
        other = product.name("other")
        refusal = product.rest.refuse(
            "PUT", path(kind, body["name"]), 422, json=body | {"name": other}
        )
        names(refusal, "name")
        assert product.rest.gone(kind, other)

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_an_unknown_name(self, product: Product, kind: str, method: str) -> None:
        name = product.name("nowhere")
        names(product.rest.refuse(method, path(kind, name), 404), name)

    def test_a_refused_put_changes_nothing(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        before = product.define(kind, body)
        list_member = "steps" if kind == "pipelinetasks" else "tasks"
        product.rest.refuse(
            "PUT", path(kind, body["name"]), 422, json=body | {list_member: "nonsense"}
        )
        assert product.rest.get(kind, body["name"]) == before

    def test_a_stable_type(self, product: Product, kind: str) -> None:
        """The same kind of error has the same `type`, another kind another."""
        rest = product.rest
        types = {rest.refuse("GET", path(kind, product.name()), 404)["type"] for _ in range(2)}
        assert len(types) == 1
        types.add(rest.refuse("POST", f"/{kind}", 422, json={})["type"])
        assert len(types) == 2


@pytest.mark.parametrize("kind", KINDS)
class TestReplacing:
    def test_put_replaces_the_whole(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        made = product.define(kind, body)
        changed = body_of(kind, body["name"]) | {"category": "other"}
        answer = product.rest.put(kind, body["name"], changed)
        assert includes(answer, changed)
        assert answer["created_at"] == made["created_at"]
        assert answer["resource_version"] != made["resource_version"]
        assert product.rest.get(kind, body["name"]) == answer

    def test_if_match(self, product: Product, kind: str) -> None:
        rest, body = product.rest, body_of(kind, product.name())
        product.define(kind, body)
        url = path(kind, body["name"])
        first = rest.call("GET", url, 200).headers["ETag"]
        assert rest.call("GET", url, 200).headers["ETag"] == first
        rest.put(kind, body["name"], body | {"category": "2"}, if_match=first)
        second = rest.call("GET", url, 200).headers["ETag"]
        assert second != first
        stale = {"If-Match": first}
        rest.refuse("PUT", url, 412, json=body | {"category": "3"}, headers=stale)
        rest.refuse("DELETE", url, 412, headers=stale)
        assert rest.get(kind, body["name"])["category"] == "2"
        rest.call("DELETE", url, 204, headers={"If-Match": second})

    def test_if_match_lets_one_of_many_writers_win(self, product: Product, kind: str) -> None:
        rest, body = product.rest, body_of(kind, product.name())
        product.define(kind, body)
        url = path(kind, body["name"])
        etag = rest.call("GET", url, 200).headers["ETag"]
        answers: list[int] = []

        def write(number: int) -> None:
            changed = body | {"category": str(number)}
            answer = rest.send("PUT", url, json=changed, headers={"If-Match": etag})
            answers.append(answer.status_code)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 412, 412, 412, 412, 412]

    def test_a_client_reads_its_own_writes(self, product: Product, kind: str) -> None:
        rest, body = product.rest, body_of(kind, product.name())
        product.define(kind, body)
        for number in range(10):
            rest.put(kind, body["name"], body | {"category": f"{product.tag}-{number}"})
            assert rest.get(kind, body["name"])["category"] == f"{product.tag}-{number}"
            found = rest.get(kind, category=f"{product.tag}-{number}")["items"]
            assert [item["name"] for item in found] == [body["name"]]
        rest.delete(kind, body["name"])
        assert rest.gone(kind, body["name"])
        assert rest.get(kind, category=f"{product.tag}-9")["items"] == []
        product.define(kind, body)
        assert rest.get(kind, body["name"])["category"] == body["category"]


def test_put_drops_further_fields_that_it_leaves_out(product: Product) -> None:
    body = body_of("pipelinetasks", product.name())
    product.define("pipelinetasks", body | {"timeout": "5m", "allowedImports": ["csv"]})
    answer = product.rest.put("pipelinetasks", body["name"], body)
    assert not answer.get("timeout")
    assert not answer.get("allowedImports")


class TestIdempotencyKey:
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_same_definition(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        key = {"Idempotency-Key": product.name("key")}
        first = product.rest.call("POST", f"/{kind}", 201, json=body, headers=key).json()
        again = product.rest.send("POST", f"/{kind}", json=body, headers=key)
        assert again.status_code in {200, 201}, again.text
        assert again.json() == first
        other = body_of(kind, product.name())
        product.rest.refuse("POST", f"/{kind}", 409, json=other, headers=key)
        assert product.rest.gone(kind, other["name"])

    @pytest.mark.parametrize("kind", KINDS)
    def test_another_key_for_a_name_that_exists(self, product: Product, kind: str) -> None:
        body = body_of(kind, product.name())
        for status in (201, 409):
            headers = {"Idempotency-Key": product.name("key")}
            product.rest.call("POST", f"/{kind}", status, json=body, headers=headers)

    def test_the_same_run(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        key = {"Idempotency-Key": product.name("key")}
        body = {"name": planned.pipeline, "parameters": {"x": 1}, "run": True}
        ids = set()
        for _ in range(3):
            answer = product.rest.send("POST", "/pipelineruns", json=body, headers=key)
            assert answer.status_code in {200, 201}, answer.text
            ids.add(answer.json()["instance_id"])
        assert len(ids) == 1
        other = body | {"parameters": {"x": 2}}
        product.rest.refuse("POST", "/pipelineruns", 409, json=other, headers=key)
        found = product.rest.get("pipelineruns", pipeline=planned.pipeline)["items"]
        assert {run["instance_id"] for run in found} == ids
        product.rest.send("DELETE", path("pipelines", planned.pipeline))
        answer = product.rest.send("POST", "/pipelineruns", json=body, headers=key)
        assert (answer.status_code, answer.json().get("instance_id")) == (201, *ids), answer.text
        product.adopt(ids.pop(), planned).wait("complete")

    def test_one_run_for_many_at_once(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        key = {"Idempotency-Key": product.name("key")}
        body = {"name": planned.pipeline, "parameters": {}, "run": True}
        answers: list[tuple[int, Any]] = []

        def post() -> None:
            answer = product.rest.send("POST", "/pipelineruns", json=body, headers=key)
            answers.append((answer.status_code, answer.json()))

        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made = {body["instance_id"] for status, body in answers if status in {200, 201}}
        assert len(made) == 1, answers
        assert {status for status, _ in answers} <= {200, 201, 409}
        found = product.rest.get("pipelineruns", pipeline=planned.pipeline)["items"]
        assert {run["instance_id"] for run in found} == made
        product.adopt(made.pop(), planned).wait("complete")

    def test_without_a_key_each_post_is_a_run(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        runs = [product.run_of(planned) for _ in range(2)]
        assert runs[0].id != runs[1].id
        for run in runs:
            run.wait("complete")


def test_the_bare_bodies_work(rest: Rest, product: Product) -> None:
    """The bodies of the table alone, without any further field."""
    task, pipeline = product.name("task"), product.name("pipeline")
    steps = [{"doScript": "params['done'] = True"}]
    product.define("pipelinetasks", {"category": "c", "name": task, "steps": steps})
    entry = {"ref": "a", "name": task, "dependsOn": []}
    product.define("pipelines", {"category": "c", "name": pipeline, "tasks": [entry]})
    run = rest.post("pipelineruns", {"name": pipeline, "parameters": {}})
    assert run["status"] == "pending"
    url = path("pipelineruns", run["instance_id"])
    rest.call("PATCH", url, 202, json={"operation": "run"})
    planned = Planned(pipeline, {"a": node()}, {"a": task})
    product.adopt(run["instance_id"], planned).wait("complete")
