"""The REST API as one ASGI app: `create_app`.

A request goes through plain ASGI layers, from outside in: `RawPaths` (names with `/`), `Measured`,
`Guard` (who may call), then FastAPI's routes, which read and write through the Store port. Three
rooms, no more: routes, store, and the views that make answers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from xaas_api import events, server_routes
from xaas_api.definitions import routes as definition_routes
from xaas_api.errors import (
    FORESEEN,
    ApiError,
    ProblemType,
    as_api_error,
    invalid,
    message_of,
    place_of,
    problem_response,
)
from xaas_api.guard import Doorkeeper, Guard
from xaas_api.metrics import Measured, Metrics
from xaas_api.openapi import document
from xaas_api.paths import RawPaths
from xaas_api.runs import routes as run_routes
from xaas_api.runs import schemas as run_schemas
from xaas_api.runs import task_routes
from xaas_api.schemas import Health
from xaas_api.services import Services
from xaas_core.admission import Problem


class Api:
    """The ASGI app, with a handle on its streams."""

    def __init__(self, services: Services, access: Doorkeeper) -> None:
        self.feed = events.Feed(services)
        self._metrics = Metrics(services)
        self.fastapi = self._build(services)
        inner: ASGIApp = Guard(self.fastapi, self.fastapi.routes, access)
        self._outer = RawPaths(Measured(inner, self._metrics))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        await self._outer(scope, receive, send)

    def stop_streams(self) -> None:
        """End events and followed logs, so that their connections can close."""
        self.feed.stop()

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return self.fastapi.openapi()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen to the store; enter it before the app is served. Raises Unavailable."""
        listening = asyncio.create_task(self.feed.run())
        await asyncio.sleep(0)
        await self._metrics.start()
        try:
            yield
        finally:
            self.stop_streams()
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening

    def _build(self, services: Services) -> FastAPI:
        app = FastAPI(
            title="XaaS pipelines",
            version=product_version(),
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        models: tuple[type[BaseModel], ...] = (
            *definition_routes.MODELS,
            *run_schemas.MODELS,
            Health,
        )

        def openapi() -> dict[str, Any]:
            if app.openapi_schema is None:
                app.openapi_schema = document(app, models)
            return app.openapi_schema

        app.openapi = openapi  # type: ignore[method-assign]
        router: APIRouter = app.router
        for resource in definition_routes.RESOURCES:
            definition_routes.add_routes(router, services, resource)
        run_routes.add_routes(router, services)
        task_routes.add_routes(router, services)
        events.add_routes(router, services, self.feed)
        server_routes.add_routes(router, app, services, self._metrics)
        add_error_handlers(app)
        return app


def create_app(services: Services, access: Doorkeeper) -> Api:
    """The app for these doors, open to those whom `access` lets in."""
    return Api(services, access)


def product_version() -> str:
    """The installed product's version."""
    try:
        return version("xaas-pipeline")
    except PackageNotFoundError:
        return "0"


def add_error_handlers(app: FastAPI) -> None:
    """Answer everything that is raised with problem details."""

    async def foreseen(_: Request, error: Exception) -> Response:
        return problem_response(as_api_error(error))

    async def invalid_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        # A location is ("query", "limit"): where it was sent is the parameter's own affair.
        found = [
            Problem(place_of(entry["loc"][1:]), message_of(entry["type"], entry["msg"]))
            for entry in error.errors()
        ]
        return problem_response(invalid(found))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = allowed_methods(app, request.scope)
            text = f"this path has {allowed}"
            kind, headers = ProblemType.METHOD_NOT_ALLOWED, {"allow": allowed}
            return problem_response(ApiError(kind, text, headers=headers))
        if error.status_code == HTTPStatus.NOT_FOUND:
            return problem_response(ApiError(ProblemType.NOT_FOUND, "there is no such path"))
        return problem_response(ApiError(ProblemType.INVALID_REQUEST, str(error.detail)))

    for kind in FORESEEN:
        app.add_exception_handler(kind, foreseen)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, foreseen)


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """What an Allow header lists for a path."""
    methods: set[str] = set()
    for route in app.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return ", ".join(sorted(methods))
