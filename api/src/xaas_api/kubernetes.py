"""The REST API on Kubernetes: `python -m xaas_api.kubernetes`.

    REST, events  uvicorn on host:port
    store         custom resources, read and written as this server; a watch tells of changes
    logs          of pods
    evaluator     the container beside this one that compiles users' sources, over a Unix socket

Any number of replicas may run. None of them reconciles: that is the operator's work. Who may call,
and what, is the cluster's business (`cluster_access.py`).

Told to end (SIGTERM), the server first says that it isn't ready, and goes on for a while: requests
come until everybody has heard of it. Then streams end, so that their clients go to another replica,
requests under way are finished, and connections closed.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xaas_api.app import create_app
from xaas_api.cluster_access import ClusterAccess
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.clock import SystemClock
from xaas_core.ports import Unavailable
from xaas_core.serving import (
    Assembly,
    Server,
    StartError,
    listen,
    new_loop,
    say,
    stop_signal,
    until_told,
    url_of,
    write_log,
)
from xaas_kube.client import KubeClient, Unreachable
from xaas_kube.evaluator import SocketEvaluator
from xaas_kube.logs import PodLogs
from xaas_kube.reviews import Reviews
from xaas_kube.store import KubernetesStore

STOP_WITHIN: Final = 12
"""Seconds that requests under way have when the server stops: a PATCH may wait for 10."""

LOG_POLL: Final = 1.0
"""Seconds between looks at a log that is followed: each reads the pod's log from its beginning."""

LOG_DELAY: Final = 0.5
"""Seconds until what a container wrote has surely been collected, and can be read."""

DRAIN: Final = 5.0
"""Seconds between not being ready and the end: Services and ingresses hear of it in that time."""


@dataclass(frozen=True)
class Settings:
    """How to serve. `namespace` is for requests that name none; `kubeconfig` None: in the cluster.

    `host` empty: on all addresses. `port` 0 takes any free one. `drain` in seconds.
    `allowed_imports`: the operator's.
    """

    evaluator: Path
    namespace: str = "default"
    host: str = ""  # everywhere: a pod is called from outside; every call needs a token
    port: int = 8080
    kubeconfig: Path | None = None
    drain: float = DRAIN
    allowed_imports: Sequence[str] = ()
    log_level: str = "warning"


class KubernetesServer(Assembly):
    """An async context: the API is served inside it. Raises StartError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(Unreachable, Unavailable)
        self._services: Services | None = None
        self.url = ""

    async def leave(self) -> None:
        """Say that the server isn't ready any more, and go on until everybody has heard of it."""
        assert self._services is not None
        self._services.is_leaving = True
        await asyncio.sleep(self._settings.drain)

    async def _start(self) -> None:
        settings, stack = self._settings, self._parts.stack
        listener = stack.enter_context(listen(settings.host, settings.port))
        client = await KubeClient.connect(settings.kubeconfig)
        stack.push_async_callback(client.close)
        store = KubernetesStore(client, SystemClock())
        stack.push_async_callback(store.close)
        evaluator = SocketEvaluator(settings.evaluator)
        stack.push_async_callback(evaluator.close)
        await asyncio.gather(store.start_up(), evaluator.start_up())
        self._parts.keep(asyncio.create_task(store.failed(), name="store"))
        logs = PodLogs(client, store)
        admission = Admission(store, evaluator, settings.allowed_imports)
        services = Services(store, admission, logs, settings.namespace)
        services.log_poll, services.log_delay = LOG_POLL, LOG_DELAY
        access = ClusterAccess(Reviews(client), store, settings.namespace)
        api = create_app(services, access)
        await stack.enter_async_context(api.running())
        server = Server(api, stop_within=STOP_WITHIN, web_sockets=True)
        await self._parts.serve("api", server, listener)
        stack.callback(api.stop_streams)
        self._services = services
        self.url = url_of(listener)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    async with KubernetesServer(settings) as server:
        stop = stop_signal()
        say(f"xaas listens on {server.url} (namespace: {settings.namespace})")
        await until_told(stop, server.failed())
        await server.leave()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as the arguments say, until a signal; the answer is the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m xaas_api.kubernetes", description="Serve the REST API on Kubernetes."
    )
    add = parser.add_argument
    add("--host", default=Settings.host, help="address to listen on; all by itself")
    add("--port", type=int, default=Settings.port, help="port to listen on; 0: any free one")
    add("--namespace", default=Settings.namespace, help="the namespace if a request names none")
    add("--evaluator", type=Path, required=True, help="socket of the evaluator")
    add("--kubeconfig", type=Path, help="access to the cluster from outside of it")
    add("--drain", type=float, default=DRAIN, help="seconds between not being ready and the end")
    add(
        "--allow-import",
        dest="allowed_imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module that every script may import; as the operator's settings have it",
    )
    add("--log-level", choices=("debug", "info", "warning", "error"), default=Settings.log_level)
    settings = Settings(**vars(parser.parse_args(argv)))
    write_log(settings.log_level)
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
