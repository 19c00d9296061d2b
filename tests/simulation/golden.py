"""Golden runs: one of each kind, with the end it must come to.

Each is played once undisturbed, and then once more for every point at which something may strike
(`world.Strike`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.simulation.faults import Scenario, Strike
from tests.simulation.rules import RunFacts, TaskFacts, check
from tests.simulation.witness import Witness
from tests.simulation.world import World

from xaas_core.ports import RunnerKey
from xaas_core.testing.scripted import Act

Failing = Mapping[tuple[str, str], int]
"""How many times the scripts of a ref's side fail before they succeed."""


@dataclass(frozen=True)
class Golden:
    """A scenario, how its scripts behave, and the states that it ends in.

    `ends`: the run's state, then for each task do/undo: the states' first letters. `steady`: a
    crash of the server changes nothing about it.
    """

    scenario: Scenario
    ends: str
    failing: Failing = field(default_factory=dict)
    duration: int = 300
    steady: bool = True


class Script:
    """Each edits a key of its own; the first ones fail as told."""

    def __init__(self, golden: Golden) -> None:
        self._golden = golden
        self._played: Counter[tuple[str, str]] = Counter()

    def __call__(self, world: Any, key: RunnerKey, step: int) -> Act:
        """What the script of `step` does this time."""
        place = (key.ref, str(key.side))
        fails = self._played[place] < self._golden.failing.get(place, 0)
        self._played[place] += 1
        path = [key.ref, f"{key.side}{step}"]
        edit = {"op": "set", "path": path, "value": self._played[place]}
        duration = self._golden.duration if key.side == "do" else 100
        return Act(duration, not fails, (edit,))  # type: ignore[arg-type]


def _scenario(
    *tasks: TaskFacts, operations: tuple[tuple[int, str], ...] = (), **more: object
) -> Scenario:
    of_run = {"auto_rollback", "on_abort", "timeout", "ttl"}
    run = RunFacts(tasks, {"given": 1}, **{k: v for k, v in more.items() if k in of_run})  # type: ignore[arg-type]
    rest = {k: v for k, v in more.items() if k not in of_run}
    return Scenario(run, operations, **{"follow": (), **rest})  # type: ignore[arg-type]


A, B, C = TaskFacts("a", undos=(True, True)), TaskFacts("b", ("a",)), TaskFacts("c", ("b",))
DIAMOND = (
    TaskFacts("a"),
    TaskFacts("b", ("a",)),
    TaskFacts("c", ("a",)),
    TaskFacts("d", ("b", "c")),
)
FAILS_B = {("b", "do"): 99}

