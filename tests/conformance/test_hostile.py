"""Whatever is sent: a clear refusal or a right answer, never an error of the server."""

import json
from typing import Any

import httpx
import pytest
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import PROBLEM, Rest, path, problem, story

TARGETS = [
    ("POST", "/pipelinetasks"),
    ("PUT", "/pipelinetasks/x"),
    ("POST", "/pipelines"),
    ("PUT", "/pipelines/x"),
    ("POST", "/pipelineruns"),
    ("PATCH", "/pipelineruns/x"),
]
RAW = {
    "empty": b"",
    "nothing": b"null",
    "list": b"[]",
    "text": b'"x"',
    "number": b"1e999",
    "cut": b'{"name": "x"',
    "not-json": b"<xml/>",
    "nan": b'{"name": NaN, "category": Infinity}',
    "not-utf8": b'{"name": "\xff\xfe"}',
    "surrogate": b'{"name": "\\ud800", "category": "c", "steps": [], "parameters": {}}',
    "nul": b'{"name": "a\\u0000b", "category": "c", "steps": [{}], "parameters": 1}',
    "twice": b'{"name": "a", "name": 1, "parameters": 1}',
    "deep-list": b"[" * 100_000,
    "deep-object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "long-number": b'{"name": ' + b"9" * 100_000 + b"}",
    "long-text": b'{"name": "' + b"x" * 1_000_000 + b'"}',
    "many-keys": json.dumps({f"k{n}": n for n in range(20_000)}).encode(),
    "bom": b'\xef\xbb\xbf{"name": "x"}',
}


def refused(response: httpx.Response) -> None:
    assert 400 <= response.status_code < 500, story(response, "a refusal")
    media = response.headers.get("content-type", "").partition(";")[0]
    assert media == PROBLEM, story(response, f"a refusal as {PROBLEM}")
    assert response.json()["status"] == response.status_code


@pytest.mark.parametrize(("method", "url"), TARGETS)
@pytest.mark.parametrize("what", RAW)
def test_a_raw_body(rest: Rest, method: str, url: str, what: str) -> None:
    headers = {"Content-Type": "application/json"}
    refused(rest.send(method, url, content=RAW[what], headers=headers))


@pytest.mark.parametrize(("method", "url"), TARGETS)
def test_a_huge_body(rest: Rest, method: str, url: str) -> None:
    """Refused without being read to its end: the connection may be closed on the sender."""
    body = b'{"name": "' + b"x" * (16 << 20) + b'"}'
    try:
        response = rest.send(
            method, url, content=body, headers={"Content-Type": "application/json"}
        )
    except httpx.TransportError:
        assert rest.send("GET", "/healthz").status_code == 200
    else:
        refused(response)


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "multipart/form-data", "x", ""])
def test_another_media_type(rest: Rest, media: str) -> None:
    response = rest.send("POST", "/pipelinetasks", content=b"{}", headers={"Content-Type": media})
    refused(response)


DEPTHS = [10, 100, 1000, 5000]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("opening", ["[", '{"k":'])
def test_deep_parameters(product: Product, depth: int, opening: str) -> None:
    """Accepted and kept whole, or refused."""
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    name = product.pipeline({"a": node(product.gate.note("a", "len(params)"))}).pipeline
    body = f'{{"name": "{name}", "parameters": {{"deep": {deep}}}, "run": true}}'
    headers = {"Content-Type": "application/json"}
    response = product.rest.send("POST", "/pipelineruns", content=body, headers=headers)
    if response.status_code != 201:
        refused(response)
        return
    run = response.json()["instance_id"]
    product.gate.wait("a")
    shown = product.rest.call("GET", path("pipelineruns", run), 200).text
    assert "".join(shown.split()).count(opening) >= depth


@pytest.mark.parametrize(
    "parameters",
    [
        '{"x": NaN}', '{"x": Infinity}', '{"x": [-Infinity]}', '{"x": 1e999}',
        '{"x": "\\ud800"}', '{"\\udfff": 1}',
    ],
)  # fmt: skip
def test_parameters_that_are_not_json(product: Product, parameters: str) -> None:
    name = product.pipeline({"a": node()}).pipeline
    body = f'{{"name": "{name}", "parameters": {parameters}}}'
    headers = {"Content-Type": "application/json"}
    refused(product.rest.send("POST", "/pipelineruns", content=body, headers=headers))


ODD_NAMES = [
    "", " ", ".", "..", "../x", "a\u0000b", "a\nb", "\t", "\u200b", "\ufeff", "\u202e", "x" * 300,
    "x" * 10_000, "é" * 253, "-", "'; drop table pipelines; --", "%", "%00", "${x}", "<b>", "\ud83d",
    "e\u0301", "\u00e9", "NaN", "null", "0", "?", "#", "//", "a//b", "*", "~", "\u007f", "\uffff",
]  # fmt: skip


@pytest.mark.parametrize("kind", ["pipelinetasks", "pipelines"])
@pytest.mark.parametrize("odd", ODD_NAMES, ids=ascii)
def test_an_odd_name(product: Product, kind: str, odd: str) -> None:
    """Refused, or accepted; and what is accepted can be read, run and removed by that name."""
    body: dict[str, Any] = {"category": "c", "name": odd}
    body |= {"steps": []} if kind == "pipelinetasks" else {"tasks": [{"ref": "a", "name": "T"}]}
    content = json.dumps(body)
    headers = {"Content-Type": "application/json"}
    response = product.rest.send("POST", f"/{kind}", content=content, headers=headers)
    if response.status_code not in {201, 409}:
        refused(response)
        return
    url = path(kind, odd)
    assert product.rest.call("GET", url, 200).json()["name"] == odd
    product.rest.call("DELETE", url, 204)


