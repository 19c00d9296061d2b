"""Our process, as the simulation runs it: the real Reconciler and Gateway behind doors."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from tests.simulation.weather import Weather

from xaas_core.gateway import Gateway
from xaas_core.ports import Conflict, Evaluator, Launcher, Logs, Ports, Store, Unavailable
from xaas_core.reconciler import Reconciler
from xaas_core.testing.stage import Killed, Stage
from xaas_core.tokens import Tokens


class Door:
    """A port as one server sees it: others go first, and the weather has its say."""

    def __init__(self, weather: Weather, server: "Server", name: str, target: Any) -> None:
        self._weather = weather
        self._server = server
        self._name = name
        self._target = target

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        do = getattr(self._target, method)
        label = f"{self._name}.{method}"
        weather, server = self._weather, self._server

        async def call(*args: Any, **named: Any) -> Any:
            bound = partial(do, **named)
            try:
                await weather.before(server, label)
            except Killed:
                weather.carry_out_later(bound, args)
                raise
            value = await bound(*args)
            await weather.after(server)
            return value

        self.__dict__[method] = call
        return call


class ServerClock:
    """A server's clock: the stage's, but for `offset` milliseconds."""

    def __init__(self, stage: Stage, offset: int) -> None:
        self.offset = offset
        self._true = stage.clock

    def now(self) -> int:
        """Milliseconds since 1970."""
        return self._true.now() + self.offset


@dataclass(frozen=True)
class Surroundings:
    """What servers share. `runs` gives the uids of all runs."""

    stage: Stage
    weather: Weather
    store: Any
    launcher: Any
    evaluator: Any
    runs: Callable[[], Collection[str]]


class Server:
    """Reconciles, one at a time for each run as the queue has it, and answers runners."""

    def __init__(self, around: Surroundings, name: str) -> None:
        self.name = name
        self.up = False
        self.active: set[str] = set()
        self.reconciles = 0
        self._around = around
        self._again: set[str] = set()
        self._due: dict[str, int] = {}
        self._failures = 0
        self.start()

    def start(self) -> None:
        """Begin anew, knowing nothing."""
        around, skew = self._around, self._around.weather.faults.skew
        self._clock = ServerClock(around.stage, around.stage.random.randint(-skew, skew))
        store = cast(Store, Door(around.weather, self, "store", around.store))
        ports = Ports(
            store=store,
            launcher=cast(Launcher, Door(around.weather, self, "launcher", around.launcher)),
            evaluator=cast(Evaluator, Door(around.weather, self, "evaluator", around.evaluator)),
            logs=cast(Logs, None),
            clock=self._clock,
        )
        self.reconciler = Reconciler(ports, Tokens(b"key"))
        self.gateway = Gateway(store, self._clock)
        self.up = True
        for uid in around.runs():
            self.touch(uid)

    def crash(self) -> None:
        """Die, and come back some time later."""
        stage = self._around.stage
        stage.note("SERVER %s CRASHES", self.name)
        self.up = False
        self.active.clear()
        self._again.clear()
        self._due.clear()
        stage.kill_group(self.name)
        stage.after(stage.random.randint(10, 4_000), self.start)

    def touch(self, uid: str) -> None:
        """Reconcile `uid` as soon as possible."""
        if not self.up:
            return
        if uid in self.active:
            self._again.add(uid)
            return
        self.active.add(uid)
        self._due.pop(uid, None)
        self.reconciles += 1
        self._around.stage.spawn(
            f"{self.name}/reconcile",
            self.reconciler.reconcile(uid),
            self.name,
            lambda value, error: self._done(uid, value, error),
        )

    def _done(self, uid: str, wake_at: int | None, error: Exception | None) -> None:
        self.active.discard(uid)
        if isinstance(error, Conflict):
            self._again.add(uid)
        elif isinstance(error, Unavailable):
            self._failures += 1
            delay = min(50 * 2 ** min(self._failures, 7), 5_000)
            self._around.stage.after(delay, lambda: self.touch(uid))
        elif error is not None:
            raise error
        else:
            self._failures = 0
            if wake_at is not None:
                self._wake(uid, wake_at - self._clock.offset)
        if uid in self._again:
            self._again.discard(uid)
            self.touch(uid)

    def _wake(self, uid: str, at: int) -> None:
        self._due[uid] = at

        def look() -> None:
            if self._due.get(uid) == at:
                self.touch(uid)

        self._around.stage.at(at, look)