GOLDEN: Mapping[str, Golden] = {
    "success": Golden(_scenario(A, B), "complete a:s/p b:s/p"),
    "rollback": Golden(_scenario(A, B, C), "cancelled a:s/s b:f/s c:p/k", FAILS_B),
    "retry": Golden(
        _scenario(A, TaskFacts("b", ("a",), retries=2, delay=200)),
        "complete a:s/p b:s/p",
        {("b", "do"): 2},
    ),
    "retried in vain": Golden(
        _scenario(A, TaskFacts("b", ("a",), retries=1, delay=200)), "cancelled a:s/s b:f/s", FAILS_B
    ),
    "cancel": Golden(
        _scenario(A, B, C, operations=((1_000, "cancel"),)), "cancelled", steady=False
    ),
    "recovery": Golden(
        _scenario(A, B, C, auto_rollback=False, follow=("recovery",)),
        "complete a:s/p b:s/p c:s/p",
        {("b", "do"): 1},
    ),
    "at rest, then cancelled": Golden(
        _scenario(A, B, C, auto_rollback=False, follow=("cancel",)),
        "cancelled a:s/s b:f/s c:p/k",
        FAILS_B,
    ),
    "undo fails, cancel": Golden(
        _scenario(A, B, follow=("cancel",)),
        "cancelled a:s/s b:f/s",
        {("b", "do"): 99, ("a", "undo"): 1},
    ),
    "undo fails, recovery": Golden(
        _scenario(A, B, C, follow=("recovery",)),
        "complete a:s/p b:s/p c:s/p",
        {("b", "do"): 1, ("b", "undo"): 1},
    ),
    "undo retried": Golden(
        _scenario(TaskFacts("a", retries=1), B),
        "cancelled a:s/s b:f/s",
        {("b", "do"): 99, ("a", "undo"): 1},
    ),
    "fan-in": Golden(_scenario(*DIAMOND), "complete a:s/p b:s/p c:s/p d:s/p"),
    "fan-in, rolled back": Golden(
        _scenario(*DIAMOND), "cancelled a:s/s b:s/s c:s/s d:f/s", {("d", "do"): 99}
    ),
    "conditions": Golden(
        _scenario(
            TaskFacts("a", condition="has given"),
            TaskFacts("b", ("a",), condition="false"),
            TaskFacts("c", ("b",), condition="has a"),
            TaskFacts("d", ("c",), undos=()),
        ),
        "complete a:s/p b:k/p c:s/p d:s/p",
    ),
    "a condition raises": Golden(
        _scenario(A, TaskFacts("b", ("a",), condition="error")), "cancelled a:s/s b:f/k"
    ),
    "run timeout": Golden(
        _scenario(A, B, timeout=2_000), "cancelled", duration=1_500, steady=False
    ),
    "attempt timeout": Golden(
        _scenario(A, TaskFacts("b", ("a",), timeout=1_000)),
        "cancelled a:s/s b:f/s",
        duration=1_500,
        steady=False,
    ),
    "terminate": Golden(
        _scenario(
            TaskFacts("a"), TaskFacts("b"), on_abort="terminate", operations=((2_000, "cancel"),)
        ),
        "cancelled a:f/s b:f/s",
        duration=20_000,
        steady=False,
    ),
    "suspend": Golden(
        _scenario(A, B, operations=((700, "suspend"), (9_000, "resume"))), "complete a:s/p b:s/p"
    ),
    "rollback of a complete run": Golden(
        _scenario(A, B, follow=("rollback",)), "cancelled a:s/s b:s/s"
    ),
    "cancelled before it began": Golden(
        _scenario(A, B, begin=False, follow=("cancel",)), "cancelled a:p/p b:p/p"
    ),
    "definitions come late": Golden(
        _scenario(A, B, definitions_after=5_000), "complete a:s/p b:s/p"
    ),
    "definitions never come": Golden(
        _scenario(A, begin=False, definitions_after=None, follow=("cancel", "run")), "cancelled"
    ),
    "cancelled before it is planned": Golden(
        _scenario(
            A,
            begin=False,
            definitions_after=9_000,
            operations=((1_000, "cancel"), (12_000, "run")),
        ),
        "cancelled a:p/p",
    ),
    "deleted in flight": Golden(
        _scenario(A, B, operations=((1_000, "delete"),)), "removed", steady=False
    ),
    "removed by its ttl": Golden(_scenario(A, ttl=3_000), "removed"),
}


def play(name: str, strike: Strike | None = None, verbose: bool = False) -> World:
    """Play a golden run, struck by something or not. Raises what the world raises."""
    golden = GOLDEN[name]
    world = World(golden.scenario, name, Script(golden), strike)
    if verbose:
        world.stage.echo = print
    try:
        world.play()
        found = ending(world)
        undisturbed = strike is None or (golden.steady and strike.kind != "die")
        as_told = not undisturbed or found.startswith(golden.ends)
        check(as_told, "it ends as %r, not as %r", found, golden.ends)
    except BaseException as error:
        error.add_note(f"{world.stage.story()}\n{name}, struck by {strike}")
        raise
    finally:
        world.stage.close()
    return world


class Ended(Protocol):
    """A world, as far as its ending is concerned."""

    @property
    def scenario(self) -> Scenario: ...

    @property
    def witness(self) -> Witness: ...


def ending(world: Ended) -> str:
    """How a run has ended; see `Golden`."""
    if world.witness.removed:
        return "removed"
    letters = {"skipped": "k"}
    states = {
        key: letters.get(state, state[0]) for key, state in world.witness.oracle.states.items()
    }
    refs = [task.ref for task in world.scenario.run.tasks]
    return " ".join(
        [world.witness.oracle.state, *(f"{r}:{states[r, 'do']}/{states[r, 'undo']}" for r in refs)]
    )


def strikes(name: str, every: int = 1) -> Iterator[Strike]:
    """All that may strike a golden run, or every so-manieth."""
    points = play(name).weather.points
    for at in range(1, points + 1, every):
        yield Strike("crash", at)
        yield Strike("lose", at)
        yield Strike("die", at)
