"""A short round of the simulation; `make simulate` plays a long one."""

import pytest
from tests.simulation import golden
from tests.simulation.faults import Strike
from tests.simulation.mutations import MUTATIONS, caught_by
from tests.simulation.run import mutant_seeds, play
from tests.simulation.world import World

pytestmark = pytest.mark.simulation

SEEDS_EACH = 100
EVERY = 17
"""A short round strikes at each 17th point."""


@pytest.mark.parametrize("start", range(0, 1_500, SEEDS_EACH))
def test_random_runs_keep_the_rules(start: int) -> None:
    for seed in range(start, start + SEEDS_EACH):
        assert play(seed).stage.steps > 0


@pytest.mark.parametrize("name", golden.GOLDEN)
def test_a_golden_run_ends_as_told(name: str) -> None:
    assert golden.ending(golden.play(name)).startswith(golden.GOLDEN[name].ends)


@pytest.mark.parametrize("name", golden.GOLDEN)
def test_a_golden_run_bears_a_strike(name: str) -> None:
    for strike in golden.strikes(name, EVERY):
        assert golden.play(name, strike).weather.points >= strike.at


@pytest.mark.slow
@pytest.mark.parametrize("name", golden.GOLDEN)
def test_a_golden_run_bears_a_strike_at_every_point(name: str) -> None:
    for strike in golden.strikes(name):
        assert golden.play(name, strike).weather.points >= strike.at


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_defect_of_the_engine_is_found(name: str) -> None:
    assert caught_by(name, play, mutant_seeds(name)) is not None


def test_a_seed_plays_the_same_again() -> None:
    first, second = play(11), play(11)
    assert first.stage.story(200) == second.stage.story(200)
    assert first.stage.steps == second.stage.steps


def test_a_strike_strikes_once() -> None:
    world: World = golden.play("success", Strike("crash", 40))
    crashes = [text for _, _, text, _ in world.stage.trace if "CRASHES" in text]
    assert len(crashes) == 1
