"""A diamond of four tasks, every event in every reachable state: no illegal move, no dead end.

States are told apart by what the rules speak of (states, undos owed, what runs, what may begin),
not by numbers that only count. Two steps are walked for every state: each event that can happen
next, and, from what that leads to, whether the run comes to rest without any user.
"""

from collections import deque
from collections.abc import Iterator
from copy import copy

import pytest
from tests.core.kit.play import Play

from xaas_core.engine.facts import Settings
from xaas_core.engine.plan import Plan, Step, TaskPlan
from xaas_core.engine.states import AT_REST, OPERATIONS, Operation, RunState, Side
from xaas_core.testing.builders import plan

Event = tuple[str, ...]
Shape = tuple[object, ...]


def diamond(undos: str) -> Plan:
    """a -> b, c -> d; `u`: the task of this letter has an undoScript."""
    needs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    return plan(
        *(
            TaskPlan(ref, ref, needs[ref], steps=(Step("do", "undo" if u == "u" else None),))
            for ref, u in zip("abcd", undos, strict=True)
        )
    )


def shape(play: Play) -> Shape:
    """What of a state matters for what may happen next."""
    fold = play.fold
    cells = tuple((cell.state, cell.undone) for side in Side for cell in fold.cells[side].values())
    owed = tuple(bool(play.rules.owed(ref)) for ref in "abcd")
    runners = tuple((key, key in play.ending, play.running(*key) is None) for key in play.live())
    return (fold.state, cells, owed, runners, play.settings.suspend)


def fork(play: Play) -> Play:
    """A copy to go on from."""
    other = copy(play)
    other.history = list(play.history)
    other.records, other.sightings = dict(play.records), dict(play.sightings)
    other.ending, other.replies = set(play.ending), list(play.replies)
    other.asked, other.launched = [], []
    other.rules = play.rules.fork()
    return other


def by_itself(play: Play) -> Iterator[Event]:
    """What may happen without a user: runners begin, succeed, fail and are lost."""
    for ref, side in play.live():
        if (ref, side) in play.ending:
            yield ("lose", ref, side)
        elif play.running(ref, side) is not None:
            yield ("finish", ref, side)
            yield ("fail", ref, side)
        elif play.may_begin(ref, side) is not None:
            yield ("begin", ref, side)


def by_others(play: Play, suspends: bool) -> Iterator[Event]:
    """What users ask for, and what befalls a runner."""
    yield from (("ask", operation) for operation in OPERATIONS[play.state])
    if suspends:
        yield ("suspend",)
    for ref, side in play.live():
        if play.running(ref, side) is not None:
            yield ("lose", ref, side)


def happen(play: Play, event: Event) -> Play:
    """The play after `event`, the rules having judged it."""
    after = fork(play)
    kind, *key = event
    if kind == "ask":
        assert after.ask(Operation(key[0])).accepted
    elif kind == "suspend":
        after.suspend(not play.settings.suspend)
    else:
        getattr(after, kind)(key[0], Side(key[1]))
    return after


@pytest.mark.parametrize(
    ("undos", "suspends", "auto"),
    [
        ("uuuu", False, True),
        ("uuuu", False, False),
        ("-u-u", True, True),
        ("u-u-", True, False),
        ("----", True, True),
    ],
)
def test_every_event_in_every_reachable_state(undos: str, suspends: bool, auto: bool) -> None:
    start = Play(diamond(undos), Settings(auto_rollback=auto), thorough=False)
    seen: dict[Shape, Play] = {shape(start): start}
    leads_to: dict[Shape, set[Shape]] = {}
    left = deque(seen)
    while left:
        here = left.popleft()
        play = seen[here]
        leads_to[here] = set()
        own = list(by_itself(play))
        for event in own + list(by_others(play, suspends)):
            after = happen(play, event)
            there = shape(after)
            if event in own:
                leads_to[here].add(there)
            if there not in seen:
                seen[there] = after
                left.append(there)
    assert_rest_is_reached(seen, leads_to)
    assert {play.state for play in seen.values()} == set(RunState) - (
        set() if "u" in undos or not auto else {RunState.ABORTED}
    )


def assert_rest_is_reached(seen: dict[Shape, Play], leads_to: dict[Shape, set[Shape]]) -> None:
    """From every state that isn't suspended, some sequence without a user leads to rest."""
    came_from: dict[Shape, set[Shape]] = {here: set() for here in seen}
    for here, nexts in leads_to.items():
        for there in nexts:
            came_from[there].add(here)
    at_rest = AT_REST | {RunState.PENDING}
    good = {here for here, play in seen.items() if play.state in at_rest and not play.live()}
    left = deque(good)
    while left:
        for here in came_from[left.popleft()] - good:
            good.add(here)
            left.append(here)
    stuck = [play for here, play in seen.items() if here not in good]
    assert all(play.settings.suspend for play in stuck), [p.log() for p in stuck][:3]
