"""Rollback: what is owed an undo, in which order undos run, and that none is forgotten."""

import pytest
from tests.core.kit.play import Play, conditions

from xaas_core.engine.facts import Key, Phase
from xaas_core.engine.plan import Plan, Step, TaskPlan
from xaas_core.engine.records import Attempt, Failure, StepRecord, TaskRecord, Verdict
from xaas_core.engine.retry import Retries
from xaas_core.engine.rollback import owed_steps
from xaas_core.engine.states import Reason, Side
from xaas_core.testing.builders import chain, plan, task_plan


def task(undos: str, ref: str = "a") -> TaskPlan:
    """A task with a step for each letter: `u` has an undoScript, `-` has none."""
    return TaskPlan(ref, ref, steps=tuple(Step("do", "undo" if u == "u" else None) for u in undos))


def did(*attempts: tuple[int, ...]) -> TaskRecord:
    """A do's record: for each attempt the steps that began."""
    made = (
        Attempt(n, 0, 0, (0, 1, 2), steps=tuple(StepRecord(i, 0, "") for i in steps))
        for n, steps in enumerate(attempts, 1)
    )
    return TaskRecord("a", Side.DO, attempts=tuple(made))


def undone(*attempts: tuple[int, bool]) -> TaskRecord:
    """An undo's record: pairs of the do attempt that it takes back, and whether it succeeded."""
    made = (
        Attempt(n, 0, 0, (0,), undoes=do, ended_at=1, succeeded=ok)
        for n, (do, ok) in enumerate(attempts, 1)
    )
    return TaskRecord("a", Side.UNDO, attempts=tuple(made))


@pytest.mark.parametrize(
    ("undos", "do", "undo", "owed"),
    [
        ("u", None, None, ()),  # never had an attempt
        ("u", did(()), None, ()),  # had one that never began
        ("u", did((0,)), None, (0,)),
        ("-", did((0,)), None, ()),  # nothing to undo it with
        ("uuu", did((0, 1)), None, (1, 0)),  # in reverse, those that began
        ("u-u", did((0, 1, 2)), None, (2, 0)),
        ("-uu", did((0,)), None, ()),  # an undoScript, but not among the steps that began
        ("uuu", did((0, 1), (0,)), None, (1, 0)),  # in any attempt
        ("uuu", did((0,), (), (0, 1)), None, (1, 0)),
        ("u", did((0,)), undone((1, True)), ()),  # taken back
        ("u", did((0,)), undone((1, False)), (0,)),  # an undo that failed is still owed
        ("u", did((0,)), undone((1, False), (1, True)), ()),
        ("uu", did((0, 1), (0,)), undone((1, True)), (0,)),  # since the last succeeded undo
        ("uu", did((0, 1), (0,)), undone((1, True), (2, False)), (0,)),
        ("uu", did((0, 1), (0,)), undone((2, True)), ()),
    ],
)
def test_owed_steps(
    undos: str, do: TaskRecord | None, undo: TaskRecord | None, owed: tuple[int, ...]
) -> None:
    assert owed_steps(task(undos), do, undo) == owed


def test_an_empty_undo_script_is_one() -> None:
    assert owed_steps(TaskPlan("a", "a", steps=(Step("do", ""),)), did((0,)), None) == (0,)


# a -> b, c; b, c -> d; e stands alone
WIDE = plan(
    task_plan("a"),
    task_plan("b", "a"),
    task_plan("c", "a"),
    task_plan("d", ("b", "c")),
    task_plan("e"),
)


def test_branches_undo_in_parallel_each_after_all_of_its_dependants() -> None:
    play = Play(WIDE).play("run a+ b+ c+ e+ d!")
    assert play.live() == [("d", Side.UNDO), ("e", Side.UNDO)]
    play.play("-d+")
    assert play.live() == [("b", Side.UNDO), ("c", Side.UNDO), ("e", Side.UNDO)]
    play.play("-c+")
    assert ("a", Side.UNDO) not in play.live()
    play.play("-b+")
    assert ("a", Side.UNDO) in play.live()
    play.play("-a+ -e+")
    assert play.state == "cancelled"


