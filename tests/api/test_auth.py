"""Who may call: Host and Origin on loopback, the token everywhere else."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import Headers
from tests.api.kit.client import problem
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from xaas_api.auth import Access, AccessError, access_for, is_loopback, read_token
from xaas_api.embedded import EmbeddedServer, Settings
from xaas_core.serving import StartError

TOKEN = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    ("host", "origin", "allowed"),
    [
        ("127.0.0.1:8080", None, True),
        ("localhost:8080", None, True),
        ("LOCALHOST", None, True),
        ("[::1]:8080", None, True),
        ("127.8.9.10", None, True),
        ("localhost:8080", "http://localhost:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("example.com", None, False),
        ("example.com:8080", "http://example.com:8080", False),
        ("localhost.example.com", None, False),
        ("127.0.0.1.example.com", None, False),
        ("192.0.2.1:8080", None, False),
        ("0.0.0.0:8080", None, False),
        ("127.0.0.1:8080@example.com", None, False),
        ("", None, False),
        ("localhost:8080", "http://example.com", False),
        ("localhost:8080", "http://localhost:3000", False),
        ("localhost:8080", "http://127.0.0.1:8080", False),
        ("localhost:8080", "null", False),
        ("localhost:8080", "", False),
        ("localhost:8080", "http://localhost:8080/x", False),
    ],
)
def test_loopback(host: str, origin: str | None, allowed: bool) -> None:
    sent = {"host": host} | ({"origin": origin} if origin is not None else {})
    refused = Access().refuse("/healthz", Headers(sent))
    assert (refused is None) is allowed


def test_two_hosts_are_none() -> None:
    raw = [(b"host", b"localhost"), (b"host", b"localhost")]
    assert Access().refuse("/", Headers(raw=raw)) is not None
    assert Access().refuse("/", Headers(raw=raw[:1])) is None


@pytest.mark.parametrize(
    ("path", "authorization", "allowed"),
    [
        ("/pipelines", f"Bearer {TOKEN}", True),
        ("/pipelines", f"bearer {TOKEN}", True),
        ("/pipelines", f"Bearer {TOKEN}x", False),
        ("/pipelines", f"Bearer {TOKEN[:-1]}", False),
        ("/pipelines", f"Basic {TOKEN}", False),
        ("/pipelines", TOKEN, False),
        ("/pipelines", "Bearer", False),
        ("/pipelines", "Bearer \xe9", False),
        ("/pipelines", None, False),
        ("/docs", None, False),
        ("/metrics", None, False),
        ("/openapi.json", None, False),
        ("/healthz", None, True),
        ("/readyz", None, True),
    ],
)
def test_token(path: str, authorization: str | None, allowed: bool) -> None:
    sent = {"host": "example.com", "origin": "http://elsewhere"}
    if authorization is not None:
        sent["authorization"] = authorization
    assert (Access(TOKEN).refuse(path, Headers(sent)) is None) is allowed


class TestStart:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
    def test_loopback_needs_no_token(self, host: str) -> None:
        assert access_for(host, None).token is None

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
    def test_any_other_address_needs_one(self, host: str, tmp_path: Path) -> None:
        with pytest.raises(AccessError, match="--token-file"):
            access_for(host, None)
        file = tmp_path / "token"
        file.write_text(f"{TOKEN}\n")
        assert access_for(host, file).token == TOKEN

    @pytest.mark.parametrize("content", [b"", b"\n", b"two words", "tökén".encode(), b"\xff\xfe"])
    def test_a_useless_token_file(self, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_bytes(content)
        with pytest.raises(AccessError, match="token"):
            read_token(file)

    def test_a_token_file_that_isn_t_there(self, tmp_path: Path) -> None:
        with pytest.raises(AccessError, match="can't be read"):
            read_token(tmp_path / "token")

    def test_a_token_file_that_others_write(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        file.write_text(TOKEN)
        file.chmod(0o666)
        with pytest.raises(AccessError, match="chmod"):
            read_token(file)

    def test_a_short_token_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        file = tmp_path / "token"
        file.write_text("short")
        with caplog.at_level(logging.WARNING):
            assert read_token(file) == "short"
        assert "5 characters" in caplog.text

    def test_loopback_names(self) -> None:
        assert is_loopback("LocalHost")
        assert not is_loopback("localhost.")

    @pytest.mark.anyio
    async def test_the_server_doesn_t_start_with_an_open_door(self, tmp_path: Path) -> None:
        with pytest.raises(StartError, match="other machines"):
            async with EmbeddedServer(Settings(tmp_path / "data", host="0.0.0.0", port=0)):
                pass
        assert not (tmp_path / "data").exists()


@pytest.mark.anyio
class TestOnLoopback:
    async def test_http(self, http: httpx.AsyncClient) -> None:
        own = str(http.base_url).rstrip("/")
        assert (await http.get("/pipelines", headers={"Origin": own})).status_code == 200
        for headers in ({"Host": "example.com"}, {"Origin": "http://example.com"}):
            found = problem(await http.get("/pipelines", headers=headers), 403, "forbidden")
            assert "example.com" in found["detail"]
            problem(await http.get("/healthz", headers=headers), 403, "forbidden")

    async def test_no_cors(self, http: httpx.AsyncClient) -> None:
        asked = {"Origin": "http://example.com", "Access-Control-Request-Method": "POST"}
        answer = await http.options("/pipelines", headers=asked)
        problem(answer, 403, "forbidden")
        assert not [name for name in answer.headers if name.startswith("access-control")]

    async def test_web_socket(self, server: EmbeddedServer) -> None:
        url = server.url.replace("http", "ws") + "/events"
        async with connect(url, origin=Origin(server.url), proxy=None):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url, origin=Origin("http://example.com"), proxy=None):
                pass
        assert refused.value.response.status_code == 403


@pytest.mark.anyio
class TestWithToken:
    @pytest.fixture
    async def guarded(self, tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
        file = tmp_path / "token"
        file.write_text(TOKEN)
        settings = Settings(tmp_path / "data", host="0.0.0.0", port=0, token_file=file)
        async with EmbeddedServer(settings) as server:
            yield server

    async def test_everywhere(self, guarded: EmbeddedServer) -> None:
        url = guarded.url.replace("0.0.0.0", "127.0.0.1")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            answer = await http.get("/pipelines")
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
            problem(await http.get("/nowhere"), 401, "unauthorized")
            assert (await http.get("/pipelines", headers=headers)).status_code == 200
            assert (await http.get("/readyz")).status_code == 200
        socket = url.replace("http", "ws") + "/events"
        with pytest.raises(InvalidStatus) as refused:
            async with connect(socket, proxy=None):
                pass
        assert refused.value.response.status_code == 401
        async with connect(socket, additional_headers=headers, proxy=None):
            pass
