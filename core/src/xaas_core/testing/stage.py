"""A stage: coroutines that take turns by a seeded choice, on a virtual clock, without a loop.

Theory of operation. An *actor* is a coroutine. It runs until it awaits `turn`: that is the only way
to give way, and the only place where anything else can happen, so a seed replays a play exactly.

    await turn()          let others go first, as chance has it
    await turn(at)        go on at virtual time `at` (milliseconds since 1970)
    await turn(promise)   go on when the promise is settled (`await promise` gives its value)

Time stands still while anyone can act, and jumps to the next timer when nobody can. Actors belong
to a *group*, a process that can be killed: its actors end where they are, as a process does.
"""

import heapq
import random
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from xaas_core.testing.clock import VirtualClock


class Killed(BaseException):
    """Raised by an actor that has killed its own process. No `except Exception` catches it."""


class Promise:
    """A value that comes later."""

    __slots__ = ("_stage", "_waiting", "error", "settled", "value")

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self._waiting: list[Actor] = []
        self.settled = False
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        """Give the value, or what to raise instead. Only the first call counts."""
        if self.settled:
            return
        self.settled, self.value, self.error = True, value, error
        self._stage.ready.extend(self._waiting)
        self._waiting.clear()

    def add(self, actor: "Actor") -> None:
        """Wake `actor` when settled."""
        if self.settled:
            self._stage.ready.append(actor)
        else:
            self._waiting.append(actor)

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.settled:
            yield self
        if self.error is not None:
            raise self.error
        return self.value


@types.coroutine
def turn(until: int | Promise | None = None) -> Generator[Any, None, None]:
    """Give way; see the module's text."""
    yield until


class Actor:
    """A coroutine on the stage. `done(value, error)` is called at its end, `killed()` if killed."""

    __slots__ = ("alive", "born", "coroutine", "done", "group", "killed", "name")

    def __init__(
        self,
        name: str,
        group: str,
        coroutine: Coroutine[Any, Any, Any],
        done: Callable[[Any, Exception | None], None] | None,
    ) -> None:
        self.name = name
        self.group = group
        self.coroutine = coroutine
        self.done = done
        self.killed: Callable[[], None] | None = None
        self.alive = True
        self.born = 0  # the stage's step in which it was spawned


class Stage:
    """Whoever may act, what comes when, and what was seen."""

    def __init__(self, seed: int | str, clock: VirtualClock | None = None) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a play that can be repeated
        self.clock = clock or VirtualClock()
        self.ready: list[Actor] = []
        self.current: Actor | None = None
        self.steps = 0
        self.trace: deque[tuple[int, str, str, tuple[Any, ...]]] = deque(maxlen=200)
        self.echo: Callable[[str], None] | None = None
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._groups: dict[str, dict[Actor, None]] = {}  # in order, for the same play again

    # --- who acts ---

    def spawn(
        self,
        name: str,
        coroutine: Coroutine[Any, Any, Any],
        group: str = "",
        done: Callable[[Any, Exception | None], None] | None = None,
    ) -> Actor:
        """Let `coroutine` act from now on."""
        actor = Actor(name, group, coroutine, done)
        actor.born = self.steps
        self._groups.setdefault(group, {})[actor] = None
        self.ready.append(actor)
        return actor

    def call(
        self, name: str, coroutine: Coroutine[Any, Any, Any], group: str, lost: Exception
    ) -> Promise:
        """Let `coroutine` act in `group`; its value by a promise, `lost` if the group is killed."""
        promise = Promise(self)
        actor = self.spawn(name, coroutine, group, promise.settle)
        actor.killed = lambda: promise.settle(error=lost)
        return promise

    def kill(self, actor: Actor) -> None:
        """End `actor` where it is."""
        if not actor.alive:
            return
        actor.alive = False
        self._groups[actor.group].pop(actor, None)
        if actor is not self.current:
            actor.coroutine.close()
        if actor.killed is not None:
            actor.killed()

    def kill_group(self, group: str) -> None:
        """End all actors of `group` but the current one, which raises Killed by itself."""
        for actor in list(self._groups.get(group, ())):
            self.kill(actor)

    def close(self) -> None:
        """End all actors and forget all timers."""
        self._timers.clear()
        for group in list(self._groups):
            self.kill_group(group)

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Call `action` at virtual time `when`."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, action))

    def after(self, delay: int, action: Callable[[], None]) -> None:
        """Call `action` in `delay` milliseconds."""
        self.at(self.clock.now() + delay, action)

    # --- time ---

    def step(self) -> bool:
        """Let one actor act once, or time pass. False if there is nothing left to come."""
        self.steps += 1
        self._fire()
        if not self.ready:
            if not self._timers:
                return False
            self.clock.move_to(self._timers[0][0])
            self._fire()
            return True
        index = int(self.random.random() * len(self.ready))
        self.ready[index], self.ready[-1] = self.ready[-1], self.ready[index]
        actor = self.ready.pop()
        if actor.alive:
            self._resume(actor)
        return True

    def play(self, until: Callable[[], bool], steps: int) -> bool:
        """Step until `until()`; False if that took more than `steps` or nothing was left."""
        end = self.steps + steps
        while not until():
            if self.steps >= end or not self.step():
                return until()
        return True

    def _fire(self) -> None:
        now = self.clock.now()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _resume(self, actor: Actor) -> None:
        self.current = actor
        try:
            pause = actor.coroutine.send(None)
        except StopIteration as stop:
            self._end(actor, stop.value, None)
        except Killed:
            self.kill(actor)
        except Exception as error:  # noqa: BLE001 - given to whoever spawned it
            self._end(actor, None, error)
        else:
            self._park(actor, pause)
        finally:
            self.current = None

    def _park(self, actor: Actor, pause: int | Promise | None) -> None:
        if not actor.alive:
            actor.coroutine.close()  # it was killed by what it did itself
        elif pause is None:
            self.ready.append(actor)
        elif isinstance(pause, Promise):
            pause.add(actor)
        else:
            self.at(pause, lambda: self.ready.append(actor))

    def _end(self, actor: Actor, value: Any, error: Exception | None) -> None:
        if actor.alive:
            actor.alive = False
            self._groups[actor.group].pop(actor, None)
            if actor.done is not None:
                actor.done(value, error)
            elif error is not None:
                raise error

    # --- what was seen ---

    def note(self, text: str, *values: Any) -> None:
        """Add to the trace; `values` are put into `text` (by %) when somebody reads it."""
        who = self.current.name if self.current is not None else "-"
        entry = (self.clock.now(), who, text, values)
        self.trace.append(entry)
        if self.echo is not None:
            self.echo(_line(entry))

    def story(self, last: int = 60) -> str:
        """The last of what was seen, a line each."""
        return "\n".join(_line(entry) for entry in list(self.trace)[-last:])


def _line(entry: tuple[int, str, str, tuple[Any, ...]]) -> str:
    at, who, text, values = entry
    return f"{(at % 100_000_000) / 1000:>10.3f} {who:<22} {text % values if values else text}"
