"""Many runs under way at once, and what must be true of them in the end, whatever was done meanwhile."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from tests.conformance.kit import oracle
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.oracle import Planned
from tests.conformance.kit.plan import Nodes, Step, multi, node
from tests.e2e.kit.space import Space, manifest, pipeline, run
from tests.e2e.kit.stream import Receiver
from tests.e2e.kit.watched import Watched

SAID: Final = "said"
"""Where each script says which step of which attempt it is."""

WITHIN: Final = 150.0
"""Seconds for all runs to end: runners wait for an operator, and pods for each other."""


@dataclass(frozen=True)
class Kind:
    """A sort of run: its pipeline, the state that it ends in, and how many scripts it runs."""

    nodes: Nodes
    state: str
    scripts: int


def kinds(gate: Gate) -> dict[str, Kind]:
    """A run that completes, one that is undone, and one of which a task is tried again."""
    where = "[context.run_id, context.ref, context.process_type, context.attempt, context.step]"
    said = gate.note(SAID, where)
    passing = {
        "a": multi(Step(said, said), Step(said)),
        "b": node(said, undo=said, after="a"),
        "c": node(said, undo=said, after="a", when="True"),
    }
    again = "if context.attempt == 1:\n    raise ValueError('again')\n"
    retried = {"a": node(said + again, retries={"limit": 1}), "b": node(said, after="a")}
    return {
        "completes": Kind({**passing, "d": node(said, after="b c")}, "complete", 5),
        "undone": Kind({**passing, "d": node(said + "1 / 0", after="b c")}, "cancelled", 8),
        "retried": Kind(retried, "complete", 3),
    }


class Load:
    """`count` runs, of all kinds in turn. What comes of them is watched from now on."""

    def __init__(self, space: Space, gate: Gate, receiver: Receiver, count: int) -> None:
        self._space = space
        self._gate = gate
        self._receiver = receiver
        self._kinds = kinds(gate)
        turn = list(self._kinds)
        self._runs = {f"r{number}": turn[number % len(turn)] for number in range(count)}
        for name, kind in self._kinds.items():
            self._define(name, kind.nodes)
        self._jobs = Watched(space, "jobs")

    def _define(self, kind: str, nodes: Nodes) -> None:
        """A Pipeline, and PipelineTasks of its own."""
        named = {ref: f"{kind}-{ref}" for ref in nodes}
        tasks = [
            manifest("PipelineTask", named[ref], each.body(named[ref], "tests"))
            for ref, each in nodes.items()
        ]
        entries = [each.place(ref, named[ref]) for ref, each in nodes.items()]
        self._space.apply(*tasks, pipeline(kind, *entries))

    def start(self) -> None:
        """All of them, at once."""
        self._space.apply(*(run(name, kind) for name, kind in self._runs.items()))

    def over(self) -> int:
        """How many are over."""
        states = [(each.get("status") or {}).get("state") for each in self._space.items("plr")]
        return sum(1 for each in states if each in ("complete", "cancelled"))

    def judge(self) -> None:
        """Wait for their ends, then see that each went as it must."""
        for name, kind in self._runs.items():
            self._space.wait_state(name, self._kinds[kind].state, within=WITHIN)
        found = {each["metadata"]["name"]: each["metadata"]["uid"] for each in self._items()}
        for name, uid in found.items():
            state = self._kinds[self._runs[name]].state
            self._receiver.wait(uid, f"run {state}", WITHIN)
        self._jobs.until_seen({each["metadata"]["uid"] for each in self._space.items("jobs")})
        self._jobs.close()
        assert self._receiver.troubles == []
        for name, uid in found.items():
            self._judge_messages(name, uid)
        self._judge_scripts()
        self._judge_jobs()

    def _items(self) -> list[dict[str, dict[str, str]]]:
        return self._space.items("plr")

    def _judge_messages(self, name: str, uid: str) -> None:
        """What was told is legal from the first message to the last, and is all there is."""
        kind = self._runs[name]
        nodes = self._kinds[kind].nodes
        planned = Planned(kind, nodes, {ref: f"{kind}-{ref}" for ref in nodes})
        told = self._receiver.of(uid)
        assert oracle.violations(uid, planned, told) == [], name
        assert len(self._space.status(name)["log"]) == len(told), name
        for (ref, side), found in self._space.task_runs(name).items():
            states = [each.brief for each in told if each.brief.startswith(f"{ref} {side} ")]
            shown = found["status"]["state"]
            assert states[-1:] == [f"{ref} {side} {shown}"] or shown == "pending", (name, states)

    def _judge_scripts(self) -> None:
        """Each step ran once in each attempt: none is repeated, none left out."""
        ran = Counter(tuple(each) for each in self._gate.notes[SAID])
        twice = {each: count for each, count in ran.items() if count != 1}
        assert not twice, f"scripts that ran more than once: {twice}"
        assert len(ran) == sum(self._kinds[kind].scripts for kind in self._runs.values())

    def _judge_jobs(self) -> None:
        """One Job for each attempt, ever."""
        made = Counter(each.task_run_attempt for each in self._jobs.added())
        twice = {each: count for each, count in made.items() if count != 1}
        assert not twice, f"attempts with more than one Job: {twice}"
