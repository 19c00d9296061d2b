"""The golden runs of `tests.simulation.golden`, played on Kubernetes, and struck at every point."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.faults import Kind, Strike
from tests.simulation.golden import GOLDEN, Script, ending
from tests.simulation.kubernetes.kube_weather import KubeFaults
from tests.simulation.kubernetes.kube_world import KubeWorld
from tests.simulation.rules import check

KINDS: tuple[Kind, ...] = ("crash", "lose", "die", "erase", "drain", "relist", "lag")
HARMLESS: tuple[Kind, ...] = ("crash", "lose", "relist", "lag")
"""What strikes our own processes, or what they see, changes nothing about the outcome."""


LOOKAHEAD = 3
"""Runners that are started ahead of their turn in golden runs."""


def play(
    name: str, strike: Strike | None = None, echo: Callable[[str], None] | None = None
) -> KubeWorld:
    """Play a golden run, struck by something or not. Raises what the world raises."""
    golden = GOLDEN[name]
    faults = KubeFaults(**vars(golden.scenario.faults), lookahead=LOOKAHEAD)
    scenario = replace(golden.scenario, faults=faults)
    world = KubeWorld(scenario, name, Script(golden), strike)
    world.stage.echo = echo
    try:
        world.play()
        found = ending(world)
        undisturbed = strike is None or (golden.steady and strike.kind in HARMLESS)
        as_told = not undisturbed or found.startswith(golden.ends)
        check(as_told, "it ends as %r, not as %r", found, golden.ends)
    except BaseException as error:
        error.add_note(f"{world.stage.story()}\n{name}, struck by {strike}, on Kubernetes")
        raise
    return world


def strikes(
    name: str, kinds: tuple[Kind, ...] = KINDS, every: int = 1, points: int | None = None
) -> Iterator[Strike]:
    """All that may strike a golden run, or every so-manieth point of it."""
    points = play(name).weather.points if points is None else points
    for at in range(1, points + 1, every):
        for kind in kinds:
            yield Strike(kind, at)
