"""`callout(url=…, method="GET", …)`: an HTTP request from a script.

In a script without `await` it acts at once and returns the response. In one that awaits, it
starts at once, in a thread, and returns an object that can be awaited (`r = await callout(…)`,
`await asyncio.gather(callout(…), callout(…))`) and that has the response's own attributes too:
reading one waits for the answer. So a script may be written either way.

An HTTP error code is a response like any other. No answer at all raises `Error(0, reason)`;
so does a request that can't be sent as it is written. Requests still under way when the script
ends are waited for, bounded by their timeouts.
"""

import functools
import json
import os
import socket
import time
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from xaas_runner.sandbox import Handle, exact, expose
from xaas_runner.script_objects import Error
from xaas_runner.threads import in_thread, start

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse
    from ssl import SSLContext
    from urllib.parse import SplitResult

MAX_REDIRECTS: Final = 5
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest body of a response, as it is sent."""

LONGEST: Final = 24 * 3600
"""Seconds that a request may take at most."""

NO_ANSWER: Final = 0
"""`Error.code` where no HTTP answer came."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CHUNK: Final = 64 * 1024
_TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


class Request(NamedTuple):
    """A request as it will be sent."""

    url: str
    method: str
    body: bytes | None
    headers: dict[str, str]
    timeout: float
    verify: bool


class Response:
    """An answer: `code` (int), `body` (str; bytes that aren't UTF-8 are replaced), `headers`
    (dict, names in lower case), `json()`."""

    def __init__(self, code: int, body: str, headers: dict[str, str]) -> None:
        self.__answer = (code, body, headers)

    @property
    def code(self) -> int:
        """The HTTP status code."""
        return self.__answer[0]

    @property
    def body(self) -> str:
        """The body as text."""
        return self.__answer[1]

    @property
    def headers(self) -> dict[str, str]:
        """The headers, by their names in lower case; repeated ones are joined by a comma."""
        return self.__answer[2]

    def json(self) -> Any:
        """Return the body read as JSON; raises Error(code, …) if it isn't JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Error(self.code, f"the response's body isn't JSON: {error}") from None

    def __repr__(self) -> str:
        return f"<response {self.code}, {len(self.body)} characters>"


class PendingResponse(Handle):
    """A response that is on its way; see the module's text."""

    def __init__(self, request: Request) -> None:
        self.__result: Response | Error | None = None
        self.__seen = False
        self.__request = request
        self.__thread = start(self.__work, f"callout-{request.method}")

    def __work(self) -> None:
        try:
            self.__result = send(self.__request)
        except Error as error:
            self.__result = error
        except BaseException as error:  # noqa: BLE001 - told to whoever awaits it
            self.__result = Error(NO_ANSWER, f"{self.__request.url}: {type(error).__name__}")

    def __wait(self) -> Response:
        self.__thread.join()
        self.__seen = True
        if not isinstance(self.__result, Response):
            assert self.__result is not None
            raise self.__result
        return self.__result

    def __await__(self) -> Generator[Any, None, Response]:
        if self.__thread.is_alive():
            yield from in_thread(self.__thread.join, "callout-wait").__await__()
        return self.__wait()

    @property
    def code(self) -> int:
        """As Response.code."""
        return self.__wait().code

    @property
    def body(self) -> str:
        """As Response.body."""
        return self.__wait().body

    @property
    def headers(self) -> dict[str, str]:
        """As Response.headers."""
        return self.__wait().headers

    def json(self) -> Any:
        """As Response.json."""
        return self.__wait().json()

    def unseen_error(self) -> Error | None:
        """Wait for the end; return the error, if there is one that no script has seen."""
        self.__thread.join()
        return self.__result if isinstance(self.__result, Error) and not self.__seen else None


class Callouts(Handle):
    """The `callout` of one step."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self._pending: list[PendingResponse] = []

    def callout(
        self,
        url: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: float = 30,
        verify: bool = True,
    ) -> Response | PendingResponse:
        """Send a request. `timeout`: seconds for the whole of it, redirects included."""
        request = prepare(url, method, body, headers, timeout, verify)
        if not self._asynchronous:
            return send(request)
        pending = PendingResponse(request)
        self._pending.append(pending)
        return pending

    def join(self, warn: Callable[[str], None]) -> None:
        """Wait for what is under way; `warn` hears of errors that the script didn't look at."""
        for pending in self._pending:
            if (error := pending.unseen_error()) is not None:
                warn(f"callout: {error}")


def prepare(url: Any, method: Any, body: Any, headers: Any, timeout: Any, verify: Any) -> Request:
    """Check a request and write its body. Raises Error(0, …) saying what is wrong.

    What is handed on has no method of a class that the script wrote: it would be called while the
    request is sent, in a thread of its own, and could say something else then.
    """
    fields = {"user-agent": "xaas-pipeline", "accept": "*/*"}
    for name, value in dict(headers or {}).items():
        fields[_token(name, "name of a header").lower()] = exact(str(value))
    data: bytes | None
    if body is None:
        data = None
    elif isinstance(body, bytes):
        data = b"".join((body,))
    elif isinstance(body, str):
        data = exact(body).encode("utf-8", "replace")
        fields.setdefault("content-type", "text/plain; charset=utf-8")
    else:
        try:
            data = json.dumps(body).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Error(NO_ANSWER, f"callout: the body can't be sent as JSON: {error}") from None
        fields.setdefault("content-type", "application/json")
    is_number = isinstance(timeout, int | float)
    seconds = float(min(timeout, 2 * LONGEST)) if is_number else 0.0
    if not 0 < seconds <= LONGEST:
        raise Error(NO_ANSWER, "callout: `timeout` is a number of seconds above 0")
    address = exact(str(url))
    _split(address)
    verb = _token(method, "HTTP method").upper()
    return Request(address, verb, data, fields, seconds, bool(verify))


