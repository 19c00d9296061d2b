"""`GET /events`: every change of state, as server-sent events or over a WebSocket.

Changes are recorded before anything follows from them; a stream is a reader of that log with a
cursor of its own. A touch of the store says that there may be more to read; it is subscribed to
before the log is read, so nothing falls between. A stream reads on only when the client has taken
what came before, so a slow client costs no memory, and after a break it goes on at its cursor.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from pydantic import ValidationError
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from xaas_api.answers import encode
from xaas_api.errors import (
    ApiError,
    as_api_error,
    invalid,
    invalid_at,
    problem_response,
    problems_of,
)
from xaas_api.openapi import problems, text
from xaas_api.queries import InNamespace
from xaas_api.services import Services
from xaas_core.engine.plan import Plan
from xaas_core.models.objects import Run
from xaas_core.models.pipeline_run import Target
from xaas_core.notices import message
from xaas_core.ports import Logged, NotFound, Part, Store, Unavailable

PATH: Final = "/events"

BATCH: Final = 200
"""Changes read at a time."""

HEARTBEAT: Final = 15.0
"""Seconds after which a silent stream sends a comment; also how long a lost wake-up can cost."""

RETRY: Final = 1000
"""Milliseconds after which a browser comes back."""

KNOWN_RUNS: Final = 64
"""Runs whose names are kept; a plan takes up to 1 MiB."""


class EventsQuery(InNamespace):
    """Which events."""

    after: str | None = None
    """Go on after this cursor, an event's `id:`; empty: from the first change that is kept.

    Without it, and without Last-Event-ID, come only changes from now on.
    """
    instance_id: str | None = None
    """Of this run only: its own changes and its task runs'."""


class Feed:
    """Wakes the streams when something was written. One subscription serves them all."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._stopping = services.stopping
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            try:
                async for touch in self._store.touches():
                    if touch.part is Part.STATUS:
                        self._wake()
                return
            except Unavailable:
                await asyncio.sleep(1)
                self._wake()  # something may have been missed

    def stop(self) -> None:
        """End all streams."""
        self._stopping.set()
        self._wake()

    async def read(self, cursor: str) -> AsyncIterator[list[Logged]]:
        """Changes after `cursor`, in batches; an empty one if nothing came for some time."""
        while not self._stopping.is_set():
            news = self._news  # taken before the read: what comes after it wakes us
            found = list(await self._store.changes(cursor or None, BATCH))
            if found:
                cursor = found[-1].cursor
                yield found
                if len(found) == BATCH:
                    continue
            try:
                async with asyncio.timeout(HEARTBEAT):
                    await news.wait()
            except TimeoutError:
                yield []

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@dataclass(frozen=True)
class Subject:
    """What a message says of its run: nothing of it ever changes."""

    run: Run
    plan: Plan | None


class Narrator:
    """Makes messages of changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[str, Subject] = OrderedDict()

    async def tell(
        self, logged: Logged, query: EventsQuery, namespace: str
    ) -> dict[str, Any] | None:
        """The message of a change; None if the query doesn't ask for it, or its run is removed."""
        if query.instance_id is not None and logged.run != query.instance_id:
            return None
        try:
            subject = await self._subject(logged)
        except NotFound:
            return None
        run = subject.run
        # A run that a script made of a single task is nobody's but that script's.
        hidden = run.target is Target.TASK and query.instance_id is None
        if hidden or run.meta.namespace != namespace:
            return None
        return message(run, subject.plan, logged.sequence, logged.change)

    async def _subject(self, logged: Logged) -> Subject:
        found = self._known.get(logged.run)
        if found is None or (found.plan is None and logged.change.ref is not None):
            run = await self._store.seen_run(logged.run)
            found = Subject(run, await self._store.plan(logged.run))
            self._known[logged.run] = found
        self._known.move_to_end(logged.run)
        if len(self._known) > KNOWN_RUNS:
            self._known.popitem(last=False)
        return found


@dataclass(frozen=True)
class Start:
    """Where a stream begins. `told` is what the client goes on after if nothing comes: its own
    cursor, for `cursor` may lie before it, and each new try would fall back further."""

    told: str
    cursor: str


@dataclass(frozen=True)
class Told:
    """A message, and the cursor after it."""

    cursor: str
    message: dict[str, Any]


