"""The runner's side of the contract: POST a message, get the gateway's answer.

A tiny HTTP/1.1 client: keep-alive, Content-Length only, on TCP or a Unix socket. `http.client`
would cost a cold runner 30 ms of imports, and knows no Unix sockets.

Every message may be repeated (see contract.py), so this client repeats it for as long as needed:
the server is being restarted, the socket isn't there yet, the connection breaks, the answer is a
5xx or a 429. Only another 4xx is final: the attempt is over, or was never ours (`Refused`). How
long a runner may go on asking is decided outside, by whoever ends it.

Calls may come from several threads at once: each takes an idle connection or makes its own.
"""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from xaas_runner.contract import MAX_MESSAGE_BYTES, PROTOCOL

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
QUIET_S: Final = 3.0
"""How long the gateway may be away before `on_trouble` hears of it: a restart is no news."""

_ANSWER_S: Final = 30.0
_MAX_HEAD_BYTES: Final = 64 * 1024
_LAST_DATA_RECEIVED_AT: Final = (
    52  # in Linux' struct tcp_info: eight bytes, then the twelfth number
)


class Refused(Exception):
    """The gateway answered with a 4xx: this token can do nothing more. `code` is the status."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the gateway refused ({code}): {text}")
        self.code = code


class _Away(Exception):
    """No usable answer this time. `pause` is the server's own wish, in seconds; `stale`: it may be for
    the connection only, which had lain idle."""

    def __init__(self, why: str, pause: float | None = None, *, stale: bool = False) -> None:
        super().__init__(why)
        self.pause = pause
        self.stale = stale


class GatewayClient:
    """Speaks for one attempt.

    `address` is `unix:<path>` or `http://<host>:<port>` (ValueError if it is neither).
    `on_trouble` is told once per outage, in a sentence.
    """

    def __init__(
        self, address: str, token: str, *, on_trouble: Callable[[str], None] | None = None
    ) -> None:
        self._address = _parse(address)
        self.token = token
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self.on_trouble = on_trouble or (lambda text: None)

    def call(self, path: str, message: Mapping[str, Any], *, held_s: float = 0.0) -> Any:
        """POST `message` (plain JSON) and return the answer, however long it takes.

        `held_s`: how long the gateway may hold the call open by agreement. Raises Refused.
        """
        return self.ask(path, message, held_s=held_s)()[0]

    def ask(
        self, path: str, message: Mapping[str, Any], *, held_s: float = 0.0
    ) -> Callable[[], tuple[Any, float]]:
        """POST `message`, and return what waits for the answer, as `call` does; with it comes how many
        seconds ago it had arrived."""
        request, timeout = self._request(path, message), held_s + _ANSWER_S
        try:
            sent = self._send(request, timeout)
        except _Away:
            sent = None
        return lambda: self._answer(request, timeout, sent)

    def become(self, token: str) -> None:
        """Speak for the attempt that `token` opens from now on."""
        self.token = token

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _request(self, path: str, message: Mapping[str, Any]) -> bytes:
        text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        body = text.encode("utf-8", "replace")
        head = (
            f"POST {path} HTTP/1.1\r\n"
            f"Host: {self._address[2]}\r\n"
            f"Authorization: Bearer {self.token}\r\n"
            f"X-Xaas-Protocol: {PROTOCOL}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("latin-1") + body

    def _answer(
        self, request: bytes, timeout: float, sent: "_Connection | None"
    ) -> tuple[Any, float]:
        """The answer to a request that was `sent` already; sent again for as long as needed."""
        pause = FIRST_PAUSE_S
        since = time.monotonic()
        told = False
        while True:
            try:
                return self._receive(sent or self._send(request, timeout), timeout)
            except _Away as away:
                trouble = away
            sent = None
            if trouble.stale:
                continue
            if not told and time.monotonic() - since > QUIET_S:
                told = True
                self.on_trouble(f"the gateway is away ({trouble}); trying again until it is back")
            wish = trouble.pause
            time.sleep(pause if wish is None else max(wish, FIRST_PAUSE_S))
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _send(self, request: bytes, timeout: float) -> "_Connection":
        """Send a request over an idle connection, or a new one. Raises _Away."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            try:
                connection = connection or _Connection(self._address, timeout)
            except OSError as error:
                raise _Away(str(error)) from None
            try:
                connection.send(request, timeout)
            except OSError as error:
                connection.close()
                if not connection.used:
                    raise _Away(str(error)) from None
            except BaseException:
                connection.close()  # interrupted half-way
                raise
            else:
                return connection

    def _receive(self, connection: "_Connection", timeout: float) -> tuple[Any, float]:
        """Receive the answer to what was sent, and how old it is. Raises _Away, Refused."""
        try:
            status, fields, answer = connection.receive(timeout)
            age = connection.quiet_s()
        except (OSError, ValueError, IndexError, EOFError) as error:
            connection.close()
            # It was closed while it lay idle, perhaps; a new one will tell.
            raise _Away(str(error) or type(error).__name__, stale=connection.used) from None
        except BaseException:
            connection.close()  # interrupted half-way: this connection is out of step
            raise
        if fields.get("connection", "").lower() == "close":
            connection.close()
        else:
            connection.used = True
            with self._lock:
                self._idle.append(connection)
        return _read_answer(status, fields, answer), age


