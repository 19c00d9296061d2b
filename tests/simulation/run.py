#!/usr/bin/env python3
"""Play runs with faults on a virtual clock: `python tests/simulation/run.py --seeds 1000`.

First the golden runs, struck at every point; then random ones, each from its seed; then random ones
again with deliberate defects of the engine, each of which must be found.

    --seeds 1 --start S --verbose       one seed again, told in full
    --golden NAME --strike crash:17     one golden run again, likewise
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.simulation import golden
from tests.simulation.faults import Strike
from tests.simulation.mutations import MUTATIONS, caught_by
from tests.simulation.scenarios import playbook, scenario
from tests.simulation.world import World

MUTANT_SEEDS = 10_000
"""Seeds within which each defect must be found."""


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


def random_plays(options: argparse.Namespace) -> int:
    """The seeds that were asked for."""
    seeds = range(options.start, options.start + options.seeds)
    print(f"random runs, seeds {seeds.start} to {seeds.stop - 1}:", flush=True)
    plays = ((f"seed {seed}", lambda seed=seed: play(seed, options.verbose)) for seed in seeds)
    return play_all(plays, options.failures)


def golden_plays(most_failures: int) -> int:
    """Every golden run, struck by everything at every point."""
    print("golden runs, struck at every point:", flush=True)
    plays = (
        (f"{name}, {strike.kind}:{strike.at}", lambda n=name, s=strike: golden.play(n, s))
        for name in golden.GOLDEN
        for strike in golden.strikes(name)
    )
    return play_all(plays, most_failures)


def mutant_plays() -> int:
    """Every defect; how many were not found."""
    print("deliberate defects of the engine, and the seed that shows each:", flush=True)
    missed = 0
    for name in MUTATIONS:
        found = caught_by(name, play, range(MUTANT_SEEDS))
        missed += found is None
        print(f"  {name:<28}", "NOT FOUND" if found is None else f"{found[0]:>5}  {found[1]}")
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
    parser.add_argument("--strike", help="crash:N, lose:N or die:N, N from 1")
    options = parser.parse_args()
    if options.golden is not None:
        kind, _, at = (options.strike or "").partition(":")
        strike = Strike(cast(Any, kind), int(at)) if options.strike else None
        golden.play(options.golden, strike, verbose=True)
        return 0
    if options.start is not None:
        return min(random_plays(options), 1)
    options.start = 0
    failed = golden_plays(options.failures) + random_plays(options) + mutant_plays()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
