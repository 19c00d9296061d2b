"""Our processes, as they run on Kubernetes: operators, and the API's store.

An operator is what `xaas_operator.replica` puts together, of the same parts: the store with its
watches, the launcher, the gateway, the controller. It dies, and comes back knowing nothing.
"""

import asyncio
from collections.abc import Callable

from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.client import SimulatedClient
from tests.simulation.kubernetes.kube_weather import KubeWeather
from tests.simulation.kubernetes.virtual_loop import LoopClock, Process, VirtualLoop, later

from xaas_core.controller import Controller
from xaas_core.gateway import Gateway
from xaas_core.ports import Logs, Ports, Unavailable
from xaas_core.testing.scripted import ScriptedEvaluator
from xaas_core.tokens import Tokens
from xaas_kube.jobs import JobSettings
from xaas_kube.launcher import JobLauncher
from xaas_kube.lease import Lease, Lost
from xaas_kube.store import KubernetesStore

GATEWAY = "http://192.0.2.1:8082"


class WatchfulController(Controller):
    """Says so when a run can't be reconciled for another reason than that the backend is away."""

    defect: Callable[[BaseException], None]

    def _failed(self, uid: str, error: Exception) -> None:
        if not isinstance(error, Unavailable):
            self.defect(error)


class Operator:
    """One replica that leads. `defect` is told what should never happen."""

    def __init__(
        self,
        loop: VirtualLoop,
        server: ApiServer,
        weather: KubeWeather,
        name: str,
        defect: Callable[[BaseException], None],
    ) -> None:
        self.name = name
        self._loop = loop
        self._server = server
        self._weather = weather
        self._defect = defect
        self._lives = 0
        self.gateway: Gateway | None = None
        self.store: KubernetesStore | None = None
        self.controller: Controller | None = None
        self.client: SimulatedClient | None = None
        self.start()

    @property
    def up(self) -> bool:
        """Whether it works, and its gateway answers."""
        return self.process.alive and self.gateway is not None

    @property
    def idle(self) -> bool:
        """Whether it works, and has nothing to do."""
        queue = self.controller.queue if self.controller is not None else None
        if self._weather.faults.lease and queue is None:
            return self.up  # another one leads
        return self.up and queue is not None and not len(queue) and not queue._active

    def start(self) -> None:
        """Begin anew, knowing nothing."""
        self._lives += 1
        self.process = Process(f"{self.name}.{self._lives}")
        self.process.spawn(self._main(self.process), "main")

    def crash(self) -> None:
        """Die, and come back some time later."""
        if not self.process.alive:
            return
        self._weather.note("OPERATOR %s CRASHES", self.process.name)
        self.process.kill()
        self.gateway = None
        self.controller = None
        later(self._weather.chance.between(0.01, 4.0, self.name, "comes back"), self.start)

    async def _main(self, process: Process) -> None:
        weather, name = self._weather, process.name
        client = self.client = SimulatedClient(self._server, process, weather, self.crash)
        skew = weather.faults.skew
        clock = LoopClock(self._loop, round(weather.chance.between(-skew, skew, name, "skew")))
        store = KubernetesStore(client, clock, live_only=True)  # type: ignore[arg-type]
        settings = JobSettings(
            image="runner",
            keep_finished=weather.faults.kept,
            lookahead=weather.faults.lookahead,
        )
        launcher = JobLauncher(client, store.where, settings, GATEWAY)  # type: ignore[arg-type]
        try:
            await store.start_up()
            self.store, self.gateway = store, Gateway(store, clock)
            lease = Lease(client, "default", "lease", name)  # type: ignore[arg-type]
            if weather.faults.lease:
                await lease.acquire()
                weather.note("LEADS: %s", name)
            logs: Logs = None  # type: ignore[assignment]
            ports = Ports(store, launcher, ScriptedEvaluator(), logs, clock)
            controller = WatchfulController(ports, Tokens(b"key"))
            controller.defect = self._defect
            self.controller = controller
            async with asyncio.TaskGroup() as group:
                group.create_task(store.failed())
                if weather.faults.lease:
                    group.create_task(lease.keep())
                await launcher.start_up()
                await store.refresh()
                group.create_task(launcher.failed())
                store.lead()
                group.create_task(controller.run())
        except Exception as error:  # noqa: BLE001 - a replica whose part ends is started anew
            weather.note("operator %s ends: %r", name, error)
            if _may_end_a_replica(error):
                self.crash()
            else:
                self._defect(error)


def _may_end_a_replica(error: BaseException) -> bool:
    """Whether an error is one for which a replica is started anew."""
    if isinstance(error, BaseExceptionGroup):
        return all(_may_end_a_replica(each) for each in error.exceptions)
    return isinstance(error, Unavailable | Lost)


class Api:
    """The API's store: what users write by REST, and what notifications are read from."""

    def __init__(self, loop: VirtualLoop, server: ApiServer, weather: KubeWeather) -> None:
        self._loop = loop
        self._server = server
        self._weather = weather
        self._lives = 0
        self.store: KubernetesStore | None = None
        self.started = asyncio.Event()

    def start(self) -> None:
        """Begin anew."""
        self._lives += 1
        self.process = Process(f"api.{self._lives}")
        self.process.spawn(self._main(self.process), "main")

    def crash(self) -> None:
        """Die, and come back at once."""
        self._weather.note("API CRASHES")
        self.process.kill()
        self.started.clear()
        self.start()

    async def _main(self, process: Process) -> None:
        # Its requests don't count as points; its watches have the same troubles as the operators'.
        client = SimulatedClient(self._server, process, self._weather)
        store = KubernetesStore(client, LoopClock(self._loop))  # type: ignore[arg-type]
        await store.start_up()
        self.store = store
        self.started.set()
        await store.failed()
