"""A small HTTP server in the test process, by which scripts and tests take turns.

A script says "I am here" by `callout` and, if the test wants so, waits until the test lets it go on:
interleavings are decided by the test, never by a sleep. The same works wherever the script runs, as
long as it can reach `--callback-host`.

`hold`, `note` and `fails` give lines of a script; the rest is for the test.
"""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.conformance.kit.rest import Patience

GO_ON = 200
NOT_YET = 202
# A poll ends well before any client's own time-out; a script then asks again.
POLL = 2.0


class Gate:
    """The turns of one test. `address` is what scripts call; `trace` what they said, in order."""

    def __init__(self, address: str, patience: Patience) -> None:
        self.address = address
        self.patience = patience
        self.visits: Counter[str] = Counter()
        self.notes: defaultdict[str, list[Any]] = defaultdict(list)
        self.trace: list[str] = []
        self._open: set[str] = set()
        self._failing: Counter[str] = Counter()
        self._changed = threading.Condition()

    # ------------------------------------------------------------------------- lines of scripts

    def url(self, verb: str, key: str) -> str:
        return f"{self.address}/{verb}/{quote(key, safe='')}"

    def hold(self, key: str) -> str:
        """Say "I am here" and wait until the test calls `release(key)`."""
        url = self.url("hold", key)
        return (
            f'held = await callout(url="{url}?first=1")\n'
            f'while held.code != {GO_ON}:\n    held = await callout(url="{url}")\n'
        )

    def note(self, key: str, expression: str = "None") -> str:
        """Tell the test the value of an expression."""
        return (
            "import json\n"
            f'await callout(url="{self.url("note", key)}", method="POST", '
            f"body=json.dumps({expression}))\n"
        )

    def fails(self, key: str, times: int = 1_000_000) -> str:
        """Raise on the first `times` visits, succeed on the ones after."""
        self._failing[key] = times
        return (
            f'if (await callout(url="{self.url("fails", key)}")).code != {GO_ON}:\n'
            f'    raise ValueError("planned failure of {key}")\n'
        )

    def echo(self) -> str:
        """An address that answers with what was sent: method, headers, body."""
        return self.url("echo", "x")

    # ----------------------------------------------------------------------------- for the test

    def wait(self, key: str, visits: int = 1) -> None:
        """Until scripts have come to `key` this often."""
        with self._changed:
            came = self._changed.wait_for(lambda: self.visits[key] >= visits, self.patience.wait)
        assert came, (
            f"{self.visits[key]} visits to {key!r} instead of {visits}; so far: {self.trace}"
        )

    def release(self, *keys: str) -> None:
        """Whoever holds at one of the keys, now or later, goes on."""
        with self._changed:
            self._open.update(keys)
            self._changed.notify_all()

    def noted(self, key: str) -> Any:
        """What was noted under `key`, once."""
        values = self.notes[key]
        assert len(values) == 1, f"{key!r} was noted {len(values)} times: {values}"
        return values[0]

    # --------------------------------------------------------------------------- for the server

    def answer(self, verb: str, key: str, first: bool, body: str) -> int:
        with self._changed:
            if verb != "hold" or first:
                self.visits[key] += 1
                self.trace.append(key)
            if verb == "note":
                self.notes[key].append(json.loads(body))
            self._changed.notify_all()
            if verb == "hold":
                is_open = self._changed.wait_for(lambda: key in self._open, POLL)
                return GO_ON if is_open else NOT_YET
            if verb == "fails" and self._failing[key] > 0:
                self._failing[key] -= 1
                return NOT_YET
            return GO_ON


class GateServer:
    """One server for all tests of a session; each test has a gate of its own, by path."""

    def __init__(self, host: str, patience: Patience) -> None:
        gates: dict[str, Gate] = {}
        self._gates = gates
        self._patience = patience

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(size).decode()
                url = urlsplit(self.path)
                _, gate_name, verb, key = url.path.split("/", 3)
                gate = gates.get(gate_name)
                if verb == "echo":
                    self.respond(201, self.mirror(body))
                elif gate is None:  # a script that outlived its test
                    self.respond(GO_ON, b"")
                else:
                    first = "first" in parse_qs(url.query)
                    self.respond(gate.answer(verb, unquote(key), first, body), b"")

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815 (http.server's names)

            def mirror(self, body: str) -> bytes:
                headers = {name.lower(): value for name, value in self.headers.items()}
                return json.dumps(
                    {"method": self.command, "headers": headers, "body": body}
                ).encode()

            def respond(self, code: int, body: bytes) -> None:
                try:
                    self.send_response(code)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the script was killed while it waited

            def log_message(self, *args: object) -> None:
                """Silence: what came is in the gate's trace."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: object) -> None:
                """A script killed in the middle of a request is none of a test's business."""

        loopback = host in {"127.0.0.1", "localhost"}
        self._server = Server(("127.0.0.1" if loopback else "", 0), Handler)
        self._base = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    @contextmanager
    def gate(self, name: str) -> Iterator[Gate]:
        """A gate for one test. Afterwards everything held goes on, so that nothing is left behind."""
        gate = Gate(f"{self._base}/{name}", self._patience)
        self._gates[name] = gate
        try:
            yield gate
        finally:
            del self._gates[name]
            gate.release(*gate.visits)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
