"""`callout`, against a server on this machine."""

import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner.callout import MAX_BODY_BYTES

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Steps

ECHO = "params['r'] = [r.code, r.json()]"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    barrier = threading.Barrier(3, timeout=5)

    def _serve(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        name = self.path.partition("?")[0].strip("/").split("/")[0]
        act = getattr(self, f"_{name}", None)
        if act is None:
            self._echo(body)
        else:
            act()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _reply(self, code: int, data: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _echo(self, body: bytes) -> None:
        told = {"method": self.command, "path": self.path, "body": body.decode("latin-1")}
        told["type"] = self.headers.get("content-type", "")
        told["auth"] = self.headers.get("authorization", "")
        self._reply(200, json.dumps(told).encode(), X_Test="yes")

    def _error(self) -> None:
        self._reply(418, b"teapot")

    def _bytes(self) -> None:
        self._reply(200, b"\xff\xfeok")

    def _together(self) -> None:
        self.barrier.wait()
        self._reply(200, self.path.encode())

    def _slow(self) -> None:
        time.sleep(2)
        self._reply(200, b"late")

    def _drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        try:
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    def _short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"x")
        self.close_connection = True

    def _huge(self) -> None:
        self._reply(200, b"x" * (MAX_BODY_BYTES + 1))

    def _redirect(self) -> None:
        _, _, code, target = self.path.split("/", 3)
        self._reply(int(code), b"", Location=f"/{target}")

    def _loop(self) -> None:
        self._reply(302, b"", Location="/loop")

    def _elsewhere(self) -> None:
        port = self.connection.getsockname()[1]
        self._reply(307, b"", Location=f"http://localhost:{port}/there")

    def _file(self) -> None:
        self._reply(302, b"", Location="file:///etc/passwd")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that go away are part of the tests


def start(server: Server) -> None:
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    start(server)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def https_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    pem: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-keyout", pem, "-out", f"{pem}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}.crt", pem)
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    start(server)
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(steps: "Steps", script: str, url: str) -> Any:
    finish = steps.run(script, {"url": url})
    assert finish["error"] is None, finish["error"]
    return {op["path"][0]: op["value"] for op in finish["delta"] if op["op"] == "set"}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("callout(url=params['url'] + '/x?a=b c&d=é#frag')",
         {"method": "GET", "path": "/x?a=b%20c&d=%C3%A9", "body": "", "type": ""}),
        ("callout(params['url'])", {"path": "/"}),
        ("callout(params['url'] + '/a%20b', method='delete')",
         {"method": "DELETE", "path": "/a%20b"}),
        ("callout(params['url'], 'POST', {'a': [1, 'é']})",
         {"method": "POST", "body": '{"a": [1, "\\u00e9"]}', "type": "application/json"}),
        ("callout(params['url'], 'POST', [])", {"body": "[]", "type": "application/json"}),
        ("callout(params['url'], 'PUT', 'text', {'Content-Type': 'text/csv', 'Authorization': 5})",
         {"body": "text", "type": "text/csv", "auth": "5"}),
        ("callout(params['url'], method='PATCH', body=b'raw')", {"body": "raw", "type": ""}),
        ("callout(params['url'] + '/redirect/302/x', 'POST', {'a': 1})",
         {"method": "GET", "path": "/x", "body": "", "type": ""}),
        ("callout(params['url'] + '/redirect/308/x', 'POST', {'a': 1})",
         {"method": "POST", "path": "/x", "body": '{"a": 1}'}),
        ("callout(params['url'] + '/redirect/307/x', headers={'authorization': 'k'})",
         {"auth": "k"}),
        ("callout(params['url'] + '/elsewhere', headers={'authorization': 'k'})",
         {"path": "/there", "auth": ""}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("awaits", [False, True])
def test_requests(steps: "Steps", url: str, call: str, told: dict[str, str], awaits: bool) -> None:
    script = f"r = {'await ' if awaits else ''}{call}\n{ECHO}"
    code, echo = run(steps, script, url)["r"]
    assert code == 200
    assert {name: echo[name] for name in told} == told


TWO_FACED = """\
import enum
said = []
class Word(str, enum.Enum):
    GET = 'GET'
    NAME = 'x-name'
    VALUE = 'value'
    def upper(self):
        return self
    lower = upper
    def __str__(self):
        said.append(self.name)
        return self if len(said) < 4 else 'SET key value\\r\\nGET'
    def encode(self, *args):
        return b'raw'
r = {call}callout(url=params['url'], method=Word.GET, body=Word.VALUE, headers={{Word.NAME: Word.VALUE}})
params['r'] = [r.code, r.json(), len(said)]
"""


@pytest.mark.parametrize("call", ["", "await "])
def test_a_request_says_what_was_checked(steps: "Steps", url: str, call: str) -> None:
    """Whatever a class of the script's would have it say later."""
    code, echo, said = run(steps, TWO_FACED.format(call=call), url)["r"]
    assert (code, echo["method"], echo["body"], said) == (200, "GET", "value", 3)


def test_a_response(steps: "Steps", url: str) -> None:
    script = """
r = callout(url=params['url'])
params['header'] = r.headers['x-test']
params['bytes'] = callout(url=params['url'] + '/bytes').body
e = callout(url=params['url'] + '/error')
params['error'] = [e.code, e.body]
try:
    e.json()
except Error as error:
    params['json'] = [error.code, error.reason[:32]]
"""
    assert run(steps, script, url) == {
        "header": "yes",
        "bytes": "\ufffd\ufffdok",
        "error": [418, "teapot"],
        "json": [418, "the response's body isn't JSON: "],
    }


def test_several_at_once(steps: "Steps", url: str) -> None:
    """Each is answered only when three of them have arrived."""
    script = """
import asyncio
calls = [callout(url=params['url'] + '/together/' + str(i)) for i in range(3)]
params['gather'] = [r.body for r in await asyncio.gather(*calls)]
"""
    assert run(steps, script, url) == {"gather": [f"/together/{i}" for i in range(3)]}


def test_as_tasks(steps: "Steps", url: str) -> None:
    script = """
first = asyncio.create_task(callout(url=params['url']), name='first')
async with asyncio.TaskGroup() as group:
    second = group.create_task(callout(url=params['url'] + '/error'))
third = await asyncio.wait_for(callout(url=params['url']), 5)
params['r'] = [(await first).code, second.result().code, third.code, first.get_name()]
try:
    asyncio.create_task(5)
except TypeError as error:
    params['refused'] = str(error)
"""
    params = run(steps, script, url)
    assert params["r"] == [200, 418, 200, "first"]
    assert "a coroutine was expected" in params["refused"]


def test_without_await_in_a_script_that_awaits(steps: "Steps", url: str) -> None:
    script = """
import asyncio
await asyncio.sleep(0)
a, b, c = [callout(url=params['url'] + '/together/' + str(i)) for i in range(3)]
params['bodies'] = [a.body, b.body, c.body]
params['more'] = [a.code, len(b.headers) > 1, (await c).code, (await c).code]
r = await asyncio.wait_for(callout(url=params['url']), 5)
params['json'] = r.json()['method']
"""
    assert run(steps, script, url) == {
        "bodies": [f"/together/{i}" for i in range(3)],
        "more": [200, True, 200, 200],
        "json": "GET",
    }


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("callout(url='ftp://x/y')", "'ftp://x/y' must be an http:// or https:// URL"),
        ("callout(url='file:///etc/passwd')", "must be an http:// or https:// URL"),
        ("callout(url='/path')", "must be an http:// or https:// URL"),
        ("callout(url='http://[x')", "is no URL"),
        ("callout(url='http://h:99999/')", "is no URL"),
        ("callout(url='http://user:pw@h/')", "a user or password in the URL"),
        ("callout(url=params['url'], body={1, 2})", "can't be sent as JSON"),
        ("callout(url=params['url'], timeout=0)", "`timeout` is a number of seconds"),
        ("callout(url=params['url'], headers={'a': 'b\\r\\nc: d'})", "Invalid header"),
        ("callout(url=params['url'], method='GET /x HTTP/1.1\\r\\n')", "is no HTTP method"),
        ("callout(url=params['url'], method='GET /x')", "is no HTTP method"),
        ("callout(url=params['url'], method='')", "is no HTTP method"),
        ("callout(url=params['url'], headers={'a b': 'c'})", "'a b' is no name of a header"),
        ("callout(url=params['url'], timeout=10 ** 400)", "`timeout` is a number of seconds"),
        ("callout(url=params['closed'])", "refused"),
        ("callout(url=params['url'] + '/slow', timeout=0.1)", "no answer within 0.1 s"),
        ("callout(url=params['url'] + '/drip', timeout=0.3)", "no answer within 0.3 s"),
        ("callout(url=params['url'] + '/short')", "closed 99 bytes before the end"),
        ("callout(url=params['url'] + '/huge')", "larger than 16 MiB"),
        ("callout(url=params['url'] + '/loop')", "more than 5 redirects"),
        ("callout(url=params['url'] + '/file')", "must be an http:// or https:// URL"),
        ("callout(url='http://no-such-host.invalid/')", "looked up over TCP here"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("awaits", [False, True])
def test_no_answer_is_an_error(
    steps: "Steps", url: str, call: str, reason: str, awaits: bool
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        params = {"url": url, "closed": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        finish = steps.run(f"{'await ' if awaits else ''}{call}", params)
    assert finish["error"]["type"] == "Error"
    assert finish["error"]["line"] == 1
    assert reason in finish["error"]["message"].replace("Method", "method")
    assert finish["error"]["message"].endswith("(code 0)")


def test_what_is_under_way_is_waited_for(steps: "Steps", url: str) -> None:
    script = """
import asyncio
callout(url=params['url'] + '/drip', timeout=0.3)
await asyncio.sleep(0)
"""
    finish = steps.run(script, {"url": url})
    assert finish["outcome"] == "succeeded"
    assert finish["elapsed_ms"] >= 300
    assert "WARNING callout: GET" in steps.log()
    assert "no answer within 0.3 s" in steps.log()


def test_tls(steps: "Steps", https_url: str) -> None:
    script = """
params['open'] = callout(url=params['url'], verify=False).code
try:
    callout(url=params['url'])
except Error as error:
    params['reason'] = error.reason
"""
    told = run(steps, script, https_url)
    assert told["open"] == 200
    assert "certificate verify failed" in told["reason"]
