"""Random pipelines with random troubles, driven by a random operator until they are over.

Nothing is expected of a run but what the contract says of every run: the oracle judges each, it comes
to an end, and no step begins twice in one attempt. The seed is in the test's name.
"""

import random
from collections import Counter

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Node, Nodes, Step
from tests.conformance.kit.product import Product
from tests.conformance.kit.run import OVER, Run

SEEDS = range(24)
ROUNDS = 12


def told(gate: Gate, side: str, index: int) -> str:
    return gate.note("begun", f"[context.ref, '{side}', {index}, context.attempt]")


def steps(chance: random.Random, gate: Gate, ref: str) -> tuple[Step, ...]:
    made = []
    for index in range(chance.choice([1, 1, 2, 3])):
        do, undo = told(gate, "do", index), None
        do += f"params['{chance.choice('xyz')}'] = '{ref}'\n"
        if chance.random() < 0.2:
            do += gate.fails(f"{ref} {index}", chance.choice([1, 1, 2]))
        if chance.random() < 0.7:
            undo = told(gate, "undo", index)
            if chance.random() < 0.15:
                undo += gate.fails(f"undo {ref} {index}", 1)
        made.append(Step(do, undo))
    return tuple(made)


def pipeline(chance: random.Random, gate: Gate) -> Nodes:
    nodes: Nodes = {}
    for number in range(chance.randint(2, 8)):
        ref = f"t{number}"
        after = tuple(r for r in nodes if chance.random() < 0.35)
        when = chance.choice([None, None, None, "params", "not params", "'x' in params"])
        retries = {"limit": 1, "delay": "1ms"}
        task = {"retries": retries} if chance.random() < 0.3 else {}
        nodes[ref] = Node(steps(chance, gate, ref), after, when, task)
    return nodes


def drive(run: Run, chance: random.Random) -> None:
    """Choose among what the run allows whenever it rests, until it is over."""
    for _ in range(ROUNDS):
        rests = [*OVER, "aborted"]
        run.wait(*rests)
        shown = run.get()
        if shown["status"] == "complete" and chance.random() < 0.5:
            run.operate("rollback")
        elif shown["status"] == "aborted":
            run.until(lambda: run.get()["tasks"]["running"] == 0, "nothing runs")
            run.operate(chance.choice(["cancel", "recovery"]))
        else:
            return
    raise AssertionError(f"the run is {run.status()} after {ROUNDS} operations")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_run(product: Product, seed: int) -> None:
    chance = random.Random(seed)
    nodes = pipeline(chance, product.gate)
    run = product.run(nodes, autoRollback=chance.random() < 0.6)
    drive(run, chance)
    begun = Counter(map(tuple, product.gate.notes["begun"]))
    assert [step for step, times in begun.items() if times > 1] == []
    owed = {ref for ref, state in run.states("undo").items() if state == "failed"}
    assert owed == set()
