"""Who may call on Kubernetes, decided by a rule book in memory; the real cluster: test_on_cluster."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx
import pytest
from tests.api.kit.client import places, problem
from tests.api.kit.rulebook import NamedStore, RuleBook
from tests.api.kit.served import served
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from xaas_api.app import Api, create_app
from xaas_api.cluster_access import KEEP_ALLOWED, KEEP_REFUSED, ClusterAccess
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import Evaluator, Kind, Logs
from xaas_core.testing.clock import VirtualClock
from xaas_kube.reviews import OnObjects, OnPath, Verb

pytestmark = pytest.mark.anyio

HOME = "home"
RECHECK = 0.05
PATIENCE = 10.0
TASK = {"category": "c", "name": "t", "steps": []}


def on(verb: Verb, resource: str, name: str = "", namespace: str = HOME) -> OnObjects:
    return OnObjects(verb, resource, namespace, name)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def book() -> RuleBook:
    return RuleBook()


@pytest.fixture
def store() -> NamedStore:
    return NamedStore(VirtualClock())


@pytest.fixture
def api(book: RuleBook, store: NamedStore, time: Time) -> Iterator[Api]:
    admission = Admission(store, cast(Evaluator, None))  # nothing here has a script
    services = Services(store, admission, cast(Logs, None), HOME)
    yield create_app(services, ClusterAccess(book, store, HOME, time, RECHECK))
    services.stopping.set()


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
        yield client


async def new_run(store: NamedStore, namespace: str = HOME) -> tuple[str, str]:
    """A run's instance id, and its object's name."""
    spec = PipelineRunSpec(name="p", parameters={})
    run = await store.create_run(namespace, spec, Target.PIPELINE, None, None)
    assert run.meta.resource_name is not None
    return run.meta.uid, run.meta.resource_name


class TestWho:
    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs"])
    async def test_some_things_are_open(self, http: httpx.AsyncClient, path: str) -> None:
        assert (await http.get(path)).status_code == 200

    @pytest.mark.parametrize("path", ["/pipelines", "/metrics", "/openapi.json", "/events", "/x"])
    async def test_all_else_takes_a_token(self, http: httpx.AsyncClient, path: str) -> None:
        answer = await http.get(path)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"

    @pytest.mark.parametrize("sent", ["Bearer wrong", "Bearer \xe9", f"Bearer {'x' * 40_000}"])
    async def test_a_token_of_nobody_s(self, http: httpx.AsyncClient, sent: str) -> None:
        headers = [(b"authorization", sent.encode("latin-1"))]
        answer = await http.get("/pipelines", headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    @pytest.mark.parametrize("sent", ["Basic token-of-ann", "token-of-ann", "Bearer"])
    async def test_no_bearer_token(
        self, http: httpx.AsyncClient, book: RuleBook, sent: str
    ) -> None:
        book.user("ann")
        problem(await http.get("/docs/", headers={"authorization": sent}), 401, "unauthorized")
        assert not book.asked

    async def test_what_every_user_may_see(self, http: httpx.AsyncClient, book: RuleBook) -> None:
        ann = book.user("ann")
        assert (await http.get("/openapi.json", headers=ann)).status_code == 200
        problem(await http.get("/nowhere", headers=ann), 404, "not-found")
        answer = await http.patch("/pipelines", headers=ann)
        problem(answer, 405, "method-not-allowed")

    async def test_a_route_that_nobody_has_thought_of(
        self, http: httpx.AsyncClient, book: RuleBook, api: Api
    ) -> None:
        """It is closed, whatever else the caller may do."""
        api.fastapi.add_api_route("/forgotten", lambda: "secret", methods=["GET"])
        problem(await http.get("/forgotten"), 500, "internal-error")
        problem(await http.get("/forgotten", headers=book.user("ann")), 500, "internal-error")

    async def test_no_body_is_read_before(self, http: httpx.AsyncClient) -> None:
        async def body() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        headers = {"content-type": "application/json"}
        answer = await http.post("/pipelines", content=body(), headers=headers)
        problem(answer, 401, "unauthorized")


class TestWhat:
    async def test_refused_with_what_is_missing(
        self, http: httpx.AsyncClient, book: RuleBook
    ) -> None:
        ann = book.user("ann", on(Verb.LIST, "pipelines"))
        assert (await http.get("/pipelines", headers=ann)).status_code == 200
        found = problem(await http.post("/pipelines", headers=ann, json={}), 403, "forbidden")
        assert found["detail"] == "ann may not create pipelines.xaas.dev in the namespace 'home'"
        query = {"namespace": "away"}
        found = problem(await http.get("/pipelines", headers=ann, params=query), 403, "forbidden")
        assert found["detail"] == "ann may not list pipelines.xaas.dev in the namespace 'away'"
        found = problem(await http.get("/metrics", headers=ann), 403, "forbidden")
        assert found["detail"] == "ann may not get /metrics"
        path = "/pipelineruns/x/tasks/a/do/logs"
        found = problem(await http.get(path, headers=ann), 403, "forbidden")
        assert found["detail"] == "ann may not get pods/log in the namespace 'home'"

    async def test_the_namespace_that_is_named(
        self, http: httpx.AsyncClient, book: RuleBook
    ) -> None:
        ann = book.user("ann", on(Verb.LIST, "pipelines", namespace="away"))
        query = {"namespace": "away"}
        assert (await http.get("/pipelines", headers=ann, params=query)).status_code == 200
        problem(await http.get("/pipelines", headers=ann), 403, "forbidden")

    @pytest.mark.parametrize(
        "query",
        [
            "namespace=home&namespace=away",  # which one would the route take?
            "namespace=",  # to the cluster this would mean all namespaces
            "namespace=a/b",
            "namespace=HOME",
            "namespace=home%0a",
            f"namespace={'a' * 64}",
        ],
    )
    async def test_no_namespace(self, http: httpx.AsyncClient, book: RuleBook, query: str) -> None:
        ann = book.user("ann", on(Verb.LIST, "pipelines"), on(Verb.LIST, "pipelines", "", ""))
        found = problem(await http.get(f"/pipelines?{query}", headers=ann), 422, "invalid-request")
        assert places(found) == ["namespace"]

    async def test_metrics(self, http: httpx.AsyncClient, book: RuleBook, api: Api) -> None:
        ann = book.user("ann", OnPath(Verb.GET, "/metrics"))
        async with api.running():
            assert "xaas_runs" in (await http.get("/metrics", headers=ann)).text

    async def test_both_of_two_needs(
        self, http: httpx.AsyncClient, book: RuleBook, store: NamedStore
    ) -> None:
        uid, _ = await new_run(store)
        path = f"/pipelineruns/{uid}/tasks"
        every, one = on(Verb.LIST, "pipelinetaskruns"), on(Verb.GET, "pipelineruns")
        found = problem(await http.get(path, headers=book.user("a", every)), 403, "forbidden")
        assert "get pipelineruns" in found["detail"]
        found = problem(await http.get(path, headers=book.user("b", one)), 403, "forbidden")
        assert "list pipelinetaskruns" in found["detail"]
        assert (await http.get(path, headers=book.user("c", every, one))).status_code == 200


class TestNames:
    """Permissions on some objects only: Roles with resourceNames."""

    async def test_a_run(self, http: httpx.AsyncClient, book: RuleBook, store: NamedStore) -> None:
        mine, name = await new_run(store)
        other, _ = await new_run(store)
        ann = book.user("ann", on(Verb.PATCH, "pipelineruns", name))
        answer = await http.patch(f"/pipelineruns/{mine}", headers=ann, json={"suspend": True})
        assert answer.status_code == 202
        answers = [
            await http.patch(f"/pipelineruns/{uid}", headers=ann, json={"suspend": True})
            for uid in (other, "00000000-0000-0000-0000-000000000000", "%2F")
        ]
        for answer in answers:
            problem(answer, 403, "forbidden")
        # Nothing tells a run of others from one that isn't there.
        assert len({answer.text for answer in answers}) == 1

    async def test_a_run_of_another_namespace(
        self, http: httpx.AsyncClient, book: RuleBook, store: NamedStore
    ) -> None:
        away, name = await new_run(store, "away")
        ann = book.user("ann", on(Verb.GET, "pipelineruns", name))
        problem(await http.get(f"/pipelineruns/{away}", headers=ann), 403, "forbidden")
        bob = book.user("bob", on(Verb.GET, "pipelineruns"))
        problem(await http.get(f"/pipelineruns/{away}", headers=bob), 404, "not-found")

    async def test_a_definition(
        self, http: httpx.AsyncClient, book: RuleBook, store: NamedStore
    ) -> None:
        spec = PipelineTaskSpec.model_validate(TASK)
        made = await store.create_definition(Kind.TASK, HOME, spec, None)
        assert made.meta.resource_name not in (None, "t")
        named = on(Verb.DELETE, "pipelinetasks", str(made.meta.resource_name))
        ann, bob = book.user("ann", named), book.user("bob", on(Verb.DELETE, "pipelinetasks", "t"))
        problem(await http.delete("/pipelinetasks/t", headers=bob), 403, "forbidden")
        assert (await http.delete("/pipelinetasks/t", headers=ann)).status_code == 204
        problem(await http.delete("/pipelinetasks/t", headers=ann), 403, "forbidden")
        eve = book.user("eve", on(Verb.DELETE, "pipelinetasks"))
        problem(await http.delete("/pipelinetasks/t", headers=eve), 404, "not-found")


class TestRemembered:
    async def test_a_yes(self, http: httpx.AsyncClient, book: RuleBook, time: Time) -> None:
        act = on(Verb.LIST, "pipelines")
        ann = book.user("ann", act)
        for _ in range(3):
            assert (await http.get("/pipelines", headers=ann)).status_code == 200
        assert dict(book.asked) == {"token-of-ann": 1, ("ann", act): 1}
        book.grants.clear()
        time.now += KEEP_ALLOWED
        problem(await http.get("/pipelines", headers=ann), 403, "forbidden")
        assert dict(book.asked) == {"token-of-ann": 2, ("ann", act): 2}

    async def test_a_no(self, http: httpx.AsyncClient, book: RuleBook, time: Time) -> None:
        headers = {"authorization": "Bearer token-of-ann"}
        for _ in range(3):
            problem(await http.get("/pipelines", headers=headers), 401, "unauthorized")
        assert dict(book.asked) == {"token-of-ann": 1}
        act = on(Verb.LIST, "pipelines")
        book.user("ann")
        time.now += KEEP_REFUSED
        for _ in range(3):
            problem(await http.get("/pipelines", headers=headers), 403, "forbidden")
        assert book.asked["ann", act] == 1
        book.user("ann", act)
        time.now += KEEP_REFUSED
        assert (await http.get("/pipelines", headers=headers)).status_code == 200

    async def test_an_answer_is_of_one_user(self, http: httpx.AsyncClient, book: RuleBook) -> None:
        ann, bob = book.user("ann", on(Verb.LIST, "pipelines")), book.user("bob")
        assert (await http.get("/pipelines", headers=ann)).status_code == 200
        problem(await http.get("/pipelines", headers=bob), 403, "forbidden")

    async def test_the_cluster_is_away(
        self, http: httpx.AsyncClient, book: RuleBook, time: Time
    ) -> None:
        ann = book.user("ann", on(Verb.LIST, "pipelines"))
        book.is_away = True
        answer = await http.get("/pipelines", headers=ann)
        found = problem(answer, 503, "unavailable")
        assert found["detail"] == "the API server doesn't answer"
        assert answer.headers["retry-after"] == "1"
        book.is_away = False
        assert (await http.get("/pipelines", headers=ann)).status_code == 200
        book.is_away = True
        assert (await http.get("/pipelines", headers=ann)).status_code == 200
        time.now += KEEP_ALLOWED
        problem(await http.get("/pipelines", headers=ann), 503, "unavailable")


class TestStreams:
    @pytest.fixture
    async def url(self, api: Api) -> AsyncIterator[str]:
        async with served(api) as url:
            yield url

    async def test_events_end_with_the_permission(
        self, url: str, book: RuleBook, time: Time
    ) -> None:
        act = on(Verb.WATCH, "pipelineruns")
        ann = book.user("ann", act)
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False) as http,
            asyncio.timeout(PATIENCE),
            http.stream("GET", "/events", headers=ann) as answer,
        ):
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("retry: ")
            time.now += KEEP_ALLOWED
            book.is_away = True  # that nobody can be asked withdraws nothing
            await book.until_asked("token-of-ann", 3)
            book.is_away = False
            book.grants.remove(("ann", act))
            assert [line async for line in lines if line.startswith("data")] == []
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            problem(await http.get("/events", headers=ann), 403, "forbidden")

    async def test_a_web_socket(self, url: str, book: RuleBook, time: Time) -> None:
        address = url.replace("http", "ws") + "/events"
        act = on(Verb.WATCH, "pipelineruns")
        ann, bob = book.user("ann", act), book.user("bob")
        for headers, status in (({}, 401), (bob, 403)):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(address, additional_headers=headers, proxy=None):
                    pass
            assert refused.value.response.status_code == status
        async with (
            asyncio.timeout(PATIENCE),
            connect(address, additional_headers=ann, proxy=None) as socket,
        ):
            book.tokens.clear()
            time.now += KEEP_ALLOWED
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1008

    async def test_a_stream_that_ends_by_itself(self, url: str, book: RuleBook, api: Api) -> None:
        ann = book.user("ann", on(Verb.WATCH, "pipelineruns"))
        async with (
            httpx.AsyncClient(base_url=url, trust_env=False) as http,
            asyncio.timeout(PATIENCE),
            http.stream("GET", "/events", headers=ann) as answer,
        ):
            lines = answer.aiter_lines()
            await anext(lines)
            api.stop_streams()
            assert [line async for line in lines if line.startswith("data")] == []
