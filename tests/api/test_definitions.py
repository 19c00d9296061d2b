"""PipelineTasks and Pipelines: every call and every answer that it can have."""

from typing import Any

import httpx
import pytest
from tests.api.kit.client import Client, Json, places, problem

from xaas_api.paths import in_path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with a server

KINDS = ["pipelinetasks", "pipelines"]


def body_of(kind: str, name: str, **further: Any) -> Json:
    inner: Json = {"steps": [{"doScript": "pass"}]}
    if kind == "pipelines":
        inner = {"tasks": [{"ref": "a", "name": "any-task", "dependsOn": []}]}
    return {"category": "test", "name": name, **inner, **further}


@pytest.mark.parametrize("kind", KINDS)
class TestCreate:
    async def test_comes_back_as_written(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        made = await client.http.post(f"/{kind}", json=body)
        assert made.status_code == 201
        shown = made.json()
        version, created = shown.pop("resource_version"), shown.pop("created_at")
        assert shown == body
        assert made.headers["etag"] == f'"{version}"'
        assert created.endswith("Z")
        assert made.headers["location"] == f"/{kind}/{body['name']}"
        found = await client.http.get(made.headers["location"])
        assert found.json() == made.json()
        assert found.headers["etag"] == made.headers["etag"]

    async def test_an_existing_name_is_409(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        await client.http.post(f"/{kind}", json=body)
        problem(await client.http.post(f"/{kind}", json=body), 409, "already-exists")

    async def test_an_idempotency_key(self, client: Client, kind: str) -> None:
        body, headers = body_of(kind, client.new_name()), {"Idempotency-Key": client.new_name()}
        made = await client.http.post(f"/{kind}", json=body, headers=headers)
        again = await client.http.post(f"/{kind}", json=body, headers=headers)
        assert again.status_code == 201
        assert again.json() == made.json()
        other = body | {"category": "other"}
        answer = await client.http.post(f"/{kind}", json=other, headers=headers)
        problem(answer, 409, "idempotency-key-reused")

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            ({"name": ""}, "name"),
            ({"name": 5}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": ".."}, "name"),
            ({"name": "x" * 254}, "name"),
            ({"category": None}, "category"),
            ({"colour": "red"}, "colour"),
        ],
    )
    async def test_a_wrong_field_is_named(
        self, http: httpx.AsyncClient, kind: str, change: Json, place: str
    ) -> None:
        answer = await http.post(f"/{kind}", json=body_of(kind, "x") | change)
        assert places(problem(answer, 422, "invalid-request")) == [place]

    @pytest.mark.parametrize("missing", ["category", "name", "steps or tasks"])
    async def test_a_missing_field_is_named(
        self, http: httpx.AsyncClient, kind: str, missing: str
    ) -> None:
        if missing == "steps or tasks":
            missing = "steps" if kind == "pipelinetasks" else "tasks"
        body = body_of(kind, "x")
        del body[missing]
        answer = await http.post(f"/{kind}", json=body)
        assert places(problem(answer, 422, "invalid-request")) == [missing]


async def test_a_script_is_refused_with_its_line(http: httpx.AsyncClient) -> None:
    body = {"category": "c", "name": "x", "steps": [{"doScript": "pass\nimport os\n"}]}
    found = problem(await http.post("/pipelinetasks", json=body), 422, "refused")
    assert places(found) == ["steps[0].doScript"]
    assert found["errors"][0]["line"] == 2


async def test_a_cycle_is_refused(http: httpx.AsyncClient) -> None:
    tasks = [
        {"ref": "a", "name": "t", "dependsOn": ["b"]},
        {"ref": "b", "name": "t", "dependsOn": ["a"]},
    ]
    answer = await http.post("/pipelines", json={"category": "c", "name": "x", "tasks": tasks})
    assert "a -> b" in problem(answer, 422, "refused")["detail"].replace("b -> a", "a -> b")


async def test_an_unknown_field_deep_down_is_named(http: httpx.AsyncClient) -> None:
    task = {"ref": "a", "name": "t", "dependson": []}
    answer = await http.post("/pipelines", json={"category": "c", "name": "x", "tasks": [task]})
    assert places(problem(answer, 422, "invalid-request")) == ["tasks[0].dependson"]


@pytest.mark.parametrize("kind", KINDS)
class TestReplace:
    async def test_replaces(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        made = await client.http.post(f"/{kind}", json=body)
        changed = body | {"category": "other"}
        answer = await client.http.put(f"/{kind}/{body['name']}", json=changed)
        assert answer.status_code == 200
        assert answer.json()["category"] == "other"
        assert answer.json()["created_at"] == made.json()["created_at"]
        assert answer.headers["etag"] != made.headers["etag"]

    async def test_an_unknown_name_is_404(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        answer = await client.http.put(f"/{kind}/{body['name']}", json=body)
        problem(answer, 404, "not-found")

    async def test_another_name_is_422(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        await client.http.post(f"/{kind}", json=body)
        other = body | {"name": client.new_name()}
        answer = await client.http.put(f"/{kind}/{body['name']}", json=other)
        assert places(problem(answer, 422, "invalid-request")) == ["name"]

    @pytest.mark.parametrize(
        ("if_match", "status"),
        [
            ("{etag}", 200),
            ("*", 200),
            ('"other", {etag}', 200),
            ('"other"', 412),
            ('"other", "third"', 412),
            ("W/{etag}", 412),
        ],
    )
    async def test_if_match(self, client: Client, kind: str, if_match: str, status: int) -> None:
        body = body_of(kind, client.new_name())
        etag = (await client.http.post(f"/{kind}", json=body)).headers["etag"]
        headers = {"If-Match": if_match.format(etag=etag)}
        path = f"/{kind}/{body['name']}"
        replaced = await client.http.put(path, json=body, headers=headers)
        assert replaced.status_code == status, replaced.text
        if status == 412:
            problem(replaced, 412, "precondition-failed")
            problem(await client.http.delete(path, headers=headers), 412, "precondition-failed")

    async def test_what_can_t_be_accepted_changes_nothing(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        made = await client.http.post(f"/{kind}", json=body)
        path = f"/{kind}/{body['name']}"
        problem(await client.http.put(path, json=body | {"x": 1}), 422, "invalid-request")
        assert (await client.http.get(path)).json() == made.json()


@pytest.mark.parametrize("kind", KINDS)
class TestDelete:
    async def test_deletes(self, client: Client, kind: str) -> None:
        body = body_of(kind, client.new_name())
        etag = (await client.http.post(f"/{kind}", json=body)).headers["etag"]
        path = f"/{kind}/{body['name']}"
        gone = await client.http.delete(path, headers={"If-Match": etag})
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await client.http.get(path), 404, "not-found")
        problem(await client.http.delete(path), 404, "not-found")


NAMES = ["タスク 1/é", "a/b/c", "/", "per%2Fcent", "100%", "q?a=b#c", "back\\slash", "plus+ ;,"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", NAMES)
async def test_a_name_keeps_its_spelling(client: Client, kind: str, spelling: str) -> None:
    name = client.new_name() + spelling
    made = await client.http.post(f"/{kind}", json=body_of(kind, name))
    path = made.headers["location"]
    assert path == f"/{kind}/{in_path(name)}"
    assert (await client.http.get(path)).json()["name"] == name
    assert (await client.http.put(path, json=body_of(kind, name))).status_code == 200
    assert (await client.http.delete(path)).status_code == 204


@pytest.mark.parametrize("kind", [*KINDS, "pipelineruns"])
class TestList:
    async def test_pages_filters_and_order(self, client: Client, kind: str) -> None:
        category = client.new_name()
        names = [client.new_name() for _ in range(3)]
        made = []
        for name in names:
            if kind == "pipelineruns":
                task = await client.task()
                tasks = [{"ref": "a", "name": task, "dependsOn": []}]
                body = {"category": category, "name": name, "tasks": tasks}
                await client.http.post("/pipelines", json=body)
                made.append(await client.run(name, start=False))
            else:
                body = body_of(kind, name, category=category)
                made.append((await client.http.post(f"/{kind}", json=body)).json())
        query: Json = {"category": category, "limit": 2}
        first = (await client.http.get(f"/{kind}", params=query)).json()
        assert [item["name"] for item in first["items"]] == [names[2], names[1]]
        rest = await client.http.get(f"/{kind}", params=query | {"continue": first["continue"]})
        assert [item["name"] for item in rest.json()["items"]] == [names[0]]
        assert rest.json()["continue"] is None
        times = {"created_after": made[2]["created_at"]}
        later = await client.http.get(f"/{kind}", params={"category": category} | times)
        assert later.json()["items"] == []
        times = {"created_before": "2020-01-01T00:00:00+01:00"}
        assert (await client.http.get(f"/{kind}", params=times)).json()["items"] == []

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "1001"},
            {"limit": "many"},
            {"limit": "1_0"},
            {"limit": "9" * 5000},
            {"continue": "made up"},
            {"created_after": "yesterday"},
            {"created_after": "2026-13-01T00:00:00Z"},
            {"namespace": "No/Namespace"},
            {"colour": "red"},
        ],
    )
    async def test_a_wrong_query_is_named(
        self, http: httpx.AsyncClient, kind: str, query: dict[str, str]
    ) -> None:
        answer = await http.get(f"/{kind}", params=query)
        assert places(problem(answer, 422, "invalid-request")) == list(query)


@pytest.mark.parametrize("kind", KINDS)
async def test_namespaces_are_apart(client: Client, kind: str) -> None:
    body, elsewhere = body_of(kind, client.new_name()), {"namespace": "elsewhere"}
    path = f"/{kind}/{body['name']}"
    made = await client.http.post(f"/{kind}", json=body, params=elsewhere)
    assert made.status_code == 201
    assert (await client.http.get(path, params=elsewhere)).status_code == 200
    problem(await client.http.get(path), 404, "not-found")
