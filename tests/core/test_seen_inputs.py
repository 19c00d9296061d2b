"""Random runs: what is taken to know an input gives the very input that the newest history gives.

After each act of a run, every history that was ever written of it is held against every attempt that has
begun: a replica may have seen no more than that.
"""

import random
from typing import Any

import pytest
from tests.core.kit.bench import Bench, finished

from xaas_core.engine.history import History
from xaas_core.engine.params import Inputs, encode
from xaas_core.engine.records import Attempt
from xaas_core.engine.states import OPERATIONS, RunState
from xaas_core.gateway import _knows_input
from xaas_core.models.objects import Run, RunStatus, Summary
from xaas_core.places import Place
from xaas_core.ports import RunnerKey
from xaas_core.testing.builders import task_spec

pytestmark = pytest.mark.anyio

SEEDS = 150
ACTS = 60
ERROR = {"type": "Error", "message": "no"}


class Walk:
    """A random run, and the lengths that its history had when it was written."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.bench = Bench()
        self.written = [1]
        self.known = 0

    async def start(self) -> None:
        """A pipeline of one to five tasks."""
        chance = self.random
        refs = "abcde"[: chance.randint(1, 5)]
        edges = {
            ref: "".join(each for each in refs[:index] if chance.random() < 0.5)
            for index, ref in enumerate(refs)
        }
        conditions = {ref: "has w" for ref in refs if chance.random() < 0.2}
        retried = {"retries": {"limit": 1, "delay": "1ms"}}
        tasks = [
            task_spec(
                ref,
                [chance.random() < 0.8 for _ in range(chance.randint(1, 2))],
                **(retried if chance.random() < 0.4 else {}),
            )
            for ref in refs
        ]
        more: Any = {"auto_rollback": chance.random() < 0.6, "parameters": {"p": 0}}
        await self.bench.start(*tasks, edges=edges, conditions=conditions, **more)

    async def act(self) -> None:
        """A runner's begin or finish, or an operation."""
        chance, bench = self.random, self.bench
        records = (await bench.store.records(bench.uid)).values()
        open_ = [
            (RunnerKey(bench.uid, each.value.ref, each.value.side, last.number, last.launch), last)
            for each in records
            if (last := each.value.last) is not None and not last.over and last.stop is None
        ]
        operations = OPERATIONS[await bench.state()]
        if operations and (not open_ or chance.random() < 0.12):
            await bench.ask(chance.choice(list(operations)))
        elif open_:
            await self._work(*chance.choice(open_))
        bench.clock.move_to(bench.clock.now() + 5)
        await bench.reconcile()
        self.written.append(len((await bench.run()).history))

    async def _work(self, runner: RunnerKey, attempt: Attempt) -> None:
        chance, bench = self.random, self.bench
        begun = [step.index for step in attempt.steps if step.finished_at is None]
        if not begun:
            step = next(index for index in attempt.order if attempt.step(index) is None)
            await bench.gateway.begin(runner, {"step": step, "nonce": "n", "runner": "pid"})
            return
        key = chance.choice("wxy")
        delta: list[Any] = [{"op": "set", "path": [key], "value": chance.random()}]
        if chance.random() < 0.2:
            delta = [{"op": "delete", "path": [key]}]
        failed = chance.random() < 0.25
        said = {"outcome": "failed", "error": ERROR} if failed else {}
        await bench.gateway.finish(runner, finished(step=begun[0], delta=delta, **said))
        if (failed or begun[0] == attempt.order[-1]) and runner in bench.launcher.seen:
            bench.gone(runner)

    async def check(self) -> None:
        """Hold all that was written against what is."""
        bench = self.bench
        run, plan = await bench.run(), await bench.store.plan(bench.uid)
        assert plan is not None
        stored = await bench.store.records(bench.uid)
        records = {key: each.value for key, each in stored.items()}
        parameters = encode(run.spec.parameters)
        now = History(plan.graph, run.history)
        for key, each in stored.items():
            last = each.value.last
            if last is None or not last.begun or last.over:
                continue
            right = Inputs(parameters, plan.graph, now, records).of(*key)
            for length in set(self.written):
                then = History(plan.graph, run.history[:length])
                runner = RunnerKey(bench.uid, *key, last.number, last.launch)
                place = Place(runner, at(run, then.state), plan, then, each, last)
                if _knows_input(place):
                    self.known += 1
                    assert Inputs(parameters, plan.graph, then, records).of(*key) == right


def at(run: Run, state: RunState) -> Run:
    """The run as it was in a state, as far as that is looked at."""
    return Run(run.meta, run.spec, run.target, run.request, RunStatus(Summary(state)))


async def test_what_is_enough_to_know_gives_the_right_input() -> None:
    known = 0
    for seed in range(SEEDS):
        walk = Walk(seed)
        await walk.start()
        for _ in range(ACTS):
            await walk.act()
            await walk.check()
        known += walk.known
    assert known > 10 * SEEDS, "nothing was ever enough"
