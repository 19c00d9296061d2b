"""The lifecycle of a run, sentence by sentence: scenarios through `decide`."""

from dataclasses import replace

import pytest
from tests.core.kit.play import Play, conditions

from xaas_core.engine.decide import decide
from xaas_core.engine.facts import Phase, Request, Settings
from xaas_core.engine.plan import Plan
from xaas_core.engine.retry import Retries
from xaas_core.engine.states import OPERATIONS, OnAbort, Operation, Reason, RunState, Side
from xaas_core.testing.builders import chain, plan, task_plan

MANUAL = Settings(auto_rollback=False)

DIAMOND = plan(task_plan("a"), task_plan("b", "a"), task_plan("c", "a"), task_plan("d", ("b", "c")))


@pytest.mark.parametrize(
    ("events", "log"),
    [
        ("", ""),
        ("cancel", "cancelled"),
        ("run", "processing"),
        ("run a>", "processing a/do:running"),
        (
            "run a+ b+",
            """processing a/do:running a/do:succeeded b/do:running b/do:succeeded complete""",
        ),
        (
            "run a+ b!",
            """processing a/do:running a/do:succeeded b/do:running b/do:failed
            aborted cancelling""",
        ),
        (
            "run a+ b! -b+ -a+",
            """processing a/do:running a/do:succeeded b/do:running b/do:failed
            aborted cancelling
            b/undo:running b/undo:succeeded a/undo:running a/undo:succeeded cancelled""",
        ),
        ("run cancel a~", "processing cancelling b/undo:skipped a/undo:skipped cancelled"),
        (
            "run a> cancel a. -a+",
            """processing a/do:running cancelling b/undo:skipped a/do:succeeded
            a/undo:running a/undo:succeeded cancelled""",
        ),
        (
            "run a+ b+ rollback -b+ -a+",
            """processing a/do:running a/do:succeeded b/do:running b/do:succeeded complete
            cancelling b/undo:running b/undo:succeeded a/undo:running a/undo:succeeded
            cancelled""",
        ),
        (
            "run a+ b! -b! cancel -b+ -a+",
            """processing a/do:running a/do:succeeded b/do:running b/do:failed
            aborted cancelling b/undo:running b/undo:failed aborted
            cancelling b/undo:running b/undo:succeeded a/undo:running a/undo:succeeded
            cancelled""",
        ),
        (
            "run a+ b! -b! recovery b+",
            """processing a/do:running a/do:succeeded b/do:running b/do:failed
            aborted cancelling b/undo:running b/undo:failed aborted
            processing b/do:running b/do:succeeded complete""",
        ),
    ],
)
def test_what_is_recorded_in_which_order(events: str, log: str) -> None:
    played = Play(chain("a", "b")).play(events)
    assert played.log() == log.split()


def test_an_abort_that_rolls_back_by_itself_is_both_moves_in_one_decision() -> None:
    play = Play(chain("a")).play("run a>")
    before = len(play.history)
    play.fail("a")
    assert play.log(before) == ["a/do:failed", "aborted", "cancelling"]


def test_without_auto_rollback_a_failed_run_stays_aborted() -> None:
    play = Play(chain("a", "b"), MANUAL).play("run a+ b!")
    play.goes_on()
    assert play.state == "aborted"
    assert play.fold.reason == Reason.TASK_FAILED
    assert play.undos() == "a:pending b:pending"


def test_an_abort_from_the_undo_side_never_rolls_back_by_itself() -> None:
    play = Play(chain("a")).play("run a! -a!")
    play.goes_on()
    assert (play.state, play.fold.reason) == ("aborted", Reason.UNDO_FAILED)


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation_in_every_state(state: RunState, operation: Operation) -> None:
    events = {
        RunState.PENDING: "",
        RunState.PROCESSING: "run a>",
        RunState.COMPLETE: "run a+",
        RunState.ABORTED: "run a! -a!",
        RunState.CANCELLING: "run a!",
        RunState.CANCELLED: "cancel",
    }
    play = Play(chain("a")).play(events[state])
    assert play.state is state
    before = len(play.history)
    reply = play.ask(operation)
    assert reply.operation is operation
    if operation in OPERATIONS[state]:
        assert (reply.accepted, reply.state) == (True, OPERATIONS[state][operation])
        assert play.log(before)[0] == OPERATIONS[state][operation]
        return
    assert (reply.accepted, reply.state) == (False, state)
    assert play.log(before) == [], "a refused operation changes nothing"
    allowed = ", ".join(OPERATIONS[state]) or "none"
    assert state in reply.message
    assert operation in reply.message
    assert reply.message.endswith(f"allowed now: {allowed}")


