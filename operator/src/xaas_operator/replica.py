"""One replica of the operator.

    every replica    store (watches), evaluator, gateway for runners, probes and metrics
    the leader       the controller with its launcher, readiness of definitions (kopf), Events

Nothing is handed over when the leader changes: whoever leads next reads what is so. A replica that
loses the Lease, or any part of itself, ends, and Kubernetes starts it anew.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xaas_core.admission import Admission
from xaas_core.children import Children
from xaas_core.clock import SystemClock
from xaas_core.controller import Controller
from xaas_core.gateway import Gateway
from xaas_core.gateway_app import gateway_app
from xaas_core.long_polls import LongPolls
from xaas_core.ports import Ports, Unavailable
from xaas_core.serving import Assembly, Server, StartError, listen
from xaas_core.tokens import Tokens
from xaas_kube.client import ApiError, KubeClient, Unreachable
from xaas_kube.evaluator import SocketEvaluator
from xaas_kube.launcher import JobLauncher
from xaas_kube.lease import Lease, Lost
from xaas_kube.logs import PodLogs
from xaas_kube.pool import Pool
from xaas_kube.store import KubernetesStore
from xaas_operator import gateway_key
from xaas_operator.events import EventRecorder
from xaas_operator.probes import Health, probes
from xaas_operator.readiness import Readiness
from xaas_operator.settings import Settings
from xaas_operator.shell import run_shell

EVERYWHERE: Final = ""  # runners and the kubelet call from outside
STOP_WITHIN: Final = 5
"""Seconds that calls under way have when the replica stops; runners call again."""


@dataclass(frozen=True)
class Place:
    """Where the replica runs. `kubeconfig` None: in the cluster. `gateway`: what runners call, if it
    isn't the Service. `take_signals` has the process's signals come to whoever ends the replica."""

    namespace: str
    identity: str
    kubeconfig: Path | None = None
    gateway: str = ""
    probes_port: int = 8081
    take_signals: Callable[[], object] = lambda: None


class Replica(Assembly):
    """An async context: the replica works inside it. Raises StartError."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        super().__init__(ApiError, Unreachable, Unavailable)
        self._health = Health()

    def _leave(self) -> None:
        self._health.ready = False

    async def _start(self) -> None:
        settings, place, parts = self._settings, self._place, self._parts
        client = await KubeClient.connect(place.kubeconfig)
        parts.stack.push_async_callback(client.close)
        asked = Server(probes(self._health, client), stop_within=1)
        await parts.serve("probes", asked, listen(EVERYWHERE, place.probes_port))
        tokens = Tokens(
            await gateway_key.read_or_make(
                client,
                place.namespace,
                settings.gateway.key_secret,
                gateway_key.deployment_name(),
            )
        )
        gateway = place.gateway or await self._gateway_address(client)
        clock, jobs = SystemClock(), settings.runner.of_jobs()
        store = KubernetesStore(client, clock, live_only=True)
        parts.stack.push_async_callback(store.close)
        evaluator = SocketEvaluator(settings.evaluator)
        parts.stack.push_async_callback(evaluator.close)
        await asyncio.gather(store.start_up(), evaluator.start_up())
        parts.keep(asyncio.create_task(store.failed(), name="watches"))
        admission = Admission(store, evaluator, settings.allowed_imports)
        polls = LongPolls()
        pool = Pool(client, jobs, gateway, tokens.issue_idle, clock, polls)
        if jobs.pool:
            watch = asyncio.create_task(pool.informer.run(), name="pool")
            parts.keep(watch)
            await pool.informer.until_synced(watch)
        launcher = JobLauncher(client, store.where, jobs, gateway, pool if jobs.pool else None)
        ports = Ports(store, launcher, evaluator, PodLogs(client, store), clock)
        calls = Gateway(store, clock, polls)
        children = Children(calls, store, admission, ports.logs)
        app = gateway_app(calls, tokens, children, pool.work)
        listener = listen(EVERYWHERE, settings.gateway.port)
        server = Server(app, stop_within=STOP_WITHIN)
        await parts.serve("gateway", server, listener)
        self._health.runs = lambda: store.live_count
        self._health.idle = lambda: pool.idle
        self._health.ahead = lambda: launcher.ahead
        self._health.ready = True
        readiness = Readiness(client, store, admission)
        lease = Lease(client, place.namespace, settings.lease, place.identity)
        leader = Leader(
            lease,
            launcher,
            Controller(ports, tokens, admission),
            readiness,
            EventRecorder(client, store, clock),
            self._health,
            store,
            pool,
        )
        parts.keep(asyncio.create_task(leader.lead(place), name="leader"))
        # Runners ask another replica from then on. Before the leader ends, for kopf's end cancels all
        # that has begun since its start, also what answers them.
        parts.stack.push_async_callback(server.stop)
        parts.stack.callback(polls.end)
        parts.stack.callback(self._leave)  # the first of all that happens at the end

    async def _gateway_address(self, client: KubeClient) -> str:
        """The Service's address: runners need no name service to call it."""
        name, namespace = self._settings.gateway.service, self._place.namespace
        found = await client.get(f"/api/v1/namespaces/{namespace}/services/{name}")
        address = found["spec"].get("clusterIP")
        if not address or address == "None":
            raise StartError(f"the Service {name!r} has no address of its own (clusterIP)")
        host = f"[{address}]" if ":" in address else address
        return f"http://{host}:{self._settings.gateway.port}"


@dataclass(frozen=True)
class Leader:
    """What only one replica does at a time."""

    lease: Lease
    launcher: JobLauncher
    controller: Controller
    readiness: Readiness
    recorder: EventRecorder
    health: Health
    store: KubernetesStore
    pool: Pool

    async def lead(self, place: Place) -> None:
        """Wait for the Lease, then lead until it is lost. Raises Lost."""
        await self.lease.acquire()
        try:
            async with asyncio.TaskGroup() as group:
                # First of all: with thousands of runs it takes longer to see them than a Lease lasts.
                group.create_task(self.lease.keep())
                await self.launcher.start_up()
                await self.store.refresh()
                self.health.leads = True
                self.health.waiting = lambda: len(self.controller.queue)
                self.health.looks = lambda: self.controller.looks
                group.create_task(self.launcher.failed())
                self.store.lead()
                group.create_task(self.controller.run())
                group.create_task(self.readiness.run())
                group.create_task(self.recorder.run())
                group.create_task(self.pool.keep())
                group.create_task(
                    run_shell(self.readiness, place.kubeconfig, place.identity, place.take_signals)
                )
        except BaseExceptionGroup as failures:
            if failures.subgroup(Lost) is not None:
                raise Lost("the Lease is lost: another replica leads") from failures
            raise _first(failures) from failures
        finally:
            self.health.leads = False
            await self.launcher.close()
            await self.lease.release()


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the errors of a group: what failed first ended the others, by cancelling them."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def own_namespace(settings: Settings) -> str:
    """The namespace that the operator runs in."""
    return settings.namespace or os.environ.get("POD_NAMESPACE", "default")
