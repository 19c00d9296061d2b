#!/usr/bin/env python3
"""Play runs with faults on a virtual clock: `python tests/simulation/run.py --seeds 1000`.

First the golden runs, struck at every point; then random ones, each from its seed; then random ones
again with deliberate defects, each of which must be found. All of that over a store in memory, and
then on a simulated Kubernetes: fewer of each there, for they take longer.

    --seeds 1 --start S --verbose       one seed again, told in full
    --golden NAME --strike crash:17     one golden run again, likewise
    --backend memory | kubernetes       on that one alone (with the two above: memory if none is named)
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.simulation import golden
from tests.simulation.faults import Strike
from tests.simulation.kubernetes import kube_golden, kube_scenarios
from tests.simulation.kubernetes.kube_mutations import KUBE_MUTATIONS, shown_by
from tests.simulation.mutations import MUTATIONS, caught_by
from tests.simulation.scenarios import playbook, scenario
from tests.simulation.world import World

MUTANT_SEEDS = 10_000
KUBE_MUTANT_SEEDS = 1_000
"""Seeds within which each defect must be found."""

SELDOM = {"no_fence_of_earlier_rounds": 10_000}
"""Defects that few seeds show, and the seed from which on they are looked for."""

EXHAUSTIVE = ("success", "rollback", "cancel", "recovery", "fan-in")
"""Golden runs in which the operator dies at every point on Kubernetes, too."""

EVERY = 37
"""All else strikes at every so-manieth point there."""

KUBE_SHARE = 4
"""On Kubernetes one random run is played for so many in memory."""


def play(seed: int, verbose: bool = False) -> World:
    """Play one seed; whatever it raises carries the seed and the trace's end."""
    world = World(scenario(seed), seed, playbook(seed))
    if verbose:
        print(world.scenario)
        world.stage.echo = print
    try:
        world.play()
    except BaseException as error:
        error.add_note(f"{world.stage.story()}\n{world.scenario}")
        error.add_note(f"again: tests/simulation/run.py --seeds 1 --start {seed} --verbose")
        raise
    finally:
        world.stage.close()
    return world


def play_all(plays: Iterable[tuple[str, Callable[[], object]]], most_failures: int) -> int:
    """Play each and print what fails; how many did."""
    began, played, failures = time.perf_counter(), 0, 0
    for name, one in plays:
        played += 1
        try:
            one()
        except Exception as error:  # noqa: BLE001 - whatever it raises is a finding
            failures += 1
            if failures == 1:
                traceback.print_exc()
            print(f"{name}: {type(error).__name__}: {str(error)[:150]}")
            if failures >= most_failures:
                break
    took = time.perf_counter() - began
    print(f"  {played} runs in {took:.1f} s ({played / took * 60:.0f} a minute), {failures} failed")
    return failures


def random_plays(options: argparse.Namespace, on_kubernetes: bool) -> int:
    """The seeds that were asked for."""
    count = options.seeds // (KUBE_SHARE if on_kubernetes and options.start is None else 1)
    start = options.start or 0
    print(f"random runs, seeds {start} to {start + count - 1}:", flush=True)
    echo = print if options.verbose else None
    one: Callable[[int], object] = partial(play, verbose=options.verbose)
    if on_kubernetes:
        one = partial(kube_scenarios.play, echo=echo)
    plays = ((f"seed {seed}", partial(one, seed)) for seed in range(start, start + count))
    return play_all(plays, options.failures)


def golden_plays(most_failures: int, on_kubernetes: bool) -> int:
    """Every golden run, struck by everything at every point."""
    print("golden runs, struck at every point:", flush=True)
    if on_kubernetes:
        plays = (
            (f"{name}, {strike.kind}:{strike.at}", partial(kube_golden.play, name, strike))
            for name in golden.GOLDEN
            for strike in chain(
                kube_golden.strikes(name, ("crash",)) if name in EXHAUSTIVE else (),
                kube_golden.strikes(name, every=EVERY),
            )
        )
        return play_all(plays, most_failures)
    return play_all(
        (
            (f"{name}, {strike.kind}:{strike.at}", partial(golden.play, name, strike))
            for name in golden.GOLDEN
            for strike in golden.strikes(name)
        ),
        most_failures,
    )


def mutant_seeds(name: str) -> range:
    """The seeds among which one must show a defect."""
    start = SELDOM.get(name, 0)
    return range(start, start + MUTANT_SEEDS)


def mutant_plays(on_kubernetes: bool) -> int:
    """Every defect; how many were not found."""
    print("deliberate defects, and what shows each:", flush=True)
    missed = 0
    for name in KUBE_MUTATIONS if on_kubernetes else MUTATIONS:
        found: tuple[object, str] | None
        if on_kubernetes:
            found = shown_by(name, range(KUBE_MUTANT_SEEDS))
        else:
            found = caught_by(name, play, mutant_seeds(name))
        missed += found is None
        print(f"  {name:<28}", "NOT FOUND" if found is None else f"{found[0]!s:>5}  {found[1]}")
    return missed


def main() -> int:
    """Play what was asked for; 1 if something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1000, help="how many random runs")
    parser.add_argument("--start", type=int, help="the first seed; only random runs are played")
    parser.add_argument("--verbose", action="store_true", help="tell all that happens")
    parser.add_argument("--failures", type=int, default=1, help="stop after so many")
    parser.add_argument("--golden", choices=golden.GOLDEN, help="play this golden run alone")
    parser.add_argument("--strike", help="crash:N, lose:N or die:N, ..., N from 1")
    parser.add_argument("--backend", choices=("memory", "kubernetes"), help="on this one alone")
    options = parser.parse_args()
    on_kubernetes = options.backend == "kubernetes"
    if options.golden is not None:
        kind, _, at = (options.strike or "").partition(":")
        strike = Strike(cast(Any, kind), int(at)) if options.strike else None
        if on_kubernetes:
            kube_golden.play(options.golden, strike, print)
        else:
            golden.play(options.golden, strike, verbose=True)
        return 0
    if options.start is not None:
        return min(random_plays(options, on_kubernetes), 1)
    failed = 0
    for backend in (options.backend,) if options.backend else ("memory", "kubernetes"):
        print(f"{backend}:", flush=True)
        there = backend == "kubernetes"
        failed += golden_plays(options.failures, there) + random_plays(options, there)
        failed += mutant_plays(there)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
