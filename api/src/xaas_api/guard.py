"""The door: a request is looked at, by its head alone, before anything else happens with it.

Who may pass is the business of a `Doorkeeper`: `auth.Access` (a token of the server's own, or
loopback) or `cluster_access.ClusterAccess` (the cluster's users and RBAC).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Final, Protocol

from starlette.datastructures import Headers, QueryParams
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xaas_api.errors import FORESEEN, as_api_error, problem_response

POLICY_VIOLATION: Final = 1008
"""Why a WebSocket is closed whose caller may not listen any more."""

Lapse = Callable[[], Awaitable[None]]
"""Returns when a permission has ended."""


class Call:
    """What the head of a request says. `scope` is as `RawPaths` leaves it."""

    def __init__(self, scope: Scope, routes: Sequence[BaseRoute]) -> None:
        self._scope = scope
        self._routes = routes
        self.path: str = scope["path"]
        self.headers = Headers(scope=scope)

    @cached_property
    def query(self) -> QueryParams:
        """The query."""
        return QueryParams(self._scope["query_string"])

    @property
    def route(self) -> tuple[str, str] | None:
        """Method and path, with its parameters' names, of the route that will answer, if any."""
        return self._found[0]

    @property
    def params(self) -> dict[str, str]:
        """The path's parameters."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[tuple[str, str] | None, dict[str, str]]:
        for route in self._routes:
            match, found = route.matches(self._scope)
            if match is Match.FULL:
                path = getattr(route, "path_format", "")
                return (self._scope.get("method", "GET"), path), found["path_params"]
        return None, {}


class Doorkeeper(Protocol):
    """Who may pass."""

    async def admit(self, call: Call) -> Lapse | None:
        """Raises ApiError or Unavailable for a request that mustn't go on.

        What is returned, if anything, ends when the request's stream must end.
        """


class Guard:
    """Answers what the doorkeeper refuses; the rest goes on to `app`, which has `routes`.

    WebSockets are refused at their handshake. A refused request's body isn't read.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], doorkeeper: Doorkeeper) -> None:
        self._app = app
        self._routes = routes
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            lapse = await self._doorkeeper.admit(Call(scope, self._routes))
        except FORESEEN as error:
            # Starlette sends a response to a WebSocket's handshake as a denial.
            await problem_response(as_api_error(error))(scope, receive, send)
            return
        except Exception as error:
            await problem_response(as_api_error(error))(scope, receive, send)
            raise  # to the server's log
        if lapse is None:
            await self._app(scope, receive, send)
        else:
            await _Stream(send).serve(self._app, scope, receive, lapse)


class _Stream:
    """An answer that ends when a permission does."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._end: Message | None = None
        """What ends it as it should, once it has begun and until it has ended."""

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, lapse: Lapse) -> None:
        """Serve it with `app` until it ends, or `lapse` does."""
        serving = asyncio.ensure_future(app(scope, receive, self._passed))
        lapsing = asyncio.ensure_future(lapse())
        try:
            await asyncio.wait({serving, lapsing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lapsing.cancel()
            if not serving.done():
                serving.cancel()
            await asyncio.wait({serving, lapsing})
        if not serving.cancelled():
            serving.result()
        elif self._end is not None:
            await self._send(self._end)
        if not lapsing.cancelled():
            lapsing.result()

    async def _passed(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._end = {"type": "http.response.body", "body": b"", "more_body": False}
        elif kind == "websocket.accept":
            reason = "the permission has ended"
            self._end = {"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason}
        elif kind == "websocket.close" or (
            kind == "http.response.body" and not message.get("more_body", False)
        ):
            self._end = None
        await self._send(message)


def bearer_token(headers: Headers) -> str:
    """The token that was sent; empty if there is none."""
    scheme, _, sent = headers.get("authorization", "").partition(" ")
    return sent.strip() if scheme.lower() == "bearer" else ""
