"""The server's events, read by a thread of its own and handed on in a queue.

Server-sent events: after a break the feed comes back by itself and goes on behind the last event it
read (`Last-Event-ID`). While no stream is up, whoever watches polls instead; `live` tells.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import httpx

from xaas_cli.client import Api, Json
from xaas_cli.failures import Failure

RETRY_S: Final = 0.5
"""Between two tries to connect."""

READY_S: Final = 3.0
"""How long to wait for the stream to be up before going on with polling."""


@dataclass(frozen=True)
class Message:
    """One message of a stream: where to go on after it, and the notification in it, if any."""

    cursor: str | None
    event: Json | None


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The messages in the lines of a stream of server-sent events; comments are left out.

    The first one of our server has a cursor only: where to go on if nothing else comes.
    """
    cursor: str | None = None
    data: list[str] = []
    for line in lines:
        if not line:
            if data or cursor is not None:
                yield Message(cursor, _parsed("\n".join(data)))
            cursor, data = None, []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "id":
            cursor = value


def _parsed(text: str) -> Json | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    is_event = isinstance(value, dict) and "event" in value and "content" in value
    return value if is_event else None


class Feed:
    """Events as they come; a context manager. `params` go into the query of /events."""

    def __init__(self, api: Api, params: Mapping[str, str] | None = None) -> None:
        self._api = api
        self._params = dict(params or {})
        self._queue: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self._cursor: str | None = None
        self._up = threading.Event()
        self._tried = threading.Event()
        self._stop = threading.Event()
        # A daemon: it may be blocked in a read when the command ends.
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._tried.wait(READY_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()

    @property
    def live(self) -> bool:
        """Whether the stream is up."""
        return self._up.is_set()

    def take(self, patience: float) -> list[Json]:
        """What has come, after waiting at most `patience` seconds for the first."""
        taken: list[Json] = []
        try:
            taken.append(self._queue.get(timeout=patience))
            while True:
                taken.append(self._queue.get_nowait())
        except queue.Empty:
            return taken

    def _work(self) -> None:
        while not self._stop.is_set():
            # The server is away, or has no events: the watcher polls, and finds out. RuntimeError:
            # the client was closed under the stream.
            with contextlib.suppress(Failure, httpx.HTTPError, RuntimeError):
                self._read()
            self._up.clear()
            self._tried.set()
            self._stop.wait(RETRY_S)

    def _read(self) -> None:
        headers = {"accept": "text/event-stream"}
        if self._cursor is not None:
            headers["last-event-id"] = self._cursor
        with self._api.stream("/events", self._params, headers) as response:
            self._up.set()
            self._tried.set()
            for message in messages(response.iter_lines()):
                self._cursor = self._cursor if message.cursor is None else message.cursor
                if message.event is not None:
                    self._queue.put(message.event)
                if self._stop.is_set():
                    return