class Events:
    """The routes."""

    def __init__(self, services: Services, feed: Feed) -> None:
        self._services = services
        self._feed = feed
        self._narrator = Narrator(services.store)

    async def stream(
        self,
        request: Request,
        query: Annotated[EventsQuery, Query()],
        last_event_id: Annotated[
            str | None, Header(description="Go on after this cursor; wins over `after`.")
        ] = None,
    ) -> Response:
        """Changes of state as server-sent events: `id:` is the cursor, `data:` the message."""
        start = await self._start(query.after, last_event_id)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        content = self._sse(query, start)
        return StreamingResponse(content, 200, headers, "text/event-stream")

    async def socket(self, socket: WebSocket) -> None:
        """The same over a WebSocket: one message a frame, each with its `cursor`."""
        try:
            query = EventsQuery.model_validate(dict(socket.query_params))
            start = await self._start(query.after, socket.headers.get("last-event-id"))
        except ValidationError as error:
            await socket.send_denial_response(problem_response(invalid(problems_of(error))))
            return
        except (ApiError, Unavailable) as error:
            await socket.send_denial_response(problem_response(as_api_error(error)))
            return
        await socket.accept()
        sending = asyncio.ensure_future(self._send(socket, query, start.cursor))
        closing = asyncio.ensure_future(_closed(socket))
        try:
            await asyncio.wait({sending, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            closing.cancel()
            await asyncio.gather(sending, closing, return_exceptions=True)

    async def _start(self, after: str | None, last_event_id: str | None) -> Start:
        """Where to go on. Raises ApiError for a cursor that isn't ours."""
        store, place = self._services.store, "after"
        if last_event_id is not None:
            after, place = last_event_id, "Last-Event-ID"
        if after is None:
            newest = await store.last_cursor()
            return Start(newest, newest)
        if not after:
            return Start("", "")
        try:
            return Start(after, await store.resume(after))
        except ValueError as error:
            raise invalid_at(place, str(error)) from None

    async def _messages(
        self, query: EventsQuery, cursor: str
    ) -> AsyncIterator[tuple[str, Sequence[Told]]]:
        """Messages, those that were found together; and the cursor after all that was looked at.

        None of them is a heartbeat, which is due when nothing was told for some time, be it that
        others' changes came.
        """
        namespace = query.namespace or self._services.namespace
        clock = asyncio.get_running_loop().time
        last = clock()
        async for batch in self._feed.read(cursor):
            found = [
                Told(logged.cursor, said)
                for logged in batch
                if (said := await self._narrator.tell(logged, query, namespace)) is not None
            ]
            cursor = batch[-1].cursor if batch else cursor
            if found or not batch or clock() - last >= HEARTBEAT:
                yield cursor, found
                last = clock()

    async def _sse(self, query: EventsQuery, start: Start) -> AsyncIterator[bytes]:
        # An id without data isn't an event, but where the client goes on after a break.
        yield f"retry: {RETRY}\nid: {start.told}\n\n".encode()
        async for place, found in self._messages(query, start.cursor):
            if found:
                yield b"".join(map(_sse_event, found))
            else:
                # What was passed over isn't read again after a break.
                seen = start.told if place == start.cursor else place
                yield f": still here\nid: {seen}\n\n".encode()

    async def _send(self, socket: WebSocket, query: EventsQuery, cursor: str) -> None:
        async for _, found in self._messages(query, cursor):
            for told in found:
                text = encode(told.message | {"cursor": told.cursor}).decode()
                await socket.send_text(text)
        await socket.close(code=1001, reason="the server stops")


def _sse_event(told: Told) -> bytes:
    head = f"id: {told.cursor}\nevent: {told.message['event']}\ndata: "
    return head.encode() + encode(told.message) + b"\n\n"


async def _closed(socket: WebSocket) -> None:
    """Returns when the client has gone; what it sends is of no interest."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


EXAMPLE: Final = {
    "event": "Pipeline",
    "content": {
        "instance_id": "4f6a1f64-6a4d-4f59-9d0b-3c2f5f0f4f11",
        "name": "deploy",
        "status": "processing",
    },
    "id": "0f0f2a6e-51b5-5a6e-8f2c-0a5f7c1d2e3f",
    "time": "2026-01-02T03:04:05.678Z",
    "sequence": 1,
}


def add_routes(router: APIRouter, services: Services, feed: Feed) -> None:
    """Add the routes."""
    routes = Events(services, feed)
    example = f"id: 1\nevent: Pipeline\ndata: {json.dumps(EXAMPLE)}\n\n"
    shown = text("The stream; it doesn't end by itself.", "text/event-stream", example)
    router.add_api_route(
        PATH,
        routes.stream,
        methods=["GET"],
        tags=["Events"],
        name="stream Events",
        operation_id="stream_events",
        response_class=StreamingResponse,
        responses=problems() | {200: shown},
    )
    router.add_api_websocket_route(PATH, routes.socket)