def _token(value: Any, what: str) -> str:
    """A word of HTTP's own (RFC 9110, 5.6.2): what isn't one could end its line, and begin another."""
    text = exact(str(value))
    if not text or not _TOKEN.issuperset(text):
        raise Error(NO_ANSWER, f"callout: {text!r} is no {what}")
    return text


def send(request: Request) -> Response:
    """Send the request, follow redirects, return the response. Raises Error."""
    deadline = time.monotonic() + request.timeout
    for _ in range(MAX_REDIRECTS + 1):
        try:
            answer, location = _exchange(request, deadline)
        except TimeoutError:
            reason = f"no answer within {request.timeout:g} s"
            raise Error(NO_ANSWER, f"{request.method} {request.url}: {reason}") from None
        except Error:
            raise
        except Exception as error:  # noqa: BLE001 - sockets, TLS, HTTP: all mean "no answer"
            reason = (str(error) or type(error).__name__) + _advice(error)
            raise Error(NO_ANSWER, f"{request.method} {request.url}: {reason}") from None
        if answer.code not in _REDIRECTS or location is None:
            return answer
        request = _redirected(request, answer.code, location)
    raise Error(NO_ANSWER, f"{request.url}: more than {MAX_REDIRECTS} redirects")


def _advice(error: Exception) -> str:
    if isinstance(error, socket.gaierror) and os.environ.get("RES_OPTIONS") == "use-vc":
        return " (names are looked up over TCP here: does the resolver answer on TCP port 53?)"
    return ""


def _exchange(request: Request, deadline: float) -> tuple[Response, str | None]:
    url = _split(request.url)
    connection = _connect(url, request.verify, _left(deadline))
    try:
        connection.request(request.method, _target(url), request.body, request.headers)
        answer = connection.getresponse()
        body = _read(answer, connection, deadline)
    finally:
        connection.close()
    headers: dict[str, str] = {}
    for name, value in answer.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return Response(answer.status, body.decode("utf-8", "replace"), headers), headers.get(
        "location"
    )


def _read(answer: "HTTPResponse", connection: "HTTPConnection", deadline: float) -> bytes:
    body = bytearray()
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        _left(deadline)
        chunk = answer.read1(_CHUNK)
        if not chunk:
            break
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"the response is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB")
    if answer.length:
        raise EOFError(f"the connection was closed {answer.length} bytes before the end")
    return bytes(body)


def _connect(url: "SplitResult", verify: bool, timeout: float) -> "HTTPConnection":
    from http.client import HTTPConnection, HTTPSConnection

    host = url.hostname or ""
    if url.scheme == "http":
        return HTTPConnection(host, url.port, timeout=timeout)
    return HTTPSConnection(host, url.port, timeout=timeout, context=_tls(verify))


@functools.cache  # reading the machine's certificates takes 20 ms
def _tls(verify: bool) -> "SSLContext":
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _split(address: str) -> "SplitResult":
    from urllib.parse import urlsplit

    try:
        url = urlsplit(address)
        port_is_fine = url.port is None or url.port > 0
    except ValueError as error:
        raise Error(NO_ANSWER, f"callout: {address!r} is no URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_fine:
        raise Error(NO_ANSWER, f"callout: {address!r} must be an http:// or https:// URL")
    if "@" in url.netloc:
        raise Error(NO_ANSWER, "callout: a user or password in the URL; send a header instead")
    return url


def _target(url: "SplitResult") -> str:
    from urllib.parse import quote

    # What is percent-encoded already stays; what can't stand in a request line is encoded.
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(url.query, safe="/%:@!$&'()*+,;=~-._?[]")
    return f"{path}?{query}" if query else path


def _redirected(request: Request, code: int, location: str) -> Request:
    from urllib.parse import urljoin

    target = urljoin(request.url, location)
    before, after = _split(request.url), _split(target)
    headers = dict(request.headers)
    if (before.scheme, before.hostname, before.port) != (after.scheme, after.hostname, after.port):
        # Credentials are for the server they were given for.
        for name in ("authorization", "cookie", "proxy-authorization"):
            headers.pop(name, None)
    if code in (307, 308) or request.method in ("GET", "HEAD"):
        return request._replace(url=target, headers=headers)
    for name in ("content-type", "content-length"):
        headers.pop(name, None)
    return request._replace(url=target, method="GET", body=None, headers=headers)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


expose(Response, ("code", "body", "headers", "json"))
expose(PendingResponse, ("code", "body", "headers", "json"))
