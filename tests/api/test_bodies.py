"""Bodies: what isn't strictly JSON, isn't said to be, or is too large."""

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.api.kit.client import Client, places, problem

from xaas_api.bodies import MAX_BODY

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
RUNS = "/pipelineruns"


def parameters(value: bytes) -> bytes:
    return b'{"name": "x", "parameters": {"a": ' + value + b"}}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"name": "x",}',
        b"{'name': 'x'}",
        b'\xef\xbb\xbf{"name": "x"}',
        '{"name": "é"}'.encode("utf-16"),
        b'{"name": "\xff"}',
        b'{"name": "x", "name": "y"}',
        parameters(b"NaN"),
        parameters(b"Infinity"),
        parameters(b"-Infinity"),
        parameters(b"1e999"),
        parameters(b"9" * 200_000),
        parameters(b'{"k": 1, "k": 1}'),
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        parameters(b"01"),
        parameters(b'"\x01"'),
    ],
)
async def test_what_isn_t_json_is_422(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post(RUNS, content=body, headers=JSON)
    assert places(problem(answer, 422, "invalid-json")) == ["body"]


@pytest.mark.parametrize(
    "value",
    [
        b'"\\ud800"',
        b"9223372036854775808",
        b"9" * 5000,
        b"[" * 150 + b"]" * 150,
        b"[" * 101 + b"]" * 101,
    ],
)
async def test_what_params_can_t_hold_is_422(http: httpx.AsyncClient, value: bytes) -> None:
    answer = await http.post(RUNS, content=parameters(value), headers=JSON)
    problem(answer, 422, "invalid-request")


async def test_the_line_of_a_mistake_is_named(http: httpx.AsyncClient) -> None:
    answer = await http.post(RUNS, content=b'{\n"name": "x",\n}', headers=JSON)
    assert problem(answer, 422, "invalid-json")["errors"][0]["line"] == 3


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 422),
        ("application/json; charset=utf-8", 422),
        ('Application/JSON;charset="UTF-8"', 422),
        ("application/merge-patch+json", 422),
        ("application/json; charset=latin-1", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
        ("json", 415),
        ("", 415),
    ],
)
async def test_media_types(http: httpx.AsyncClient, media_type: str, status: int) -> None:
    answer = await http.post(RUNS, content=b"{}", headers={"Content-Type": media_type})
    kind = "invalid-request" if status == 422 else "unsupported-media-type"
    problem(answer, status, kind)


class TestSize:
    async def test_a_body_that_says_it_is_too_large(self, http: httpx.AsyncClient) -> None:
        answer = await http.post(RUNS, content=b" " * (MAX_BODY + 1), headers=JSON)
        problem(answer, 413, "body-too-large")

    async def test_a_body_that_doesn_t_say_so(self, http: httpx.AsyncClient) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(MAX_BODY // 65536 + 1):
                yield b" " * 65536

        answer = await http.post(RUNS, content=chunks(), headers=JSON)
        problem(answer, 413, "body-too-large")

    async def test_the_largest_one_is_read(self, http: httpx.AsyncClient) -> None:
        answer = await http.post(RUNS, content=b" " * MAX_BODY, headers=JSON)
        problem(answer, 422, "invalid-json")

    async def test_the_connection_is_good_afterwards(self, client: Client) -> None:
        await client.http.post(RUNS, content=b" " * (MAX_BODY + 1), headers=JSON)
        assert (await client.http.get(RUNS)).status_code == 200


async def test_many_mistakes_give_a_short_answer(http: httpx.AsyncClient) -> None:
    body = {f"field{number}": 1 for number in range(2000)}
    for path in ("/pipelines", RUNS):
        found = problem(await http.post(path, json=body), 422, "invalid-request")
        assert places(found) == [f"field{number}" for number in range(50)]
        assert len(found["detail"]) < 1000


async def test_many_bad_scripts_give_a_short_answer(http: httpx.AsyncClient) -> None:
    steps = [{"doScript": f"import no_such_{number}"} for number in range(200)]
    body = {"category": "c", "name": "x", "steps": steps}
    found = problem(await http.post("/pipelinetasks", json=body), 422, "refused")
    assert places(found) == [f"steps[{number}].doScript" for number in range(50)]
    assert found["detail"].endswith("and 195 more")


@pytest.mark.parametrize("item", [b"1", b"{}", b'{"ref":1}'])
@pytest.mark.parametrize("opening", [b"", b'{"ref":"a","name":"b","dependsOn":['])
async def test_a_list_stops_at_its_first_mistake(
    http: httpx.AsyncClient, opening: bytes, item: bytes
) -> None:
    """Noting each of a hundred thousand takes seconds and gigabytes."""
    items = b",".join([item] * 100_000)
    closing = b"]}" if opening else b""
    body = b'{"category":"c","name":"x","tasks":[' + opening + items + closing + b"]}"
    answer = await http.post("/pipelines", content=body, headers=JSON)
    found = problem(answer, 422, "invalid-request")
    place = "tasks[0].dependsOn[0]" if opening else "tasks[0]"
    assert 1 <= len(found["errors"]) <= 3
    assert all(shown.startswith(place) for shown in places(found))


async def test_definitions_far_too_large_aren_t_looked_at(http: httpx.AsyncClient) -> None:
    body = b'{"category":"c","name":"x","tasks":[' + b",".join([b"1"] * 1_000_000) + b"]}"
    found = problem(await http.post("/pipelines", content=body, headers=JSON), 422, "refused")
    assert places(found) == ["body"]
    assert "1048576" in found["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/pipelines", "GET, POST"),
        ("POST", "/pipelines/x", "DELETE, GET, PUT"),
        ("PUT", "/pipelineruns/x", "DELETE, GET, PATCH"),
        ("DELETE", "/healthz", "GET"),
        ("TRACE", "/pipelineruns", "GET, POST"),
    ],
)
async def test_a_method_that_a_path_doesn_t_have(
    http: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await http.request(method, path)
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/pipelines/", "/pipelines/a/b", "/pipelines%0A"]
)
async def test_a_path_that_isn_t_there(http: httpx.AsyncClient, path: str) -> None:
    problem(await http.get(path), 404, "not-found")
