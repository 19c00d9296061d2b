"""Random scenarios: a DAG, settings, scripts, what users ask for, and what goes wrong."""

import random
from dataclasses import replace

from tests.simulation.faults import Faults, Scenario
from tests.simulation.rules import RunFacts, TaskFacts
from tests.simulation.world import World

from xaas_core.ports import RunnerKey
from xaas_core.testing.scripted import Act
from xaas_runner.contract import DeltaOp

KEYS = ("a", "b", "c", "d")

QUIET = Faults()
WILD = Faults(
    slow=0.02,
    unavailable=0.03,
    lost=0.03,
    crash=0.01,
    away=0.05,
    dies=0.15,
    erased=0.3,
    again=0.15,
    refused=0.02,
    stuck=0.02,
    unseen=0.3,
    deaf=0.15,
)
WEATHERS = (
    QUIET,
    Faults(dies=0.3, erased=0.3, again=0.3, unseen=0.3),
    Faults(slow=0.05, unavailable=0.05, lost=0.05, deaf=0.3),
    Faults(crash=0.03, lost=0.02),
    Faults(away=0.3, slow=0.03, crash=0.01),
    Faults(refused=0.1, stuck=0.1, dies=0.1),
    WILD,
    replace(WILD, servers=2),
    Faults(servers=2, slow=0.1),
    Faults(crash=0.03, zombie=0.7, slow=0.02),
    replace(WILD, skew=10_000, zombie=0.3),
)


def scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    chance = random.Random(f"scenario {seed}")
    faults = chance.choice(WEATHERS)
    run = RunFacts(
        tasks=tuple(_tasks(chance)),
        parameters={key: chance.randint(0, 9) for key in KEYS if chance.random() < 0.4},
        auto_rollback=chance.random() < 0.7,
        on_abort="terminate" if chance.random() < 0.3 else "finish",
        timeout=chance.choice((None, None, None, chance.randint(500, 40_000))),
        ttl=chance.choice((None, None, None, None, chance.randint(0, 20_000))),
    )
    return Scenario(
        run=run,
        operations=tuple(_operations(chance)),
        faults=faults,
        faults_end=chance.choice((20_000, 60_000, 200_000)),
        begin=chance.random() < 0.85,
        definitions_after=5_000 if chance.random() < 0.05 else 0,
    )


def _tasks(chance: random.Random) -> list[TaskFacts]:
    count = chance.choice((1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7))
    names = [f"t{index}" for index in range(count)]
    density = chance.choice((0.2, 0.4, 0.7))
    placed: list[str] = []
    tasks = []
    for name in names:
        needs = tuple(other for other in placed if chance.random() < density)[:4]
        placed.append(name)
        steps = chance.choice((1, 1, 1, 2, 2, 3, 0))
        conditions = (
            None,
            None,
            None,
            None,
            "true",
            "false",
            "error",
            f"has {chance.choice(KEYS)}",
        )
        tasks.append(
            TaskFacts(
                ref=name,
                needs=needs,
                undos=tuple(chance.random() < 0.75 for _ in range(steps)),
                condition=chance.choice(conditions),
                timeout=chance.choice((None, None, chance.randint(200, 6_000))),
                retries=chance.choice((0, 0, 0, 1, 2)),
                delay=chance.choice((0, 100, 3_000)),
                grace=chance.choice((100, 1_000, 5_000)),
            )
        )
    if chance.random() < 0.3:
        chance.shuffle(tasks)  # the order in `tasks` needs no dependency first
    return tasks


def _operations(chance: random.Random) -> list[tuple[int, str]]:
    words = ("run", "cancel", "cancel", "recovery", "recovery", "rollback", "suspend", "resume")
    count, within = chance.choice((0, 0, 1, 2, 4, 6, 20)), chance.choice((4_000, 30_000))
    found = [(chance.randint(1, within), chance.choice(words)) for _ in range(count)]
    if chance.random() < 0.08:
        found.append((chance.randint(1, 15_000), "delete"))
    if chance.random() < 0.1:
        found.append((chance.randint(1, 15_000), "redefine"))
    return sorted(found)


def playbook(seed: int) -> "RandomPlaybook":
    """How the scripts of a seed behave."""
    return RandomPlaybook(random.Random(f"playbook {seed}"))


class RandomPlaybook:
    """Some scripts fail, some hang, most edit params."""

    def __init__(self, chance: random.Random) -> None:
        self._failing = chance.choice((0.0, 0.1, 0.3))
        self._hanging = chance.choice((0.0, 0.0, 0.05))
        self._longest = chance.choice((20, 1_000, 8_000))

    def __call__(self, world: World, key: RunnerKey, step: int) -> Act:
        """What the script of `step` does this time."""
        chance = world.stage.random
        limit = world.witness.oracle.tasks[key.ref].timeout
        heal = not world.faulty
        failing = self._failing * (0.3 if heal else 1)
        if heal and key.side == "undo":
            failing = 0.0
        # Only what has a timeout may hang: the rest is the author's own affair.
        hangs = limit is not None and not heal and chance.random() < self._hanging
        longest = 8_000 if limit is None else limit // 8 if heal else limit * 5 // 4
        return Act(
            duration=chance.randint(0, min(self._longest, longest)),
            succeeds=chance.random() >= failing,
            delta=tuple(self._op(world) for _ in range(chance.choice((0, 1, 1, 2)))),
            hangs=hangs,
        )

    @staticmethod
    def _op(world: World) -> DeltaOp:
        chance = world.stage.random
        path = [chance.choice(KEYS) for _ in range(chance.choice((1, 1, 2, 3)))]
        if chance.random() < 0.2:
            return {"op": "delete", "path": path}
        value = chance.choice((world.stage.steps, {"x": world.stage.steps}, [1, 2]))
        return {"op": "set", "path": path, "value": value}