def test_an_undo_waits_for_its_own_do_and_for_nothing_elses() -> None:
    play = Play(WIDE).play("run a+ b> c> e!")
    assert play.undos() == "a:pending b:pending c:pending d:skipped e:pending"
    play.play("b.")
    assert play.live() == [("b", Side.UNDO), ("c", Side.DO), ("e", Side.UNDO)]


def test_inside_a_task_the_undos_run_in_reverse_the_failing_steps_included() -> None:
    play = Play(plan(task_plan("a", steps=3))).play("run a> a. a> a!")
    assert play.attempts("a", Side.UNDO)[-1].order == (1, 0)
    assert play.may_begin("a", Side.UNDO) == 1
    play.play("-a> -a.")
    assert play.may_begin("a", Side.UNDO) == 0
    play.play("-a+")
    assert play.state == "cancelled"


def test_what_did_nothing_or_cant_be_undone_is_skipped_when_its_turn_comes() -> None:
    tasks = plan(
        task("u", "a"),
        TaskPlan("b", "b", ("a",), steps=(Step("do", None),)),
        TaskPlan("c", "c", ("b",), condition="x", steps=(Step("do", "undo"),)),
        TaskPlan("d", "d", ("c",)),
        TaskPlan("e", "e", ("d",), steps=(Step("do", "undo"),)),
        TaskPlan("f", "f", ("e",), steps=(Step("do", "undo"),)),
    )
    play = Play(tasks, judge=conditions({"c": False})).play("run a+ b+ e!")
    assert play.undos() == "a:pending b:pending c:pending d:pending e:pending f:skipped"
    play.play("-e+")
    assert play.undos() == "a:pending b:skipped c:skipped d:skipped e:succeeded f:skipped"
    assert {v for k, v in play.reasons().items() if "undo" in k} == {Reason.NOTHING_TO_UNDO}
    play.play("-a+")
    assert play.state == "cancelled"


def test_a_lost_do_is_undone_for_its_step_began() -> None:
    play = Play(chain("a")).play("run a> a?")
    assert (play.do("a"), play.reasons()["a/do"]) == ("failed", Reason.RUNNER_LOST)
    play.play("-a+")
    assert play.undos() == "a:succeeded"


def test_a_do_that_could_not_be_started_owes_nothing() -> None:
    play = Play(chain("a")).play("run")
    play.lose("a", phase=Phase.REFUSED, reason=Reason.INVALID_JOB, message="no such image")
    assert (play.do("a"), play.undo("a"), play.state) == ("failed", "skipped", "cancelled")


def test_steps_of_all_attempts_are_undone() -> None:
    tasks = plan(task_plan("a", steps=3, retries=Retries(1)))
    play = Play(tasks).play("run a> a. a> a! a!")
    assert play.attempts("a", Side.UNDO)[-1].order == (1, 0)


def test_when_an_undo_has_failed_no_other_starts_and_those_running_finish() -> None:
    play = Play(WIDE).play("run a+ b+ c+ e> d> d! e. -d> -e>")
    before = len(play.launched)
    play.play("-d!")
    assert play.state == "cancelling"
    play.play("-e.")
    assert play.state == "aborted"
    assert play.undos() == "a:pending b:pending c:pending d:failed e:succeeded"
    assert len(play.launched) == before


def test_an_undo_that_was_started_but_has_not_begun_is_withdrawn_when_another_fails() -> None:
    play = Play(WIDE).play("run a+ b+ c+ e+ d! -d!")
    assert play.state == "aborted"
    assert play.may_begin("e", Side.UNDO) is None
    assert ("e", Side.UNDO) in play.ending