def test_a_refusal_keeps_the_state_that_it_was_judged_by() -> None:
    # A task without steps ends in the very decision that refuses.
    play = Play(plan(task_plan("a", steps=0)), Settings(suspend=True)).play("run")
    play.settings = Settings()
    reply = play.ask(Operation.RECOVERY)
    assert (reply.state, play.state) == ("processing", "complete")
    assert "a run that is processing can't do recovery" in reply.message


def test_before_the_plan_is_made_an_operation_is_answered() -> None:
    play = Play(Plan("p", ()))
    deferred = play.reconcile(Request("1", Operation.RUN)).reply
    assert deferred is not None
    assert (deferred.accepted, deferred.state, play.state) == (True, "pending", "pending")
    assert deferred.starts
    refused = decide(replace(play.facts(Request("2", Operation.ROLLBACK)), starts=True)).reply
    assert refused is not None
    assert (refused.accepted, refused.starts) == (False, True), "a refusal changes nothing"
    assert play.ask(Operation.CANCEL).accepted
    assert play.state == "cancelled"


# --- suspend ---


def test_a_suspended_run_starts_nothing_and_keeps_its_state() -> None:
    play = Play(chain("a", "b"), Settings(suspend=True)).play("run +1000")
    assert (play.state, play.live(), play.asked) == ("processing", [], [])
    play.play("resume")
    assert play.live() == [("a", Side.DO)]


def test_suspending_lets_what_runs_finish_and_withdraws_what_has_not_begun() -> None:
    play = Play(DIAMOND).play("run a+ b> suspend")
    assert play.ending == {("c", Side.DO)}
    assert play.may_begin("c") is None
    play.play("b. c~ +60000")
    assert play.dos() == "a:succeeded b:succeeded c:pending d:pending"
    play.play("resume c+ d+")
    assert play.state == "complete"
    assert [(a.number, a.launch) for a in play.attempts("c")] == [(1, 2)]


def test_suspending_again_and_again_costs_nothing() -> None:
    play = Play(chain("a")).play("run")
    for _ in range(20):
        play.play("suspend a~ resume")
    play.play("a+")
    assert play.state == "complete"


def test_a_suspended_run_retries_what_is_running_already() -> None:
    play = Play(plan(task_plan("a", retries=Retries(1)))).play("run a> suspend a! a+")
    assert play.state == "complete"


def test_a_suspended_rollback_waits() -> None:
    play = Play(chain("a", "b")).play("run a+ b> suspend b! +1000")
    assert (play.state, play.live()) == ("cancelling", [])
    play.play("resume -b+ -a+")
    assert play.state == "cancelled"


def test_a_suspended_run_that_has_nothing_to_undo_is_cancelled() -> None:
    play = Play(chain("a", "b"), Settings(suspend=True)).play("run cancel")
    assert (play.state, play.undos()) == ("cancelled", "a:skipped b:skipped")


def test_a_suspended_rollback_skips_what_owes_nothing_as_far_as_its_turn_has_come() -> None:
    play = Play(chain("a", "b", "c")).play("run a+ b> suspend cancel b+ +1000")
    assert (play.state, play.undos()) == ("cancelling", "a:pending b:pending c:skipped")
    play.play("resume -b+ -a+")
    assert play.state == "cancelled"


