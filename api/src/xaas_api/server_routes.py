"""Routes about the server itself: probes, metrics, the OpenAPI document and its page."""

import asyncio
import base64
import hashlib
import re
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from xaas_api.answers import answer
from xaas_api.errors import ApiError, ProblemType
from xaas_api.metrics import Metrics
from xaas_api.openapi import gives, problems, text
from xaas_api.schemas import Health
from xaas_api.services import Services

READY_WITHIN: Final = 2.0
"""Seconds in which the store must answer."""


class ServerRoutes:
    """The routes."""

    def __init__(self, app: FastAPI, services: Services, metrics: Metrics) -> None:
        self._app = app
        self._services = services
        self._metrics = metrics
        self._page = files("xaas_api").joinpath("docs.html").read_bytes()
        self._policy = content_policy(self._page.decode())

    async def healthz(self) -> Response:
        """Whether the process lives."""
        return answer({"status": "ok"})

    async def readyz(self) -> Response:
        """Whether the store answers, and the server isn't about to end."""
        if self._services.is_leaving:
            raise ApiError(ProblemType.UNAVAILABLE, "the server is about to end")
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._services.store.last_cursor()
        except TimeoutError:
            raise ApiError(ProblemType.UNAVAILABLE, "the store doesn't answer") from None
        return answer({"status": "ok"})

    async def metrics(self) -> Response:
        """Numbers for Prometheus."""
        content = await self._metrics.render()
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self) -> Response:
        """This document."""
        return answer(self._app.openapi())

    async def docs(self) -> Response:
        """The document as a page; it loads nothing from elsewhere."""
        headers = {
            "content-security-policy": self._policy,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
        }
        return Response(self._page, 200, headers, "text/html; charset=utf-8")


def content_policy(page: str) -> str:
    """Lets `page` use its own script and style, call this server, and nothing else."""
    script, style = (_hashes(page, tag) for tag in ("script", "style"))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(page: str, tag: str) -> str:
    contents = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in contents)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def add_routes(router: APIRouter, app: FastAPI, services: Services, metrics: Metrics) -> None:
    """Add the routes."""
    routes = ServerRoutes(app, services, metrics)
    well = gives("It is well", Health, {"status": "ok"})
    numbers = text("The numbers", "text/plain", 'xaas_runs{state="processing"} 2.0\n')
    page = text("The page", "text/html", "<!doctype html>")
    shown: dict[str, Any] = {
        "description": "The document",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    for path, endpoint, told in (
        ("/healthz", routes.healthz, well),
        ("/readyz", routes.readyz, well),
        ("/metrics", routes.metrics, numbers),
        ("/openapi.json", routes.openapi, shown),
        ("/docs", routes.docs, page),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["Server"],
            name=path,
            operation_id=endpoint.__name__,
            responses=problems() | {200: told},
        )
