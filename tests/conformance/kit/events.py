"""All notifications of the server, as one SSE client sees them.

One connection per test process, opened before the first test. It does what the contract expects of a
receiver: when the connection ends it goes on from the last cursor, and drops ids that it knows.
What a message says is judged by the oracle, not here.
"""

import contextlib
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from tests.conformance.kit.rest import Rest


@dataclass(frozen=True)
class Message:
    """One notification: `cursor` is SSE's id, `body` the JSON message."""

    cursor: str
    body: Any

    @property
    def id(self) -> str:
        return str(self.body.get("id"))

    @property
    def event(self) -> str:
        return str(self.body.get("event"))

    @property
    def content(self) -> Any:
        return self.body["content"]

    @property
    def run(self) -> str:
        """The id of the run that this is about."""
        key = "instance_id" if self.event == "Pipeline" else "owner_id"
        return str(self.content.get(key))

    @property
    def brief(self) -> str:
        """`run complete`, `b do running`, `a undo succeeded`."""
        content = self.content
        if self.event == "Pipeline":
            return f"run {content.get('status')}"
        return f"{content.get('ref')} {content.get('process_type')} {content.get('status')}"


def frames(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Cursor and JSON of an SSE stream's events; None for one that moves the cursor only."""
    cursor, data = "", list[str]()
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            yield cursor, json.loads("\n".join(data)) if data else None
            data = []
        elif field == "data":
            data.append(value)
        elif field == "id":
            cursor = value


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The messages of an SSE stream; comments and heartbeats are passed over."""
    for cursor, body in frames(lines):
        if body is not None:
            yield Message(cursor, body)


class EventLog:
    """Every message seen so far, by run, in the order of arrival."""

    def __init__(self, rest: Rest, cursor: str = "") -> None:
        self._rest = rest
        self._cursor = cursor
        self._runs: defaultdict[str, list[Message]] = defaultdict(list)
        self._known: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._connected = threading.Event()
        self._socket: socket.socket | None = None
        self.troubles: list[str] = []  # what the contract doesn't allow
        self.breaks: list[str] = []  # lost connections, which it does
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        if not self._connected.wait(rest.patience.wait):
            raise AssertionError(f"GET /events gave no stream: {self.breaks}")

    def of(self, run: str) -> list[Message]:
        with self._changed:
            return list(self._runs[run])

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Until the condition holds; it is looked at again whenever a message comes."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def nap(self, timeout: float) -> None:
        """Until something happens anywhere, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait(timeout)

    def close(self) -> None:
        self._stopped = True
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the server closed it first
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _listen(self) -> None:
        timeout = httpx.Timeout(30.0 * self._rest.patience.scale, read=None)
        with httpx.Client(
            base_url=self._rest.base_url,
            headers=self._rest.headers,
            timeout=timeout,
            trust_env=False,
        ) as http:
            while not self._stopped:
                try:
                    self._follow(http)
                except ValueError as error:
                    self.troubles.append(f"no JSON in an event: {error}")
                except (httpx.HTTPError, OSError) as error:
                    self.breaks.append(f"{type(error).__name__}: {error}")
                    with self._changed:
                        self._changed.wait(0.2)

    def _follow(self, http: httpx.Client) -> None:
        resume = {"Last-Event-ID": self._cursor} if self._cursor else {}
        headers = {"Accept": "text/event-stream"} | resume
        with http.stream("GET", "/events", headers=headers) as response:
            response.raise_for_status()
            stream = response.extensions["network_stream"]
            self._socket = stream.get_extra_info("socket")
            self._connected.set()
            try:
                for cursor, body in frames(response.iter_lines()):
                    self._cursor = cursor or self._cursor
                    if body is not None:
                        self._add(Message(cursor, body))
            except httpx.HTTPError as error:
                self.breaks.append(f"{type(error).__name__}: {error}")

    def _add(self, message: Message) -> None:
        with self._changed:
            if message.id in self._known:
                if self._known[message.id] != message.body:
                    self.troubles.append(
                        f"id {message.id} came with another body: {message.body} after "
                        f"{self._known[message.id]}"
                    )
                return
            self._known[message.id] = message.body
            self._runs[message.run].append(message)
            self._changed.notify_all()