def test_a_rollback_that_is_renewed_says_again_why_it_is_one() -> None:
    play = Play(chain("a", "b")).play("run a+ b! -b+ -a!")
    assert (play.state, play.fold.reason) == ("aborted", Reason.UNDO_FAILED)
    play.play("cancel")
    assert (play.state, play.fold.reason) == ("cancelling", Reason.TASK_FAILED)
    play.play("-a+")
    assert (play.state, play.fold.reason) == ("cancelled", Reason.TASK_FAILED)
    assert play.fold.message == "task 'b' failed (ScriptError)"


def test_a_runner_that_is_refused_while_suspended_fails_nothing_until_it_goes_on() -> None:
    play = Play(chain("a")).play("run suspend")
    play.lose("a", phase=Phase.REFUSED)
    assert play.dos() == "a:pending"


# --- the run's timeout ---


def test_the_timeout_aborts_and_rolls_back() -> None:
    play = Play(chain("a", "b"), Settings(timeout=1000)).play("run a+ b>")
    assert play.wake_at is not None
    play.tick(play.wake_at - play.now - 1)
    assert play.state == "processing"
    play.play("+1")
    assert play.log()[-2:] == ["aborted", "cancelling"]
    assert play.fold.reason == Reason.TIMEOUT
    play.play("b. -b+ -a+")
    assert (play.state, play.fold.reason) == ("cancelled", Reason.TIMEOUT)


def test_the_timeout_starts_afresh_with_a_recovery() -> None:
    play = Play(chain("a"), Settings(timeout=1000, auto_rollback=False)).play("run +1000 a~")
    assert play.state == "aborted"
    play.play("+5000 recovery +900")
    assert play.state == "processing"
    play.play("a+")
    assert play.state == "complete"


def test_the_last_result_counts_even_at_the_deadline() -> None:
    play = Play(chain("a"), Settings(timeout=1000)).play("run a>")
    play.now += 2000
    play.finish("a")
    assert play.state == "complete"


# --- recovery ---


@pytest.mark.parametrize(
    ("events", "dos"),
    [
        # what succeeded stands, what failed or never ran runs again
        ("run a+ c> b! c. recovery", "a:succeeded b:pending c:succeeded d:pending"),
        # one that still runs goes on
        ("run a+ c> b! recovery", "a:succeeded b:pending c:running d:pending"),
        # what was undone runs again, and what depends on it
        ("run a+ c> b! c. cancel -b+ -c! recovery", "a:succeeded b:pending c:pending d:pending"),
        ("run a+ c> b! c. cancel -b+ -c+ -a! recovery", "a:pending b:pending c:pending d:pending"),
        # an undo that failed counts as undone
        ("run a+ c> b! c. cancel -c! recovery", "a:succeeded b:pending c:pending d:pending"),
        # after a completed run
        (
            "run a+ b+ c+ d+ rollback -d! recovery",
            "a:succeeded b:succeeded c:succeeded d:pending",
        ),
        (
            "run a+ b+ c+ d+ rollback -d+ -b+ -c! recovery",
            "a:succeeded b:pending c:pending d:pending",
        ),
    ],
)
def test_what_stands_in_a_recovery(events: str, dos: str) -> None:
    play = Play(DIAMOND, MANUAL).play(events)
    assert play.state == "processing"
    assert play.dos() == dos
    assert play.undos() == "a:pending b:pending c:pending d:pending"
    play.goes_on()
    assert play.state == "complete"


def test_a_recovery_evaluates_conditions_of_what_runs_again_anew() -> None:
    tasks = plan(
        task_plan("a", condition="x"),
        task_plan("b", "a", condition="x"),
        task_plan("c", "b", condition="x"),
    )
    values: dict[str, bool | str] = {"c": True}
    play = Play(tasks, MANUAL, conditions(values)).play("run a+ b+ c!")
    assert [ref for ref, _ in play.asked] == ["a", "b", "c"]
    values |= {"a": False, "b": False, "c": False}
    play.play("recovery")
    assert [ref for ref, _ in play.asked] == ["a", "b", "c", "c"]
    assert play.dos() == "a:succeeded b:succeeded c:skipped"
    assert play.state == "complete"


