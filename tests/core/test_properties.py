"""Random DAGs, outcomes, users, losses and crashes: what holds of all of them.

`Play` and `Rules` judge every single decision: legality of each change, the order of undos, exactly
what is owed an undo, idempotence, independence of how the facts are listed. Here is what drives
them, and what must hold in the end: no dead end.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.kit.play import Judge, Play, conditions

from xaas_core.engine.facts import Key, Phase, Settings
from xaas_core.engine.history import History
from xaas_core.engine.plan import Plan, Step, TaskPlan
from xaas_core.engine.retry import Retries
from xaas_core.engine.states import OnAbort, Operation, Reason, RunState, Side

REFS = "abcde"
Event = Callable[[], object]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A DAG of up to five tasks of up to three steps, each with or without an undoScript."""
    refs = REFS[: draw(st.integers(1, len(REFS)))]
    tasks = []
    for index, ref in enumerate(refs):
        undos = draw(st.lists(st.sampled_from([True, True, False]), max_size=3))
        needs = draw(st.lists(st.sampled_from(refs[:index]), unique=True)) if index else []
        tasks.append(
            TaskPlan(
                ref,
                ref,
                tuple(needs),
                "x",
                tuple(Step("do", "undo" if undo else None) for undo in undos),
                timeout=draw(st.sampled_from([None, 40])),
                start_timeout=60,
                grace_period=5,
                retries=Retries(draw(st.integers(0, 2)), draw(st.sampled_from([0, 10]))),
            )
        )
    return Plan("p", tuple(draw(st.permutations(tasks))))


run_settings = st.builds(
    Settings,
    auto_rollback=st.booleans(),
    on_abort=st.sampled_from(OnAbort),
    suspend=st.booleans(),
    timeout=st.sampled_from([None, 100]),
)
outcomes: st.SearchStrategy[bool | str] = st.sampled_from([True, False, "raises"])
judges = st.dictionaries(st.sampled_from(REFS), outcomes, max_size=2).map(conditions)


def choose(seed: int, count: int) -> list[tuple[int, int | None]]:
    """`count` choices, each with what is written before a crash; None: no crash."""
    # Of our own making: Hypothesis alone draws short lists, and a run takes dozens of events.
    chance = Random(seed)
    crashes = [None, None, None, None, 0, 1, 2, 3]
    return [(chance.randrange(10_000), chance.choice(crashes)) for _ in range(count)]


choices = st.builds(choose, st.integers(0, 2**32), st.sampled_from([10, 30, 60, 100, 150]))


def events(play: Play) -> list[Event]:
    """All that may happen next, likely things several times."""
    found: list[Event] = [
        lambda: play.tick(20),
        *[lambda: play.tick(1)] * 12,
        lambda: play.suspend(not play.settings.suspend),
        *(_asking(play, operation) for operation in Operation),
    ]
    if play.state is RunState.PENDING:
        found += [_asking(play, Operation.RUN)] * 40
    for key in play.live():
        found += _of_runner(play, key)
    return found


def _asking(play: Play, operation: Operation) -> Event:
    return lambda: play.ask(operation)


def _of_runner(play: Play, key: Key) -> list[Event]:
    found: list[Event] = [lambda: play.lose(*key), lambda: play.lose(*key, phase=Phase.ABSENT)]
    if play.running(*key) is not None:
        found += [lambda: play.finish(*key)] * 16
        found += [lambda: play.finish(*key, Reason.SCRIPT_ERROR)] * 4
    elif play.may_begin(*key) is not None:
        found += [lambda: play.begin(*key)] * 20
        if not play.attempts(*key)[-1].begun:
            found.append(lambda: play.lose(*key, phase=Phase.REFUSED))
    return found


def drive(play: Play, chosen: list[tuple[int, int | None]]) -> None:
    """Play what was chosen; a number beside it lets the process die within the decision."""
    for choice, crash in chosen:
        possible = events(play)
        play.crash = crash
        possible[choice % len(possible)]()
    play.crash = None


@given(plans(), run_settings, judges, choices)
@settings(max_examples=150)
def test_whatever_happens_every_rule_holds_and_there_is_no_dead_end(
    plan: Plan, run: Settings, judge: Judge, chosen: list[tuple[int, int | None]]
) -> None:
    play = Play(plan, run, judge)
    drive(play, chosen)
    if play.settings.suspend:
        play.suspend(False)
    play.goes_on()
    assert play.state not in (RunState.PROCESSING, RunState.CANCELLING)
    assert not play.live(), "a run at rest leaves no runner behind"
    if play.state in (RunState.PENDING, RunState.ABORTED):
        # From there a user gets on, whatever has happened before.
        play.ask(Operation.CANCEL)
        play.goes_on()
        assert play.fold.state is RunState.CANCELLED


@given(plans(), run_settings, judges, choices)
@settings(max_examples=50)
def test_attempts_are_numbered_without_gaps_and_no_step_begins_twice_in_one(
    plan: Plan, run: Settings, judge: Judge, chosen: list[tuple[int, int | None]]
) -> None:
    play = Play(plan, run, judge)
    drive(play, chosen)
    for record in play.records.values():
        numbers = [attempt.number for attempt in record.attempts]
        assert numbers == list(range(1, len(numbers) + 1))
        assert all(attempt.over or attempt.stop for attempt in record.attempts[:-1])
        for attempt in record.attempts:
            began = [step.index for step in attempt.steps]
            assert began == list(attempt.order[: len(began)])


@given(plans(), run_settings, judges, choices)
@settings(max_examples=30)
def test_the_states_are_a_fold_of_the_history_and_nothing_else(
    plan: Plan, run: Settings, judge: Judge, chosen: list[tuple[int, int | None]]
) -> None:
    play = Play(plan, run, judge)
    drive(play, chosen)
    decision = play.reconcile()
    assert decision.after is not None
    again = History(plan.graph, play.history)
    assert (again.state, again.reason, again.message) == (
        decision.after.state,
        decision.after.reason,
        decision.after.message,
    )
    assert again.cells == decision.after.cells
    assert again.counts() == decision.after.counts()


@given(plans(), judges)
@settings(max_examples=50)
def test_a_run_whose_tasks_all_succeed_completes_and_rolls_back_whole(
    plan: Plan, judge: Judge
) -> None:
    play = Play(plan, replace(Settings(), auto_rollback=True), judge)
    play.ask(Operation.RUN)
    play.goes_on()
    raised = [r for r in play.reasons().values() if r is Reason.CONDITION_ERROR]
    assert play.state is (RunState.CANCELLED if raised else RunState.COMPLETE)
    if not raised:
        play.ask(Operation.ROLLBACK)
        play.goes_on()
        assert play.state is RunState.CANCELLED
    undone = {c.ref for c in play.history if c.side is Side.UNDO and c.state == "succeeded"}
    did = {c.ref for c in play.history if c.side is Side.DO and c.state == "running"}
    can = {task.ref for task in plan.tasks if any(step.undo is not None for step in task.steps)}
    assert undone == did & can
