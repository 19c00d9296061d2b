"""`GET /events`: nothing is lost, whatever happens to the connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import httpx
import pytest
from tests.api.kit.client import HANGS, Client, Json, places, problem
from tests.api.kit.served import served
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from xaas_api import events as feed
from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.embedded import EmbeddedServer, Settings
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.engine.history import Change
from xaas_core.engine.states import RunState
from xaas_core.models.objects import RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Evaluator, Logs, Writes
from xaas_core.testing.builders import run_spec
from xaas_core.testing.clock import VirtualClock
from xaas_core.testing.memory_store import MemoryStore

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with a server

PATIENCE = 10.0


class Stream:
    """Server-sent events as they come."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.cursor = ""

    async def block(self) -> dict[str, str]:
        """The fields up to the next empty line."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if not line:
                    self.cursor = fields.get("id", self.cursor)
                    return fields
                name, _, value = line.partition(": ")
                fields[name] = value
        raise EOFError

    async def message(self) -> Json:
        """The next message."""
        while True:
            block = await self.block()
            if "data" in block:
                found: Json = json.loads(block["data"])
                assert block["event"] == found["event"]
                return found

    async def until(self, status: str) -> list[Json]:
        """The messages up to the one in which a run gets `status`."""
        found = []
        while True:
            found.append(await self.message())
            if found[-1]["event"] == "Pipeline" and found[-1]["content"]["status"] == status:
                return found


@asynccontextmanager
async def events(
    client: Client, headers: dict[str, str] | None = None, **query: str
) -> AsyncIterator[Stream]:
    async with client.http.stream("GET", "/events", params=query, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        stream = Stream(answer.aiter_lines())
        first = await stream.block()
        assert set(first) == {"retry", "id"}
        yield stream


def brief(message: Json) -> tuple[Any, ...]:
    content = message["content"]
    if message["event"] == "Pipeline":
        return (content["status"],)
    return (content["ref"], content["process_type"], content["status"])


FAILING = [
    ("processing",),
    ("a", "do", "running"),
    ("a", "do", "succeeded"),
    ("b", "do", "running"),
    ("b", "do", "failed"),
    ("aborted",),
    ("cancelling",),
    ("b", "undo", "skipped"),
    ("a", "undo", "running"),
    ("a", "undo", "succeeded"),
    ("cancelled",),
]


async def failing(client: Client) -> str:
    good = await client.task("params['n'] = 1", "del params['n']")
    bad = await client.task("raise ValueError('no')")
    return await client.pipeline(a=(good, []), b=(bad, ["a"]))


async def test_every_change_in_order(client: Client) -> None:
    pipeline = await failing(client)
    async with events(client) as stream:
        run = await client.run(pipeline)
        found = [m for m in await stream.until("cancelled") if run["instance_id"] in str(m)]
    assert [brief(message) for message in found] == FAILING
    assert [message["sequence"] for message in found] == list(range(1, len(FAILING) + 1))
    assert len({message["id"] for message in found}) == len(FAILING)
    tasks = await client.tasks(run)
    assert found[0].keys() == {"event", "content", "id", "time", "sequence"}
    assert found[0]["content"] == {
        "instance_id": run["instance_id"],
        "name": pipeline,
        "status": "processing",
    }
    undo = tasks["a", "undo"]
    assert found[8]["content"] == {
        "instance_id": undo["instance_id"],
        "process_type": "undo",
        "ref": "a",
        "name": undo["name"],
        "owner_id": run["instance_id"],
        "runner_id": undo["runner_id"],
        "status": "running",
    }
    assert found[7]["content"]["runner_id"] is None


@pytest.mark.parametrize("by_header", [True, False])
async def test_goes_on_after_any_event(client: Client, by_header: bool) -> None:
    pipeline = await failing(client)
    cursors: list[str] = []
    messages: list[Json] = []
    async with events(client) as stream:
        run = await client.run(pipeline)
        while not messages or brief(messages[-1]) != ("cancelled",):
            messages.append(await stream.message())
            cursors.append(stream.cursor)
    only = {"instance_id": run["instance_id"]}
    for seen, cursor in enumerate(cursors[:-1], start=1):
        headers = {"Last-Event-ID": cursor} if by_header else {}
        query = only if by_header else only | {"after": cursor}
        async with events(client, headers, **query) as stream:
            assert await stream.until("cancelled") == messages[seen:]


async def test_from_the_first_change_on(client: Client) -> None:
    run = await client.run(await failing(client))
    await client.until(run, "cancelled")
    async with events(client, after="", instance_id=run["instance_id"]) as stream:
        assert [brief(m) for m in await stream.until("cancelled")] == FAILING


async def test_only_what_comes_from_now_on(client: Client) -> None:
    before = await client.run(await client.single())
    await client.until(before, "complete")
    async with events(client) as stream:
        run = await client.run(await client.single())
        found = await stream.until("complete")
    assert {m["content"].get("owner_id", m["content"]["instance_id"]) for m in found} == {
        run["instance_id"]
    }


async def test_of_one_run_only(client: Client) -> None:
    pipeline = await client.single()
    first = await client.run(pipeline, start=False)
    async with events(client, instance_id=first["instance_id"]) as stream:
        await client.until(await client.run(pipeline), "complete")
        await client.http.patch(f"/pipelineruns/{first['instance_id']}", json={"operation": "run"})
        found = await stream.until("complete")
    assert found[0]["content"]["instance_id"] == first["instance_id"]


async def test_the_start_of_a_quiet_stream_is_a_cursor(client: Client) -> None:
    """A client whose connection breaks before the first event loses nothing."""
    async with events(client) as stream:
        cursor = stream.cursor
    run = await client.run(await client.single())
    await client.until(run, "complete")
    headers = {"Last-Event-ID": cursor}
    async with events(client, headers, instance_id=run["instance_id"]) as stream:
        assert brief(await stream.message()) == ("processing",)


async def test_a_removed_run_s_events_are_dropped(client: Client) -> None:
    async with events(client) as stream:
        cursor = stream.cursor
    removed = await client.run(await client.single())
    await client.until(removed, "complete")
    await client.http.delete(f"/pipelineruns/{removed['instance_id']}")
    kept = await client.run(await client.single())
    async with events(client, {"Last-Event-ID": cursor}) as stream:
        found = await stream.until("complete")
    assert removed["instance_id"] not in str(found)
    assert kept["instance_id"] in str(found)


async def test_another_namespace_is_silent(client: Client) -> None:
    async with events(client, namespace="elsewhere") as stream:
        cursor = stream.cursor
        await client.until(await client.run(await client.single()), "complete")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stream.message()
    assert stream.cursor == cursor


async def test_others_changes_carry_a_filtered_stream_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It isn't silent for long, and doesn't fall back to where it began."""
    monkeypatch.setattr(feed, "HEARTBEAT", 0.05)
    async with events(client, instance_id="none") as stream:
        before = stream.cursor
        for _ in range(3):
            await client.until(await client.run(await client.single()), "complete")
            await asyncio.sleep(0.06)
        assert set(await stream.block()) == {"", "id"}
        while stream.cursor == before:
            await stream.block()
    async with events(client, {"Last-Event-ID": stream.cursor}) as again:
        told = []
        with suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while True:
                    told.append(await again.message())
    assert len(told) < 9


