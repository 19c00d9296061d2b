"""What goes wrong, and when: every call of a server through a port passes here, twice."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from tests.simulation.faults import Faults, Strike

from xaas_core.ports import Conflict, LaunchOrder, NotFound, RunnerKey, Unavailable
from xaas_core.testing.scripted import Mishaps
from xaas_core.testing.stage import Killed, Stage, turn

SLOWEST = 8_000
"""Milliseconds that a slow call takes at most."""


class Mortal(Protocol):
    """A server, as far as the weather knows it."""

    name: str

    def crash(self) -> None:
        """Die."""


class Weather:
    """Decides by `faults`, or strikes once as told."""

    def __init__(self, stage: Stage, faults: Faults, strike: Strike | None) -> None:
        self._stage = stage
        self.faults = faults
        self._strike = strike
        self.points = 0
        self.faulty = True  # until the faults end
        self.counting = True  # whether points count for a strike
        self.kill_oldest_job: Callable[[], None] = lambda: None

    async def before(self, server: Mortal, label: str) -> None:
        """Before a call."""
        self._stage.note("%s", label)
        self._point(server)
        await turn()
        faults = self.faults
        if self.may(faults.crash):
            self._crash(server)
        if self.may(faults.slow):
            await turn(self._stage.clock.now() + self._stage.random.randint(1, SLOWEST))
        if self.may(faults.unavailable):
            raise Unavailable("as played: nothing was done")

    async def after(self, server: Mortal) -> None:
        """After a call."""
        self._point(server)
        if self.may(self.faults.crash):
            self._crash(server)
        if self.may(self.faults.lost):
            raise Unavailable("as played: it was done, the answer is lost")
        if self.faulty:
            await turn()

    async def between(self, servers: Collection[Mortal]) -> None:
        """Between two writes of one commit."""
        actor = self._stage.current
        group = actor.group if actor is not None else ""
        server = next((each for each in servers if each.name == group), None)
        if server is None:
            return
        self._point(server)
        if self.may(self.faults.crash):
            self._crash(server)
        await turn()

    def may(self, chance: float) -> bool:
        """Whether it happens now."""
        return self.faulty and chance > 0 and self._stage.random.random() < chance

    def mishaps(self, order: LaunchOrder, erased: Collection[RunnerKey]) -> Mishaps:
        """What becomes of a new Job. `erased` are those that were deleted by hand."""
        random, faults = self._stage.random, self.faults
        ways = Mishaps(delay=random.randint(0, 600))
        if self.may(faults.dies):
            dies = random.choice((random.randint(0, 900), random.randint(0, 30_000)))
            alone, traceless = random.random() < 0.3, random.random() < faults.erased
            ways = replace(ways, dies=dies, alone=alone, erased=traceless)
        if self.may(faults.again):
            ways = replace(ways, again=random.randint(0, 3_000))
        if self.may(faults.unseen):
            ways = replace(ways, seen_after=random.randint(0, 5_000))
        if RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch) in erased:
            return ways  # the one before may have begun; that this one is stuck, too, is too much
        ways = replace(ways, refused=self.may(faults.refused))
        return replace(ways, stuck=self.may(faults.stuck))

    def carry_out_later(self, do: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """A request that was under way when its server died may still arrive."""
        if not self.may(self.faults.zombie):
            return

        async def late() -> None:
            await turn(self._stage.clock.now() + self._stage.random.randint(0, 3_000))
            self._stage.note("a request of a dead server arrives")
            with suppress(Conflict, NotFound, Unavailable):
                await do(*args)

        self._stage.spawn("zombie", late(), "zombie")

    def _point(self, server: Mortal) -> None:
        if not self.counting:
            return
        self.points += 1
        if self._strike is None or self.points != self._strike.at:
            return
        self._stage.note("STRIKE %s", self._strike.kind)
        if self._strike.kind == "crash":
            self._crash(server)
        if self._strike.kind == "lose":
            raise Unavailable("as played: it was done or not")
        self.kill_oldest_job()

    def _crash(self, server: Mortal) -> None:
        server.crash()
        raise Killed