@pytest.mark.parametrize("end", ["-b!", "-b> -b?"])
def test_a_failed_undo_is_still_owed_and_runs_again_whole(end: str) -> None:
    tasks = plan(task_plan("a"), task_plan("b", "a", steps=2))
    play = Play(tasks).play(f"run a+ b> b. b! -b> -b. {end}")
    assert (play.state, play.undo("b")) == ("aborted", "failed")
    play.play("cancel")
    assert play.undo("b") == "pending"
    assert [(a.number, a.order) for a in play.attempts("b", Side.UNDO)] == [
        (1, (1, 0)),
        (2, (1, 0)),
    ]
    play.play("-b+ -a+")
    assert play.state == "cancelled"


def test_an_undo_that_succeeded_before_is_not_renewed() -> None:
    play = Play(chain("a", "b")).play("run a+ b! -b+ -a! cancel")
    assert play.undos() == "a:pending b:succeeded"
    play.play("-a+")
    assert [a.number for a in play.attempts("b", Side.UNDO)] == [1]


def test_an_undo_is_retried_like_a_do() -> None:
    tasks = plan(task_plan("a", retries=Retries(2, 1000)))
    play = Play(tasks).play("run a! +1000 a! +1000 a! -a! +999")
    assert (play.undo("a"), play.live()) == ("running", [])
    play.play("+1 -a+")
    assert play.state == "cancelled"
    assert [a.number for a in play.attempts("a", Side.UNDO)] == [1, 2]


def test_an_undo_is_timed_out_like_a_do() -> None:
    play = Play(plan(task_plan("a", timeout=1000))).play("run a! -a> +1000")
    assert ("a", Side.UNDO) in play.ending
    play.play("-a~")
    assert play.reasons()["a/undo"] == Reason.TIMEOUT
    assert play.state == "aborted"


def test_an_undo_whose_runner_is_lost_before_it_began_is_started_again() -> None:
    play = Play(chain("a")).play("run a! -a? -a? -a+")
    assert play.state == "cancelled"
    assert [(a.number, a.launch) for a in play.attempts("a", Side.UNDO)] == [(1, 3)]


def test_what_was_undone_and_did_nothing_since_is_not_undone_again() -> None:
    play = Play(chain("a", "b")).play("run a+ b+ rollback -b+ -a! recovery")
    play.play("a! -a+")
    assert play.undos() == "a:succeeded b:skipped"
    assert play.state == "cancelled"


def test_what_is_owed_from_before_a_recovery_is_undone_even_if_it_is_skipped_now() -> None:
    tasks = plan(task_plan("a"), task_plan("b", "a", condition="x"), task_plan("c", "b"))
    values: dict[str, bool | str] = {}
    play = Play(tasks, judge=conditions(values)).play("run a+ b! -b!")
    values["b"] = False
    play.play("recovery c!")
    assert play.dos() == "a:succeeded b:skipped c:failed"
    play.play("-c+ -b+ -a+")
    assert play.state == "cancelled"


def test_a_run_is_not_over_while_a_withdrawn_runner_lives() -> None:
    play = Play(chain("a")).play("run cancel")
    assert (play.state, play.undo("a")) == ("cancelling", "skipped")
    play.play("a~")
    assert play.state == "cancelled"


def test_input_too_large_for_an_undo_fails_it() -> None:
    def judge(key: Key, round_: int) -> Verdict:
        failure = Failure(Reason.PARAMS_TOO_LARGE, "2 MiB")
        large = key[1] is Side.UNDO
        reason = Reason.PARAMS_TOO_LARGE if large else Reason.NONE
        return Verdict(round_, not large, reason, failure if large else None)

    play = Play(chain("a"), judge=judge).play("run a!")
    assert (play.state, play.reasons()["a/undo"]) == ("aborted", Reason.PARAMS_TOO_LARGE)


def test_order_of_undo_of_a_long_chain() -> None:
    refs = "abcdefghij"
    play = Play(Plan("p", chain(*refs).tasks)).play("run")
    play.goes_on()
    play.play("rollback")
    play.goes_on()
    undone_refs = [c.ref for c in play.history if c.side is Side.UNDO and c.state == "succeeded"]
    assert undone_refs == list(reversed(refs))