async def test_a_hidden_run_is_told_only_to_those_who_ask(client: Client) -> None:
    """A script's run of a single task isn't listed, and its events aren't everybody's."""
    inner = await client.task("params['n'] = 1")
    outer = f"""
runner = await SDKRunner.load()
params['id'] = await getattr(runner, {inner!r})()
await runner.waitfor()
"""
    async with events(client) as stream:
        run = await client.run(await client.single(outer))
        shown = await stream.until("complete")
    hidden = (await client.tasks(run))["a", "do"]["delta"][0]["value"]
    assert hidden not in str(shown)
    async with events(client, after="", instance_id=hidden) as stream:
        assert brief((await stream.until("complete"))[0]) == ("processing",)


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ({"after": "made up"}, "after"),
        ({"instance": "x"}, "instance"),
        ({"namespace": "X"}, "namespace"),
    ],
)
async def test_a_wrong_query(
    client: Client, server: EmbeddedServer, query: dict[str, str], place: str
) -> None:
    answer = await client.http.get("/events", params=query)
    assert places(problem(answer, 422, "invalid-request")) == [place]
    url = httpx.URL(server.url.replace("http", "ws") + "/events", params=query)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(str(url), proxy=None):
            pass
    assert refused.value.response.status_code == 422
    assert json.loads(refused.value.response.body)["errors"][0]["place"] == place