def _read_answer(status: int, fields: dict[str, str], answer: bytes) -> Any:
    if status == 429 or status >= 500:
        raise _Away(f"HTTP {status}", _retry_after(fields))
    if 400 <= status < 500:
        raise Refused(status, answer[:500].decode("utf-8", "replace"))
    try:
        value = json.loads(answer)
    except ValueError:
        raise _Away(f"HTTP {status} without a JSON body") from None
    if not 200 <= status < 300 or not isinstance(value, dict):
        raise _Away(f"HTTP {status} with an unexpected body")
    return value


def _retry_after(fields: dict[str, str]) -> float | None:
    text = fields.get("retry-after", "")
    return min(float(text), 60.0) if text.isascii() and text.isdigit() else None


def _parse(address: str) -> tuple[str, Any, str]:
    """Return (kind, what to connect to, Host)."""
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        return "unix", rest, "gateway"
    host, _, port = rest.removeprefix("//").rstrip("/").rpartition(":")
    is_http = kind == "http" and rest.startswith("//") and host.isascii()
    if is_http and host and port.isascii() and port.isdigit():
        return "tcp", (host.strip("[]"), int(port)), f"{host}:{port}"
    raise ValueError(f"the gateway's address {address!r} is neither unix:<path> nor http://ip:port")


class _Connection:
    """One keep-alive connection, `used` before or not. Raises OSError; `receive` EOFError, ValueError
    and IndexError as well."""

    def __init__(self, address: tuple[str, Any, str], timeout: float) -> None:
        self.used = False
        kind, target, _ = address
        if kind == "unix":
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout)
            try:
                self._socket.connect(target)
            except BaseException:
                self._socket.close()
                raise
        else:
            host, port = target
            # As bytes: a text may be a name in any language, and that codec takes time to import.
            where = (host.encode("ascii"), port)
            self._socket = socket.create_connection(where, timeout=min(timeout, 10.0))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()

    def send(self, request: bytes, timeout: float) -> None:
        self._socket.settimeout(timeout)
        self._socket.sendall(request)

    def receive(self, timeout: float) -> tuple[int, dict[str, str], bytes]:
        self._socket.settimeout(timeout)
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            if len(self._read) > _MAX_HEAD_BYTES:
                raise ValueError("the answer's head is too long")
            self._more()
        lines = self._read[:end].decode("latin-1").split("\r\n")
        del self._read[: end + 4]
        status = int(lines[0].split(" ", 2)[1])
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()
        length = int(fields.get("content-length", "0"))
        if "transfer-encoding" in fields or not 0 <= length <= MAX_MESSAGE_BYTES:
            raise ValueError("the answer's length is missing or beyond what is agreed")
        while len(self._read) < length:
            self._more()
        body = bytes(self._read[:length])
        del self._read[:length]
        return status, fields, body

    def quiet_s(self) -> float:
        """Seconds since anything came, in whole milliseconds; 0 where the system doesn't say."""
        try:
            told = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64)
            (milliseconds,) = struct.unpack_from("=I", told, _LAST_DATA_RECEIVED_AT)
        except (OSError, AttributeError, struct.error):  # a Unix socket; not Linux
            return 0.0
        return float(milliseconds / 1000)

    def _more(self) -> None:
        data = self._socket.recv(256 * 1024)
        if not data:
            raise EOFError("the connection was closed")
        self._read += data

    def close(self) -> None:
        self._socket.close()
