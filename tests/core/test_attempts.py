"""The execution promise: attempts, losses, retries, timeouts; what they cost, and what they don't."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.kit.play import START, Play

from xaas_core.codec import Codec
from xaas_core.engine.attempts import MAX_LOST, TROUBLE_AFTER
from xaas_core.engine.decide import LEAVES_WITHIN
from xaas_core.engine.facts import Decision, Phase, Settings, Sighting
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import Attempt, Failure, StepRecord, TaskRecord
from xaas_core.engine.retry import LONGEST, Retries
from xaas_core.engine.states import OnAbort, Reason, Side
from xaas_core.testing.builders import chain, plan, task_plan

A = ("a", Side.DO)
MANUAL = Settings(auto_rollback=False)


def one(**more: Any) -> Plan:
    """A pipeline of one task."""
    return plan(task_plan("a", **more))


# --- intent, launch, begin ---


def test_the_attempt_is_written_in_the_decision_that_launches_it() -> None:
    play = Play(chain("a")).play("run")
    assert [(a.number, a.launch, a.order) for a in play.attempts("a")] == [(1, 1, (0,))]
    assert play.launched == [("a", Side.DO, 1, 1)]
    assert play.do("a") == "pending", "running begins with the first step's begin"


def test_a_launch_that_was_forgotten_by_a_crash_is_made_again() -> None:
    play = Play(chain("a")).play("run")
    play.sightings.clear()  # the attempt was written, its runner was never started
    play.tick()
    assert play.launched == [("a", Side.DO, 1, 1)] * 2


def test_running_is_recorded_with_the_time_of_the_first_begin() -> None:
    play = Play(one(steps=2)).play("run a>")
    begun_at = play.attempts("a")[0].steps[0].begun_at
    play.play("+500 a. a+")
    cell = play.fold.do("a")
    assert (cell.started_at, cell.attempt, cell.launch) == (begun_at, 1, 1)
    assert cell.finished_at == play.attempts("a")[0].steps[1].finished_at


# --- lost ---


def test_lost_before_any_step_began_it_is_started_again_free_of_charge() -> None:
    play = Play(chain("a")).play("run a? a? a? a+")
    assert play.state == "complete"
    assert play.log() == ["processing", "a/do:running", "a/do:succeeded", "complete"]
    assert [(a.number, a.launch) for a in play.attempts("a")] == [(1, 4)]


def test_lost_before_any_step_began_again_and_again_it_could_not_be_started() -> None:
    play = Play(chain("a"), MANUAL).play("run")
    for count in range(MAX_LOST):
        assert play.do("a") == "pending"
        play.lose("a", message=f"exit code {count}")
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", Reason.NOT_STARTED)
    assert play.fold.do("a").attempt == 0, "none ran"
    failure = play.attempts("a")[-1].failure
    assert failure is not None
    assert failure.message == f"{MAX_LOST} runners ended before their first step. exit code 4"


def test_a_thousand_attempts_would_fit_one_record() -> None:
    """With etcd an object may have a million and a half bytes."""
    lines = tuple(f"line {number}" * 10 for number in range(100))
    failure = Failure("ValueError", "no " * 1000, 0, 1, lines)
    record = TaskRecord("a", Side.DO)
    for number in range(1, 252):
        delta = ({"op": "set", "path": ["x"], "value": "y" * 1000},)
        step = StepRecord(0, number, "nonce" * 8, "pod-1", number, delta=delta, failure=failure)
        intended = Attempt(number, 0, number, (0,), launched_at=number)
        record = replace(record, attempts=(*record.attempts, intended))
        ended = replace(intended, steps=(step,), ended_at=number, failure=failure)
        record = record.with_last(ended)
    newest = replace(record, attempts=record.attempts[-11:])
    last = len(Codec(TaskRecord).encode(newest))
    rest = len(Codec(TaskRecord).encode(record)) - last
    assert last + 4 * rest < 800_000
    assert record.last == ended
    before = record.attempts[-2]
    assert (before.failure, before.delta()) == (failure, ())
    first = record.attempts[0]
    assert (first.number, first.begun, first.ended_at) == (1, True, 1)
    assert first.failure is not None
    assert (first.failure.type, first.failure.traceback) == ("ValueError", ())
    assert first.failure.message.startswith("no no no")


def test_gone_without_a_trace_before_it_began_it_is_launched_again() -> None:
    play = Play(chain("a")).play("run")
    play.lose("a", phase=Phase.ABSENT)
    assert play.launched == [("a", Side.DO, 1, 1)] * 2
    assert play.attempts("a")[0].lost == 0


@pytest.mark.parametrize("phase", [Phase.OVER, Phase.ABSENT, Phase.REFUSED])
def test_lost_after_a_step_began_the_attempt_has_failed(phase: Phase) -> None:
    play = Play(one(steps=2), MANUAL).play("run a> a. a>")
    play.lose("a", phase=phase)
    attempt = play.attempts("a")[-1]
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", Reason.RUNNER_LOST)
    assert attempt.failure is not None
    assert attempt.failure.step == 1


def test_lost_between_two_steps_the_attempt_has_failed() -> None:
    play = Play(one(steps=2), MANUAL).play("run a> a. a?")
    assert play.reasons()["a/do"] == Reason.RUNNER_LOST


def test_a_launcher_that_knows_better_says_why() -> None:
    play = Play(chain("a"), MANUAL).play("run a>")
    play.lose("a", reason=Reason.OUT_OF_MEMORY, message="killed at 64 MiB")
    failure = play.attempts("a")[-1].failure
    assert play.reasons()["a/do"] == Reason.OUT_OF_MEMORY
    assert failure is not None
    assert failure.message == "killed at 64 MiB"


def test_a_report_that_is_there_counts_more_than_what_is_seen() -> None:
    play = Play(chain("a")).play("run a>")
    step = play.running("a")
    assert step is not None
    ended = replace(step, finished_at=play.now, succeeded=True)
    play.records[A] = play.records[A].with_last(play.attempts("a")[-1].with_step(ended))
    play.lose("a", reason=Reason.OUT_OF_MEMORY)
    assert play.state == "complete"


def test_a_lost_runner_is_retried_from_its_first_step() -> None:
    play = Play(one(steps=2, retries=Retries(1))).play("run a> a. a> a?")
    assert [(a.number, a.order) for a in play.attempts("a")] == [(1, (0, 1)), (2, (0, 1))]
    assert play.do("a") == "running"
    play.play("a+")
    assert play.state == "complete"
    assert play.log().count("a/do:running") == 1, "between attempts it stays running"


def test_lost_before_begin_a_later_attempt_is_started_again_too() -> None:
    play = Play(one(retries=Retries(1))).play("run a! a? a+")
    assert [(a.number, a.launch) for a in play.attempts("a")] == [(1, 1), (2, 2)]
    assert play.state == "complete"


# --- one runner at a time ---


def test_no_new_launch_while_the_withdrawn_runner_lives() -> None:
    play = Play(chain("a")).play("run suspend resume +1000")
    assert play.launched == [("a", Side.DO, 1, 1)]
    play.play("a~")
    assert play.launched == [("a", Side.DO, 1, 1), ("a", Side.DO, 1, 2)]


@pytest.mark.parametrize(
    ("grace", "leaves"), [(2000, LEAVES_WITHIN), (2 * LEAVES_WITHIN, 2 * LEAVES_WITHIN)]
)
def test_no_new_attempt_while_the_runner_of_the_failed_one_lives(grace: int, leaves: int) -> None:
    play = Play(one(retries=Retries(1), grace_period=grace)).play("run a>")
    step = play.running("a")
    assert step is not None
    ended = replace(step, finished_at=play.now, reason=Reason.SCRIPT_ERROR)
    play.records[A] = play.records[A].with_last(play.attempts("a")[-1].with_step(ended))
    play.tick(leaves - 1)
    assert len(play.attempts("a")) == 1
    assert play.ending == set(), "it ends by itself"
    play.tick(1)
    assert play.ending == {A}, "or is ended"
    (end,) = play.reconcile().ends
    assert end.begun
    play.lose("a")
    assert len(play.attempts("a")) == 2


def test_an_older_runner_that_turns_out_to_live_is_ended_and_waited_for() -> None:
    play = Play(chain("a")).play("run a?")
    play.sightings[A] = Sighting(1, 1, Phase.LIVE)
    before = len(play.launched)
    decision = play.reconcile()
    assert [(end.attempt, end.launch) for end in decision.ends] == [(1, 1)]
    assert len(play.launched) == before
    play.lose("a")
    assert play.launched[-1] == ("a", Side.DO, 1, 2)


def test_as_long_as_an_older_runner_is_seen_nothing_is_known_of_the_newest() -> None:
    play = Play(chain("a"), MANUAL).play("run a? a>")
    play.sightings[A] = Sighting(1, 1, Phase.LIVE)
    play.tick()
    assert play.do("a") == "running"
    play.lose("a")
    assert play.reasons()["a/do"] == Reason.RUNNER_LOST


# --- retries ---


def test_retries_with_back_off_and_their_numbers() -> None:
    retries = Retries(limit=3, delay=1000, factor=3, max_delay=5000)
    play = Play(one(retries=retries), MANUAL).play("run a!")
    for number, delay in ((2, 1000), (3, 3000), (4, 5000)):
        ended_at = play.attempts("a")[-1].ended_at
        assert ended_at is not None
        assert play.wake_at == ended_at + delay
        play.tick(play.wake_at - play.now - 1)
        assert len(play.attempts("a")) == number - 1
        play.tick(1)
        assert play.attempts("a")[-1].number == number
        play.fail("a")
    assert (play.state, play.do("a"), play.reasons()["a/do"]) == (
        "aborted",
        "failed",
        Reason.SCRIPT_ERROR,
    )
    assert play.fold.do("a").attempt == 4


@pytest.mark.parametrize(
    ("retries", "delays"),
    [
        (Retries(3), [0, 0, 0]),
        (Retries(3, 100), [100, 100, 100]),
        (Retries(3, 100, 2), [100, 200, 400]),
        (Retries(4, 100, 2, 300), [100, 200, 300, 300]),
        (Retries(2, 500, 1, 300), [300, 300]),
        (Retries(3, 100, 1.5), [100, 150, 225]),
    ],
)
def test_delays(retries: Retries, delays: list[int]) -> None:
    assert [retries.delay_before(n) for n in range(1, len(delays) + 1)] == delays


@given(
    st.integers(0, 10**11),
    st.floats(1, 1000),
    st.none() | st.integers(0, 10**11),
    st.integers(1, 10_000),
)
def test_delays_never_shrink_nor_pass_their_bound(
    delay: int, factor: float, max_delay: int | None, retry: int
) -> None:
    retries = Retries(1000, delay, factor, max_delay)
    bound = LONGEST if max_delay is None else max_delay
    assert 0 <= retries.delay_before(retry) <= retries.delay_before(retry + 1) <= bound
    if delay == 0:
        assert retries.delay_before(retry) == 0


@pytest.mark.parametrize("waits", ["cancel", "b!"])
def test_one_that_waits_for_its_next_attempt_when_the_run_leaves_processing_is_failed(
    waits: str,
) -> None:
    tasks = plan(task_plan("a", retries=Retries(5, 60_000)), task_plan("b"))
    play = Play(tasks).play(f"run a! b> {waits}")
    assert play.do("a") == "failed"
    assert len(play.attempts("a")) == 1


def test_one_whose_next_attempt_has_not_begun_when_the_run_leaves_processing_is_failed() -> None:
    tasks = plan(task_plan("a", retries=Retries(5)), task_plan("b"))
    play = Play(tasks).play("run b> a! b!")
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", Reason.RUN_ENDED)
    assert play.may_begin("a") is None
    assert play.fold.do("a").attempt == 1, "the second attempt ran nothing"
    play.goes_on()
    assert play.state == "cancelled"


def test_no_further_attempt_begins_after_the_run_left_processing() -> None:
    tasks = plan(task_plan("a", retries=Retries(5)), task_plan("b"))
    play = Play(tasks).play("run a> b! a!")
    assert (play.do("a"), len(play.attempts("a"))) == ("failed", 1)


@pytest.mark.parametrize("reason", [Reason.NOT_STARTED, Reason.INVALID_JOB])
def test_what_cannot_be_started_is_not_retried(reason: Reason) -> None:
    play = Play(one(retries=Retries(5)), MANUAL).play("run")
    play.lose("a", phase=Phase.REFUSED, reason=reason, message="no such image")
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", reason)


def test_a_terminated_attempt_is_not_counted_against_the_retries() -> None:
    tasks = plan(task_plan("a", retries=Retries(1, 60_000)), task_plan("b"))
    settings = Settings(auto_rollback=False, on_abort=OnAbort.TERMINATE)
    play = Play(tasks, settings).play("run a> b! recovery a~")
    assert play.may_begin("a") == 0, "at once"
    play.play("a! +60000 a+ b+")
    assert play.state == "complete"


# --- timeouts ---


def test_the_timeout_counts_from_the_attempts_first_begin() -> None:
    play = Play(one(steps=2, timeout=1000), MANUAL).play("run +5000 a> +600 a. a>")
    begun_at = play.attempts("a")[0].steps[0].begun_at
    assert play.wake_at == begun_at + 1000
    play.tick(begun_at + 1000 - play.now)
    assert play.ending == {A}
    assert play.do("a") == "running", "until its runner is gone"
    play.play("a~")
    assert play.reasons()["a/do"] == Reason.TIMEOUT


def test_each_attempt_has_its_own_timeout() -> None:
    play = Play(one(timeout=1000, retries=Retries(1))).play("run a> +1000 a~ a> +900 a.")
    assert play.state == "complete"


def test_a_script_that_ended_in_time_counts_however_late_its_result_arrives() -> None:
    play = Play(one(timeout=1000)).play("run a> +90000")
    assert play.ending == {A}
    play.finish("a", elapsed=999)
    assert play.state == "complete"


def test_a_step_that_ended_in_time_doesnt_let_the_next_begin_after_the_timeout() -> None:
    play = Play(one(steps=2, timeout=1000), MANUAL).play("run a> +90000")
    play.finish("a", elapsed=10)
    assert play.may_begin("a") is None
    play.play("a~")
    assert play.reasons()["a/do"] == Reason.TIMEOUT


def test_not_begun_within_start_timeout_it_could_not_be_started() -> None:
    play = Play(one(start_timeout=5000, retries=Retries(9)), MANUAL).play("run")
    assert play.wake_at == play.attempts("a")[0].launched_at + 5000
    play.tick(5000)
    assert play.ending == {A}
    assert play.may_begin("a") is None
    play.play("a~")
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", Reason.NOT_STARTED)


def test_a_run_that_ends_before_the_withdrawn_runner_is_gone_leaves_its_do_pending() -> None:
    tasks = plan(task_plan("a", start_timeout=5000), task_plan("b"))
    play = Play(tasks).play("run b> +5000 b!")
    assert play.ending == {A}
    play.play("a~ -b+")
    assert (play.state, play.do("a")) == ("cancelled", "pending")


def test_start_timeout_starts_afresh_with_each_launch() -> None:
    play = Play(one(start_timeout=5000)).play("run +4000 a? +4000 a+")
    assert play.state == "complete"


# --- what a runner can't report ---


def sees(play: Play, **more: Any) -> Decision:
    """The newest runner of `a` lives, and more is seen of it."""
    last = play.attempts("a")[-1]
    phase = more.pop("phase", Phase.LIVE)
    play.sightings[A] = Sighting(last.number, last.launch, phase, **more)
    return play.reconcile()


def test_why_a_runner_doesnt_start_is_recorded_and_told_in_the_end() -> None:
    play = Play(one(start_timeout=5000), MANUAL).play("run")
    decision = sees(play, message="ErrImagePull: no such image")
    assert play.attempts("a")[0].trouble == "", "mostly it passes"
    assert decision.wake_at == play.now + 2500, "at half of its time at the latest"
    play.tick(2500)
    assert play.attempts("a")[0].trouble == "ErrImagePull: no such image"
    play.tick(2500)
    play.lose("a", message="the pod was deleted")
    (attempt,) = play.attempts("a")
    assert attempt.failure is not None
    assert attempt.failure.message == "ErrImagePull: no such image"


def test_trouble_that_passes_is_forgotten_and_its_time_doesnt_count() -> None:
    play = Play(one(start_timeout=5000), MANUAL).play("run")
    sees(play, message="Unschedulable")
    play.tick(4000)
    sees(play)
    assert play.attempts("a")[0].trouble == ""
    play.tick(4000)
    assert play.ending == set()
    play.play("a+")
    assert play.state == "complete"


def test_what_the_backend_has_no_room_for_waits_as_long_as_it_takes() -> None:
    # Not thorough: each decision launches it again, and the play then takes it for made.
    play = Play(one(start_timeout=5000), MANUAL, thorough=False).play("run")
    for passed in (TROUBLE_AFTER, 60_000):
        sees(play, phase=Phase.ABSENT, message="exceeded quota")
        play.tick(passed)
    sees(play, phase=Phase.ABSENT, message="exceeded quota")
    assert play.do("a") == "pending"
    assert play.ending == set()
    sees(play)
    play.tick(4000)
    play.play("a+")
    assert play.state == "complete"


def test_what_is_being_tried_again_hasnt_had_its_time() -> None:
    play = Play(one(start_timeout=5000), MANUAL, thorough=False).play("run")
    sees(play, phase=Phase.ABSENT, message="exceeded quota")
    play.now += 5000
    sees(play, message="exceeded quota", starting=True)
    assert play.ending == set()
    assert play.do("a") == "pending"
    play.now += 4000
    sees(play)
    play.play("a+")
    assert play.state == "complete"


def test_what_waits_for_room_is_looked_at_in_its_time_only() -> None:
    play = Play(one(start_timeout=5000), MANUAL, thorough=False).play("run")
    sees(play, phase=Phase.ABSENT, message="exceeded quota")
    for _ in range(3):
        play.tick(4000)
        decision = sees(play, phase=Phase.ABSENT, message="exceeded quota")
        assert decision.launches
        assert decision.wake_at is not None
        assert decision.wake_at > play.now


def test_a_launch_that_comes_late_has_its_whole_time() -> None:
    """Nobody was there to launch it, for longer than it may take to start."""
    play = Play(one(start_timeout=5000), MANUAL, thorough=False).play("run")
    play.sightings.clear()
    play.tick(60_000)
    sees(play)
    play.tick(4000)
    assert play.ending == set()
    play.play("a+")
    assert play.state == "complete"


def test_what_an_earlier_attempt_changed_is_dropped_once_the_next_has_begun() -> None:
    """It counts no more, and would take room: a large delta, tried again, has to fit."""
    play = Play(one(retries=Retries(1))).play("run a>")
    step = play.running("a")
    assert step is not None
    change = {"op": "set", "path": ["x"], "value": 1}
    failed = replace(step, finished_at=play.now, delta=(change,), reason=Reason.SCRIPT_ERROR)
    play.records[A] = play.records[A].with_last(play.attempts("a")[-1].with_step(failed))
    play.lose("a")
    assert [a.delta() for a in play.attempts("a")] == [(change,), ()], "it may yet be the last one"
    play.play("a>")
    assert [a.delta() for a in play.attempts("a")] == [(), ()]


def test_a_process_that_died_takes_the_others_with_it() -> None:
    """The step that waits for its turn would wait for ever."""
    play = Play(one(steps=2), MANUAL).play("run a>")
    sees(play, gone=frozenset({0}), reason=Reason.OUT_OF_MEMORY, message="out of memory")
    assert play.ending == {A}
    assert play.may_begin("a") is None
    play.lose("a", phase=Phase.ABSENT)  # nobody else knows the reason now
    (attempt,) = play.attempts("a")
    assert attempt.failure is not None
    assert (attempt.reason, attempt.failure.message) == (Reason.OUT_OF_MEMORY, "out of memory")


def test_a_process_that_ended_after_its_step_is_in_order() -> None:
    play = Play(one(steps=2)).play("run a> a.")
    sees(play, gone=frozenset({0}))
    assert play.ending == set()
    play.play("a+")
    assert play.state == "complete"


def test_one_that_died_before_its_first_step_is_replaced_free_of_charge() -> None:
    play = Play(one(steps=2)).play("run")
    sees(play, gone=frozenset({1}), message="exit code 1")
    assert play.ending == {A}
    play.lose("a", phase=Phase.ABSENT)
    assert [(a.number, a.launch, a.lost) for a in play.attempts("a")] == [(1, 2, 1)]


def test_traces_are_held_until_the_outcome_is_recorded() -> None:
    play = Play(chain("a")).play("run a>")
    assert sees(play, held=True).releases == []
    play.finish("a")
    decision = sees(play, phase=Phase.OVER, held=True)
    assert [(r.attempt, r.launch) for r in decision.releases] == [(1, 1)]
    assert not decision.retire
    assert sees(play, phase=Phase.OVER).retire


# --- clocks ---


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    play = Play(chain("a", "b")).play("run")
    attempt = play.attempts("a")[-1]
    step = StepRecord(0, START + 900_000, "n", finished_at=START - 900_000, succeeded=True)
    play.rules.begun("a", Side.DO, 0)
    play.records[A] = play.records[A].with_last(attempt.with_step(step))
    play.sightings[A] = replace(play.sightings[A], phase=Phase.OVER)
    play.tick(-500_000)
    assert play.log()[-2:] == ["a/do:running", "a/do:succeeded"]
    play.goes_on()
    assert play.state == "complete"
    times = [change.at for change in play.history]
    assert times == sorted(times)


def test_what_ended_first_is_recorded_first() -> None:
    tasks = plan(task_plan("a"), task_plan("b"), task_plan("c"))
    play = Play(tasks).play("run")
    for ref, begun_at, finished_at in (("a", 10, 90), ("b", 20, 30), ("c", 5, 200)):
        attempt: Attempt = play.attempts(ref)[-1]
        at = play.now
        step = StepRecord(0, at + begun_at, "n", finished_at=at + finished_at, succeeded=True)
        play.rules.begun(ref, Side.DO, 0)
        play.records[ref, Side.DO] = play.records[ref, Side.DO].with_last(attempt.with_step(step))
    play.tick(1000)
    assert play.log()[1:-1] == [
        "c/do:running",
        "a/do:running",
        "b/do:running",
        "b/do:succeeded",
        "a/do:succeeded",
        "c/do:succeeded",
    ]