class TestWebSocket:
    def open(self, server: EmbeddedServer, **query: str) -> connect:
        url = httpx.URL(server.url.replace("http", "ws") + "/events", params=query)
        return connect(str(url), proxy=None)

    async def until(self, socket: ClientConnection, status: str) -> list[Json]:
        found: list[Json] = []
        async with asyncio.timeout(PATIENCE):
            while not found or brief(found[-1]) != (status,):
                found.append(json.loads(await socket.recv()))
        return found

    async def test_the_same_messages_and_resumption(
        self, client: Client, server: EmbeddedServer
    ) -> None:
        pipeline = await failing(client)
        async with self.open(server) as socket:
            run = await client.run(pipeline)
            found = await self.until(socket, "cancelled")
        assert [brief(message) for message in found] == FAILING
        only = {"instance_id": run["instance_id"]}
        async with events(client, after="", **only) as stream:
            plain = await stream.until("cancelled")
        assert plain == [{k: v for k, v in m.items() if k != "cursor"} for m in found]
        async with self.open(server, after=found[3]["cursor"], **only) as socket:
            assert await self.until(socket, "cancelled") == found[4:]

    async def test_a_header_says_where_to_go_on_too(
        self, client: Client, server: EmbeddedServer
    ) -> None:
        run = await client.run(await failing(client))
        await client.until(run, "cancelled")
        only = {"instance_id": run["instance_id"]}
        async with self.open(server, after="", **only) as socket:
            found = await self.until(socket, "cancelled")
        headers = {"Last-Event-ID": found[3]["cursor"]}
        url = httpx.URL(server.url.replace("http", "ws") + "/events", params=only)
        async with connect(str(url), proxy=None, additional_headers=headers) as socket:
            assert await self.until(socket, "cancelled") == found[4:]
        wrong = {"Last-Event-ID": "made up"}
        with pytest.raises(InvalidStatus) as refused:
            async with connect(str(url), proxy=None, additional_headers=wrong):
                pass
        assert json.loads(refused.value.response.body)["errors"][0]["place"] == "Last-Event-ID"

    async def test_what_a_client_says_is_of_no_interest(
        self, client: Client, server: EmbeddedServer
    ) -> None:
        async with self.open(server) as socket:
            await socket.send("hello")
            await socket.send(b"bytes")
            await client.run(await client.single())
            assert brief((await self.until(socket, "complete"))[0]) == ("processing",)


async def test_a_slow_client_holds_nothing_up(client: Client) -> None:
    """It reads nothing; others get theirs, and its own comes when it reads at last."""
    async with client.http.stream("GET", "/events") as answer:
        runs = [await client.run(await client.single()) for _ in range(5)]
        for run in runs:
            await client.until(run, "complete")
        stream = Stream(answer.aiter_lines())
        for _ in runs:
            await stream.until("complete")


async def test_streams_end_with_the_server(tmp_path: Any) -> None:
    async with EmbeddedServer(Settings(tmp_path / "data", port=0)) as server:
        http = httpx.AsyncClient(base_url=server.url, trust_env=False)
        talker = Client(http, lambda: "only")
        task = await talker.task(HANGS)
        body = {
            "category": "c",
            "name": "p",
            "tasks": [{"ref": "a", "name": task, "dependsOn": []}],
        }
        await http.post("/pipelines", json=body)
        run = await talker.run("p")
        log = f"/pipelineruns/{run['instance_id']}/tasks/a/do/logs?follow=true"
        streams = [
            asyncio.create_task(http.get(path, timeout=PATIENCE)) for path in ("/events", log)
        ]
        socket = await connect(server.url.replace("http", "ws") + "/events", proxy=None)
        await asyncio.sleep(0.1)
        await talker.forget_runs()
    for ended in await asyncio.gather(*streams):
        assert ended.status_code == 200
    await socket.wait_closed()
    assert socket.close_code == 1001
    await http.aclose()


class ForgetfulStore(MemoryStore):
    """Goes on from the beginning, as a replica does that doesn't know a cursor of another's."""

    async def resume(self, cursor: str) -> str:
        """See `ports.Store`."""
        await super().resume(cursor)
        return "0"


async def test_a_place_of_another_replica(new_name: Callable[[], str]) -> None:
    """What comes again is no loss; the client's own place stays where it is until something comes."""
    store = ForgetfulStore(VirtualClock())
    run = await store.create_run("default", run_spec("p"), Target.PIPELINE, None, None)
    changes = [Change(RunState.PROCESSING, 5), Change(RunState.COMPLETE, 6)]
    status = RunStatus(Summary(RunState.COMPLETE), planned=True)
    await store.commit(Writes(run, status=status, changes=changes))
    services = Services(store, Admission(store, cast(Evaluator, None)), cast(Logs, None))
    async with (
        served(create_app(services, Access())) as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
    ):
        client = Client(http, new_name)
        async with client.http.stream("GET", "/events", params={"after": "2"}) as answer:
            stream = Stream(answer.aiter_lines())
            assert (await stream.block())["id"] == "2"
            assert [brief(message) for message in await stream.until("complete")] == [
                ("processing",),
                ("complete",),
            ]
            assert stream.cursor == "2"
