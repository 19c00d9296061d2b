"""What is asked of every replica over HTTP: does it live, is it ready, what are its numbers."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from xaas_kube.client import KubeClient


class Health:
    """How the replica is. `runs` counts those that aren't over; `waiting` those to be looked at."""

    def __init__(self) -> None:
        self.ready = False
        self.leads = False
        self.runs: Callable[[], int] = lambda: 0
        self.waiting: Callable[[], int] = lambda: 0
        self.idle: Callable[[], int] = lambda: 0
        self.ahead: Callable[[], int] = lambda: 0
        self.looks: Callable[[], Mapping[str, int]] = dict


def probes(health: Health, client: KubeClient) -> Starlette:
    """The app: `/healthz`, `/readyz`, `/metrics`."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    numbers: list[tuple[Gauge, Callable[[], float]]] = [
        (_gauge(registry, "xaas_leader", "Whether this replica reconciles."), lambda: health.leads),
        (
            _gauge(registry, "xaas_live_runs", "Runs that aren't over."),
            lambda: health.runs(),  # noqa: PLW0108 - replaced later
        ),
        (
            _gauge(registry, "xaas_queue_length", "Runs that wait to be looked at."),
            lambda: health.waiting(),  # noqa: PLW0108 - likewise
        ),
        (
            _gauge(registry, "xaas_idle_runners", "Pods that wait for any work."),
            lambda: health.idle(),  # noqa: PLW0108 - likewise
        ),
        (
            _gauge(registry, "xaas_ahead_runners", "Pods that wait for their turn."),
            lambda: health.ahead(),  # noqa: PLW0108 - likewise
        ),
    ]
    requests = Gauge(
        "xaas_kubernetes_requests",
        "Requests sent to the API server since the start.",
        ["verb", "resource"],
        registry=registry,
    )

    looks = Gauge(
        "xaas_reconciles",
        "Reconciles of runs since this replica began to lead, by result.",
        ["result"],
        registry=registry,
    )

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse(
            "ok" if health.ready else "not ready", 200 if health.ready else 503
        )

    async def metrics(_: Request) -> Response:
        for gauge, value in numbers:
            gauge.set(value())
        for asked, count in client.sent.items():
            requests.labels(*asked).set(count)
        for result, count in health.looks().items():
            looks.labels(result).set(count)
        content = generate_latest(registry)
        return Response(content, media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


def _gauge(registry: CollectorRegistry, name: str, told: str) -> Gauge:
    return Gauge(name, told, registry=registry)
