"""The embedded server as users start it: runs, ends by any signal, and goes on afterwards."""

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.api.kit.client import Client, Json
from tests.api.kit.process import ServerProcess, embedded_process, server_process

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]


@asynccontextmanager
async def client_of(server: ServerProcess) -> AsyncIterator[Client]:
    names = iter(f"thing-{server.process.pid}-{number}" for number in range(100))
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as http:
        yield Client(http, lambda: next(names))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def test_runs_fails_and_rolls_back(data: Path) -> None:
    with server_process(data) as server:
        async with client_of(server) as client:
            good = await client.task("params['made'] = 1", "params['undone'] = True")
            bad = await client.task("raise ValueError('no')", "pass")
            run = await client.run(await client.pipeline(a=(good, []), b=(bad, ["a"])))
            await client.until(run, "cancelled")
            tasks = await client.tasks(run)
            assert [tasks[key]["status"] for key in (("a", "do"), ("b", "do"))] == [
                "succeeded",
                "failed",
            ]
            a, b = tasks["a", "undo"], tasks["b", "undo"]
            assert a["status"] == b["status"] == "succeeded"
            assert b["finished_at"] <= a["started_at"]
            assert (await client.run(await client.single("pass")))["status"] == "processing"
        assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_step_outlives_the_server(data: Path, number: signal.Signals) -> None:
    """It runs on, reports to the next server, and nothing runs twice."""
    with server_process(data) as server:
        async with client_of(server) as client:
            slow = await client.task("print('once')\nawait asyncio.sleep(1.5)\nparams['n'] = 1")
            after = await client.task("params['m'] = params['n'] + 1")
            run = await client.run(await client.pipeline(a=(slow, []), b=(after, ["a"])))
            await until_running(client, run)
        code = server.end(number)
        assert code == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
    with server_process(data) as server:
        async with client_of(server) as client:
            await client.until(run, "complete")
            tasks = await client.tasks(run)
            assert [a["status"] for a in tasks["a", "do"]["attempts"]] == ["succeeded"]
            assert tasks["b", "do"]["delta"] == [{"op": "set", "path": ["m"], "value": 2}]
            log = await client.http.get(f"/pipelineruns/{run['instance_id']}/tasks/a/do/logs")
            assert log.text.count("once") == 1


async def until_running(client: Client, run: Json) -> None:
    """Until the step of task `a` has printed its line: its script is under way."""
    path = f"/pipelineruns/{run['instance_id']}/tasks/a/do/logs"
    async with client.http.stream("GET", path, params={"follow": "true"}) as answer:
        async for line in answer.aiter_lines():
            if "once" in line:
                return
    raise AssertionError("the step didn't run")


async def test_events_go_on_after_a_kill(data: Path) -> None:
    with server_process(data) as server:
        async with client_of(server) as client:
            run = await client.run(await client.single())
            await client.until(run, "complete")
            events = await events_of(client, run, "")
            server.end(signal.SIGKILL)
    with server_process(data) as server:
        async with client_of(server) as client:
            assert await events_of(client, run, events[0][0]) == events[1:]


async def events_of(client: Client, run: Json, after: str) -> list[tuple[str, str]]:
    """Pairs of cursor and message up to `complete`."""
    found: list[tuple[str, str]] = []
    cursor = ""
    params = {"instance_id": run["instance_id"], "after": after}
    async with client.http.stream("GET", "/events", params=params) as answer:
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                cursor = value
            elif name == "data":
                found.append((cursor, value))
                if '"status":"complete"' in value:
                    return found
    raise AssertionError("the stream ended")


class TestWontStart:
    def said_by(self, data: Path, *arguments: str) -> str:
        server = embedded_process(data, data.parent / "failed.log", *arguments)
        assert server.process.wait(30) == 1
        assert "Traceback" not in server.said
        return server.said

    def test_the_data_directory_is_in_use(self, data: Path) -> None:
        with server_process(data) as server:
            said = self.said_by(data, "--port", "0")
            assert str(server.process.pid) in said
            assert str(data) in said

    def test_the_port_is_taken(self, data: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert f"port {port} of 127.0.0.1 is taken" in self.said_by(data, "--port", port)

    def test_an_open_address_without_a_token(self, data: Path) -> None:
        assert "--token-file" in self.said_by(data, "--host", "0.0.0.0", "--port", "0")

    def test_no_such_address(self, data: Path) -> None:
        host = "no-such-host.invalid"
        (data.parent / "token").write_text("a-long-enough-token")
        token = str(data.parent / "token")
        said = self.said_by(data, "--host", host, "--token-file", token)
        assert host in said
