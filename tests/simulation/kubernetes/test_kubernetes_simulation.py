"""A short round of the simulation on Kubernetes; `make simulate` plays a long one."""

import pytest
from tests.simulation.faults import Strike
from tests.simulation.golden import GOLDEN, ending
from tests.simulation.kubernetes import kube_golden
from tests.simulation.kubernetes.kube_mutations import KUBE_MUTATIONS, shown_by
from tests.simulation.kubernetes.kube_scenarios import play

pytestmark = pytest.mark.simulation

EXHAUSTIVE = ("success", "rollback", "cancel", "recovery", "fan-in")
SEEDS_EACH = 20
EVERY = 97
"""A short round strikes with each kind at each 97th point, ..."""

CRASH_EVERY = 23
"""... but crashes at each 23rd."""

FOUND = (739, 1276, 2340, 3182)
"""Seeds that showed a defect once; the runs that they play change as scenarios are added."""

QUICK = (
    "over_by_a_container",
    "changes_told_once",
    "never_put_aside",
    "never_taken_back",
    "records_never_let_go",
)
"""Defects that are found within a second or two."""


@pytest.mark.parametrize("start", range(0, 120, SEEDS_EACH))
def test_random_runs_keep_the_rules(start: int) -> None:
    for seed in range(start, start + SEEDS_EACH):
        assert play(seed).stage.steps > 0


@pytest.mark.parametrize("seed", FOUND)
def test_what_failed_once_is_mended(seed: int) -> None:
    assert play(seed).stage.steps > 0


@pytest.mark.parametrize("name", GOLDEN)
def test_a_golden_run_ends_as_told(name: str) -> None:
    assert ending(kube_golden.play(name)).startswith(GOLDEN[name].ends)


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_a_golden_run_bears_a_crash(name: str) -> None:
    for strike in kube_golden.strikes(name, ("crash",), CRASH_EVERY):
        assert kube_golden.play(name, strike).weather.points >= strike.at


@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_a_golden_run_bears_a_strike(name: str) -> None:
    for strike in kube_golden.strikes(name, every=EVERY):
        assert kube_golden.play(name, strike).weather.points >= strike.at


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", EXHAUSTIVE)
def test_a_golden_run_bears_a_crash_at_every_call(name: str) -> None:
    for strike in kube_golden.strikes(name, ("crash",)):
        assert kube_golden.play(name, strike).weather.points >= strike.at


@pytest.mark.parametrize("name", QUICK)
def test_a_defect_is_found(name: str) -> None:
    assert shown_by(name, range(20)) is not None


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(set(KUBE_MUTATIONS) - set(QUICK)))
def test_a_hidden_defect_is_found(name: str) -> None:
    assert shown_by(name, range(1_000)) is not None


def test_a_seed_plays_the_same_again() -> None:
    first: list[str] = []
    second: list[str] = []
    play(11, first.append)
    play(11, second.append)
    assert len(first) > 100
    assert first == second


def test_a_strike_strikes_once() -> None:
    lines: list[str] = []
    kube_golden.play("success", Strike("crash", 40), lines.append)
    assert sum("CRASHES" in line for line in lines) == 1