def test_one_that_was_undone_once_and_then_skipped_stands_in_the_next_recovery() -> None:
    tasks = plan(task_plan("a", condition="x"), task_plan("b", "a"))
    values: dict[str, bool | str] = {}
    play = Play(tasks, MANUAL, conditions(values)).play("run a+ b! cancel -b+ -a! recovery")
    assert play.dos() == "a:pending b:pending"
    values["a"] = False
    play = Play(tasks, MANUAL, conditions(values))
    values["a"] = True
    play.play("run a+ b! cancel -b+ -a!")
    values["a"] = False
    play.play("recovery b! recovery")
    assert play.dos() == "a:skipped b:pending"
    assert len([key for key in play.asked if key == ("a", Side.DO)]) == 2


def test_attempt_numbers_go_on_and_retries_start_afresh_after_a_recovery() -> None:
    tasks = plan(task_plan("a", retries=Retries(1)))
    play = Play(tasks, MANUAL).play("run a! a! recovery a! a+")
    assert [a.number for a in play.attempts("a")] == [1, 2, 3, 4]
    assert play.state == "complete"


def test_recovery_after_a_timeout_of_what_has_all_succeeded_completes_at_once() -> None:
    settings = Settings(timeout=1000, auto_rollback=False)
    play = Play(chain("a"), settings).play("run a> +1000 a.")
    assert (play.state, play.dos()) == ("aborted", "a:succeeded")
    play.play("recovery")
    assert play.log()[-2:] == ["processing", "complete"]


# --- conditions and tasks without steps ---


def test_a_falsy_condition_skips_and_satisfies_the_dependants() -> None:
    play = Play(DIAMOND, judge=conditions({"a": False, "b": False})).play("run")
    assert play.dos() == "a:skipped b:skipped c:pending d:pending"
    play.play("c+ d+")
    assert play.state == "complete"
    assert play.reasons() == {"a/do": "ConditionFalse", "b/do": "ConditionFalse"}


def test_a_condition_that_raises_fails_its_task() -> None:
    play = Play(chain("a", "b"), judge=conditions({"b": "no such key"})).play("run a+")
    assert play.dos() == "a:succeeded b:failed"
    assert play.reasons()["b/do"] == Reason.CONDITION_ERROR
    verdict = play.records["b", Side.DO].verdict
    assert verdict is not None
    assert verdict.failure is not None
    assert verdict.failure.message == "no such key"
    play.play("-a+")
    assert play.state == "cancelled"


def test_a_condition_is_evaluated_once_and_only_when_it_is_its_turn() -> None:
    play = Play(chain("a", "b"), judge=conditions({})).play("run +10 +10")
    assert play.asked == [("a", Side.DO)]
    play.play("a+ +10")
    assert play.asked == [("a", Side.DO), ("b", Side.DO)]


def test_a_task_without_steps_succeeds_at_once_without_a_runner() -> None:
    play = Play(plan(task_plan("a", steps=0), task_plan("b", "a", steps=0))).play("run")
    assert play.log() == ["processing", "a/do:succeeded", "b/do:succeeded", "complete"]
    assert play.launched == []
    assert all(change.attempt == 0 for change in play.history)


def test_records_that_are_newer_than_the_history_are_dealt_with_once() -> None:
    """Another replica has got on: what is decided here won't be written, but must not fall over."""
    tasks = [task_plan("a", condition="false"), task_plan("b", "a")]
    play = Play(plan(*tasks, task_plan("c", ("a", "b"), steps=0)), judge=conditions({"a": False}))
    play.play("run b+")
    behind = replace(play.facts(Request("again", Operation.RUN)), history=())
    decision = decide(behind)
    moved = [(c.ref, c.state.value) for c in decision.changes if c.ref is not None]
    assert moved.count(("c", "succeeded")) == 1
    assert decision.after is not None
    assert decision.after.index.all_satisfied(Side.DO)


def test_everything_eligible_runs_at_the_same_time() -> None:
    tasks = plan(*(task_plan(ref) for ref in "abcdef"), task_plan("g", "abcdef"))
    play = Play(tasks).play("run")
    assert play.live() == [(ref, Side.DO) for ref in "abcdef"]


