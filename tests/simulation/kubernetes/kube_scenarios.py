"""Random scenarios on Kubernetes: the runs of `tests.simulation.scenarios`, in other weather."""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.simulation.faults import Scenario
from tests.simulation.kubernetes.kube_weather import KubeFaults
from tests.simulation.kubernetes.kube_world import KubeWorld
from tests.simulation.scenarios import playbook
from tests.simulation.scenarios import scenario as of_seed

from xaas_kube.jobs import OUTAGE

QUIET = KubeFaults()
WATCHES = KubeFaults(cut=0.4, old=0.2, mute=0.1, lag=0.1, repeats=0.2)
REQUESTS = KubeFaults(slow=0.02, unavailable=0.04, lost=0.04)
PODS = KubeFaults(
    dies=0.15, erased=0.1, evicted=0.1, gone=0.05, out_of_memory=0.1, unseen=0.3, stuck=0.03
)
WILD = KubeFaults(
    slow=0.01,
    unavailable=0.02,
    lost=0.02,
    crash=0.01,
    away=0.05,
    dies=0.05,
    erased=0.05,
    again=0.05,
    stuck=0.02,
    unseen=0.3,
    cut=0.2,
    old=0.1,
    mute=0.05,
    lag=0.05,
    repeats=0.2,
    evicted=0.05,
    gone=0.02,
    out_of_memory=0.05,
    paged=True,
    api_dies=0.03,
)
WEATHERS = (
    QUIET,
    WATCHES,
    replace(WATCHES, crash=0.02, paged=True),
    REQUESTS,
    replace(REQUESTS, crash=0.02, away=0.1, kept=OUTAGE),
    PODS,
    replace(PODS, lag=0.2, crash=0.01, kept=OUTAGE),
    replace(PODS, again=0.2, away=0.1),
    WILD,
    replace(WILD, zombie=0.5, late=0.02, kept=OUTAGE),
    replace(WILD, servers=2),
    replace(WILD, servers=2, lease=True, mute=0.2, crash=0.02),
    replace(WATCHES, servers=2, lease=True, mute=0.3, crash=0.03, kept=OUTAGE),
    KubeFaults(servers=2, lag=0.2, slow=0.02),
    replace(WILD, skew=5_000),
    KubeFaults(lookahead=3, kept=OUTAGE),
    replace(WATCHES, lookahead=2, crash=0.02),
    replace(PODS, lookahead=4, lag=0.2, kept=OUTAGE),
    replace(WILD, lookahead=4, servers=2, lease=True),
)


def scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    chance = random.Random(f"kubernetes {seed}")
    return replace(
        of_seed(seed),
        faults=chance.choice(WEATHERS),
        faults_end=chance.choice((10_000, 30_000, 90_000)),
    )


def play(seed: int, echo: Callable[[str], None] | None = None) -> KubeWorld:
    """Play one seed; whatever it raises carries the seed and the trace's end."""
    world = KubeWorld(scenario(seed), seed, playbook(seed))
    world.stage.echo = echo
    try:
        world.play()
    except BaseException as error:
        error.add_note(f"{world.stage.story()}\n{world.scenario}")
        again = f"--backend kubernetes --seeds 1 --start {seed} --verbose"
        error.add_note(f"again: tests/simulation/run.py {again}")
        raise
    return world
