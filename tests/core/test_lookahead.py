"""Runners that are started ahead of their turn: which, what they are told, and their end."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.kit.bench import Bench
from tests.core.kit.play import Play

from xaas_core.engine.decide import decide
from xaas_core.engine.facts import Decision, End, Key, Launch, Phase, Release, Settings, Sighting
from xaas_core.engine.plan import Plan
from xaas_core.engine.states import Operation, Side
from xaas_core.ports import RunnerKey
from xaas_core.testing.builders import chain, plan, task_plan, task_spec

B = ("b", Side.DO)
UP = Sighting(1, 1, Phase.LIVE)


def looked(play: Play) -> Decision:
    """What is decided now."""
    return decide(play.facts())


def ahead(play: Play) -> list[str]:
    """The refs that runners are to be started ahead for."""
    return [launch.ref for launch in looked(play).ahead]


def seen_ahead(play: Play, key: Key, sighting: Sighting) -> Decision:
    """What is decided with a runner that was started ahead."""
    play.sightings[key] = sighting
    return looked(play)


def diamond(**of_d: Any) -> Plan:
    """a, then b and c, then d."""
    tasks = [task_plan("a"), task_plan("b", "a"), task_plan("c", "a"), task_plan("d", "bc", **of_d)]
    return plan(*tasks)


# --- which ---


def test_what_waits_for_a_running_task_only_is_looked_ahead_for() -> None:
    play = Play(chain("a", "b", "c")).play("run")
    assert ahead(play) == [], "a hasn't begun"
    play.play("a>")
    assert looked(play).ahead == [Launch("b", Side.DO, 1, 1, (0,))]
    play.play("a.")
    assert ahead(play) == [], "it is b's turn"


def test_all_that_it_waits_for_must_be_under_way() -> None:
    play = Play(diamond()).play("run a+ b>")
    assert ahead(play) == [], "c hasn't begun"
    assert ahead(play.play("c>")) == ["d"]
    assert ahead(play.play("b.")) == ["d"], "b is done, and c runs"


def test_a_task_that_may_be_skipped_isnt_looked_ahead_for() -> None:
    assert ahead(Play(diamond(condition="True")).play("run a+ b> c>")) == []


def test_a_suspended_run_starts_nothing_ahead() -> None:
    play = Play(chain("a", "b")).play("run a>")
    play.settings = Settings(suspend=True)
    assert ahead(play) == []


def test_a_rollback_looks_ahead_for_what_is_owed() -> None:
    play = Play(chain("a", "b", "c")).play("run a+ b+ c!")
    assert play.state == "cancelling"
    found = looked(play.play("-c>")).ahead
    assert [(launch.ref, launch.side) for launch in found] == [("b", Side.UNDO)]


def test_what_had_an_attempt_isnt_looked_ahead_for() -> None:
    play = Play(chain("a", "b"), settings=Settings(auto_rollback=False))
    play.play("run a+ b!")
    play.play("recovery")
    assert ahead(play) == []


# --- what becomes of them ---


def test_one_that_is_there_is_kept_and_becomes_the_first_attempt() -> None:
    play = Play(chain("a", "b")).play("run a>")
    kept = seen_ahead(play, B, UP)
    assert ([(each.ref, each.side) for each in kept.ahead], kept.ends, kept.launches) == (
        [B],
        [],
        [],
    )
    play.play("a.")
    assert play.attempts("b")[0].number == 1
    decision = looked(play)
    assert (decision.launches, decision.ends) == ([], []), "its runner is up"


def test_one_that_left_is_no_failure_of_the_attempt() -> None:
    play = Play(chain("a", "b")).play("run a>")
    play.play("a.")
    play.sightings[B] = Sighting(1, 1, Phase.OVER)  # started again it is the one that left
    play.tick()
    (attempt,) = play.attempts("b")
    assert (attempt.launch, attempt.over) == (2, False), "another one is started"


@pytest.mark.parametrize("how", ["suspend", "half gone", "another launch"])
def test_one_that_isnt_wanted_any_more_is_ended(how: str) -> None:
    play = Play(chain("a", "b")).play("run a>")
    sighting = UP
    if how == "suspend":
        play.settings = Settings(suspend=True)
    elif how == "half gone":
        sighting = Sighting(1, 1, Phase.LIVE, gone=frozenset({0}))
    else:
        sighting = Sighting(1, 2, Phase.LIVE)
    found = seen_ahead(play, B, sighting)
    assert [(end.ref, end.side, end.launch) for end in found.ends] == [
        ("b", Side.DO, sighting.launch)
    ]


def test_one_that_is_being_ended_isnt_used() -> None:
    """It was in vain, and then its turn comes after all: it must not begin, only to be killed."""
    play = Play(chain("a", "b")).play("run a>")
    ending = replace(UP, ending=True)
    found = seen_ahead(play, B, ending)
    assert (found.ends, found.ahead) == ([], []), "once is enough, and no other beside it"
    play.play("a.")
    assert play.attempts("b") == (), "nothing is intended as long as it lives"
    del play.sightings[B]
    play.tick()
    assert [(each.number, each.launch) for each in play.attempts("b")] == [(1, 1)]


def test_a_failure_ends_what_was_started_ahead_before_the_run_is_put_aside() -> None:
    play = Play(chain("a", "b"), settings=Settings(auto_rollback=False)).play("run a>")
    play.sightings[B] = UP
    play.play("a!")
    assert play.state == "aborted"
    assert [end.ref for end in looked(play).ends] == ["b"]
    play.play("cancel")
    done = seen_ahead(play, B, Sighting(1, 1, Phase.OVER, held=True))
    assert not done.retire
    assert done.releases == [Release("b", Side.DO, 1, 1)]


def test_deleting_ends_them() -> None:
    play = Play(chain("a", "b")).play("run a>")
    play.deleting = True
    found = seen_ahead(play, B, UP)
    assert End("b", Side.DO, 1, 1, 5_000) in found.ends
    assert not found.remove


# --- what they are told ---


@pytest.mark.anyio
async def test_they_wait_until_they_are_intended() -> None:
    bench = Bench()
    uid = await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    early = RunnerKey(uid, "b", Side.DO, 1, 1)
    told = {"answer": "wait", "reason": "its turn hasn't come", "early": True}
    call = {"step": 0, "nonce": "n", "runner": "pid-1"}
    assert await bench.gateway.begin(early, call) == told  # type: ignore[arg-type]
    assert await bench.gateway.wait(early, 0) == told
    assert await bench.gateway.context(early) is None, "it can't make runs"
    later = RunnerKey(uid, "b", Side.DO, 1, 2)
    assert (await bench.gateway.wait(later, 0))["answer"] == "leave"
    undo = RunnerKey(uid, "b", Side.UNDO, 1, 1)
    assert (await bench.gateway.wait(undo, 0))["answer"] == "leave", "nothing is undone now"
    await bench.begin("a")
    await bench.reconcile()
    assert [order.ref for order in bench.launcher.prepared] == ["b"]
    await bench.finish("a")
    await bench.reconcile()
    assert await bench.gateway.wait(early, 0) == {"answer": "go"}
    answer = await bench.gateway.begin(early, call)  # type: ignore[arg-type]
    assert answer["answer"] == "go"


@pytest.mark.anyio
async def test_they_leave_when_their_run_moves_on() -> None:
    bench = Bench()
    uid = await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    early = RunnerKey(uid, "b", Side.DO, 1, 1)
    await bench.begin("a")
    await bench.ask(Operation.CANCEL)
    assert (await bench.gateway.wait(early, 0))["answer"] == "leave"
