"""`/metrics`: what the server does and how its runs are, for Prometheus.

Requests are measured as they pass. Everything about runs is read when somebody looks: the log of
changes from where the last look ended, and the lists of runs that aren't over.
"""

from dataclasses import replace
from time import perf_counter
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xaas_api.services import Services
from xaas_core.engine.states import OVER, RunState
from xaas_core.ports import Query

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
"""Others are counted together: a label mustn't take values that clients make up."""

BUCKETS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

PAGE: Final = 1000
MAX_PAGES: Final = 10
"""Runs counted one by one per state: 10,000; more are shown as that many."""


class Metrics:
    """The numbers, in a registry of their own."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._namespace = services.namespace
        self._cursor: str | None = None
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._runs = Gauge(
            "xaas_runs", "Runs that aren't over, by state.", ["state"], registry=self.registry
        )
        self._changes = Counter(
            "xaas_changes_total",
            "Changes of state recorded since the server started.",
            ["event", "status"],
            registry=self.registry,
        )
        self._requests = Counter(
            "xaas_http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "xaas_http_request_duration_seconds",
            "Time from a request's head to its answer's.",
            ["method", "route"],
            buckets=BUCKETS,
            registry=self.registry,
        )

    async def start(self) -> None:
        """Count changes from now on."""
        self._cursor = await self._store.last_cursor()

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(method, route).observe(seconds)

    async def render(self) -> bytes:
        """The text that Prometheus reads. Raises Unavailable."""
        await self._count_changes()
        for state in RunState:
            if state not in OVER:
                self._runs.labels(state.value).set(await self._count_runs(state))
        return generate_latest(self.registry)

    async def _count_changes(self) -> None:
        while found := await self._store.changes(self._cursor, PAGE):
            for logged in found:
                event = "Pipeline" if logged.change.ref is None else "PipelineTask"
                self._changes.labels(event, logged.change.state.value).inc()
            self._cursor = found[-1].cursor

    async def _count_runs(self, state: RunState) -> int:
        query, count = Query(limit=PAGE, status=state.value), 0
        for _ in range(MAX_PAGES):
            page = await self._store.list_runs(self._namespace, query)
            count += len(page.items)
            if page.after is None:
                break
            query = replace(query, after=page.after)
        return count


class Measured:
    """Measures every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()

        async def measure(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                # A template such as /pipelines/{name}: paths themselves are without number.
                route = getattr(scope.get("route"), "path_format", "other")
                seconds = perf_counter() - started
                self._metrics.observe(method, route, message["status"], seconds)
            await send(message)

        await self._app(scope, receive, measure)