def test_a_do_that_never_started_stays_pending() -> None:
    play = Play(chain("a", "b", "c")).play("run a! -a+")
    assert play.state == "cancelled"
    assert play.dos() == "a:failed b:pending c:pending"


# --- onAbort ---


def test_what_runs_when_the_run_aborts_finishes_by_default() -> None:
    tasks = plan(task_plan("a"), task_plan("b", steps=2))
    play = Play(tasks).play("run a> b> a!")
    assert play.ending == set()
    play.play("-a+ b.")
    assert play.may_begin("b") == 1, "its remaining steps are part of what runs"
    play.play("b+ -b+")
    assert play.state == "cancelled"
    assert play.dos() == "a:failed b:succeeded"


@pytest.mark.parametrize("end", ["a!", "cancel"])
def test_terminate_stops_what_runs(end: str) -> None:
    tasks = plan(task_plan("a"), task_plan("b", steps=2))
    play = Play(tasks, Settings(on_abort=OnAbort.TERMINATE)).play(f"run a> b> {end}")
    assert ("b", Side.DO) in play.ending
    stop = play.attempts("b")[-1].stop
    assert stop is not None
    assert stop.reason == Reason.TERMINATED
    assert play.do("b") == "running", "until its runner is gone"
    play.play("b~")
    assert (play.do("b"), play.reasons()["b/do"]) == ("failed", Reason.TERMINATED)
    play.goes_on()
    assert play.state == "cancelled"


def test_terminate_stops_no_undo() -> None:
    settings = Settings(on_abort=OnAbort.TERMINATE)
    tasks = plan(task_plan("a"), task_plan("b"))
    play = Play(tasks, settings).play("run a+ b! -a> -b!")
    assert play.ending == set()
    play.play("-a.")
    assert play.state == "aborted"


def test_what_was_terminated_runs_again_after_a_recovery_whatever_its_retries() -> None:
    settings = Settings(on_abort=OnAbort.TERMINATE, auto_rollback=False)
    tasks = plan(task_plan("a"), task_plan("b"))
    play = Play(tasks, settings).play("run a> b> a! recovery b~")
    assert play.do("b") == "running"
    play.play("b+ a+")
    assert play.state == "complete"


# --- ttl and delete ---


def test_ttl_removes_a_run_that_is_over() -> None:
    play = Play(chain("a"), Settings(ttl_after_finished=5000)).play("run +9000 a+ +4999")
    assert not play.removed
    play.play("+1")
    assert play.removed


def test_ttl_does_nothing_to_a_run_at_rest_that_is_not_over() -> None:
    settings = Settings(ttl_after_finished=0, auto_rollback=False)
    play = Play(chain("a"), settings).play("run a! +99999")
    assert (play.state, play.removed) == ("aborted", False)


def test_ttl_waits_for_the_last_runner_to_be_gone() -> None:
    play = Play(chain("a"), Settings(ttl_after_finished=0)).play("run a>")
    step = play.running("a")
    assert step is not None
    attempt = play.attempts("a")[-1]
    ended = replace(step, finished_at=play.now, succeeded=True)
    play.records["a", Side.DO] = play.records["a", Side.DO].with_last(attempt.with_step(ended))
    play.tick()
    assert (play.state, play.removed) == ("complete", False)
    play.lose("a", phase=Phase.OVER)
    assert play.removed


def test_delete_stops_what_runs_and_removes_the_run_when_nothing_lives() -> None:
    tasks = plan(task_plan("a"), task_plan("b"))
    play = Play(tasks).play("run a>")
    before = len(play.history)
    play.delete()
    assert play.ending == {("a", Side.DO), ("b", Side.DO)}
    assert not play.removed
    play.play("a~")
    assert not play.removed
    play.play("b~")
    assert play.removed
    assert play.log(before) == [], "undoes nothing"


@pytest.mark.parametrize("events", ["", "run a+", "cancel"])
def test_delete_of_what_has_no_runner_is_at_once(events: str) -> None:
    play = Play(chain("a")).play(events)
    play.delete()
    assert play.removed