@pytest.mark.parametrize("odd", ODD_NAMES, ids=ascii)
def test_an_odd_ref(product: Product, odd: str) -> None:
    task = product.task()
    entry = {"ref": odd, "name": task, "dependsOn": []}
    body = {"category": "c", "name": product.name("p"), "tasks": [entry]}
    headers = {"Content-Type": "application/json"}
    response = product.rest.send("POST", "/pipelines", content=json.dumps(body), headers=headers)
    if response.status_code != 201:
        refused(response)
        return
    run = product.rest.post("pipelineruns", {"name": body["name"], "parameters": {}, "run": True})
    url = path("pipelineruns", run["instance_id"], "tasks", odd, "do")
    assert product.rest.call("GET", url, 200).json()["ref"] == odd


@pytest.mark.parametrize(
    "headers",
    [
        {"If-Match": "nonsense"}, {"If-Match": '"x", "y"'}, {"If-Match": ""},
        {"Idempotency-Key": ""}, {"Idempotency-Key": "x" * 5000}, {"Idempotency-Key": "é🚀"},
        {"Accept": "application/xml"}, {"Accept-Encoding": "nonsense"}, {"Range": "bytes=9-1"},
    ],
)  # fmt: skip
def test_odd_headers(product: Product, headers: dict[str, str]) -> None:
    raw = {name: value.encode() for name, value in headers.items()}
    name = product.name()
    body = {"category": "c", "name": name, "steps": []}
    product.rest.send("POST", "/pipelinetasks", json=body, headers=raw)
    product.rest.send("PUT", path("pipelinetasks", name), json=body, headers=raw)
    product.rest.send("GET", "/pipelinetasks", headers=raw)


@pytest.mark.parametrize("query", ["limit=1&limit=2", "status=", "%00=%00", "a=%ff", "x" * 5000])
def test_odd_queries(rest: Rest, query: str) -> None:
    for kind in ("pipelinetasks", "pipelines", "pipelineruns"):
        rest.send("GET", f"/{kind}?{query}")


def test_paths_and_methods_that_are_not_there(rest: Rest) -> None:
    for url in ("/nowhere", "/pipelineruns/x/y/z", "/pipelinetasks/", "/%ff", "/../etc/passwd"):
        response = rest.send("GET", url)
        assert response.status_code in {400, 404, 405}, story(response, "404")
        refused(response)
    for method, url in (
        ("PUT", "/pipelineruns"),
        ("POST", "/pipelines/x"),
        ("PATCH", "/pipelines"),
    ):
        problem(rest.send(method, url, json={}), 405)


@pytest.mark.parametrize(
    "script",
    [
        "(" * 5000,
        "-" * 100_000 + "1",
        "x = " + "[" * 150 + "]" * 150,
        "x = " + "+".join(["1"] * 20_000),
        "\x00",
        "# coding: utf-7\npass",
        "x = '\\ud800'",
        "\ufeffpass",
        "if 1:\n" * 150 + "pass",
        "pass;" * 50_000,
        "\r\n\r\n\tpass",
        "f'{" * 200,
        "x = 10 ** 10 ** 10",
        "lambda: (yield)",
        "x" * 900_000,
    ],
    ids=lambda script: ascii(script[:12]),
)
def test_an_odd_script(product: Product, script: str) -> None:
    """Compiled or refused; the server lives either way."""
    body = {"category": "c", "name": product.name(), "steps": [{"doScript": script}]}
    response = product.rest.send("POST", "/pipelinetasks", json=body)
    assert response.status_code in {201, 422}, story(response, "201 or 422")
    assert product.rest.send("GET", "/healthz").status_code == 200


def test_a_wide_pipeline(product: Product) -> None:
    """500 tasks that all hang on one, and one on them: planned, or refused with a reason."""
    task = product.task()
    refs = [str(number) for number in range(500)]
    entries = [{"ref": "first", "name": task, "dependsOn": []}]
    entries += [{"ref": ref, "name": task, "dependsOn": ["first"]} for ref in refs]
    entries += [{"ref": "last", "name": task, "dependsOn": refs}]
    body = {"category": "c", "name": product.name("p"), "tasks": entries}
    product.define("pipelines", body)
    run = product.rest.post("pipelineruns", {"name": body["name"], "parameters": {}})
    assert run["tasks"]["total"] == 502
    listed = product.rest.get("pipelineruns", run["instance_id"], "tasks")["items"]
    assert len(listed) == 1004


def test_a_long_pipeline(product: Product) -> None:
    """1000 tasks in a row, and one edge that makes it a cycle of all of them."""
    task = product.task()
    entries = [{"ref": "0", "name": task, "dependsOn": []}]
    entries += [{"ref": str(n), "name": task, "dependsOn": [str(n - 1)]} for n in range(1, 1000)]
    body = {"category": "c", "name": product.name("p"), "tasks": entries}
    product.define("pipelines", body)
    cyclic = [entry | {"dependsOn": ["999"]} if entry["ref"] == "0" else entry for entry in entries]
    other = body | {"name": product.name("p"), "tasks": cyclic}
    product.rest.refuse("POST", "/pipelines", 422, json=other)
