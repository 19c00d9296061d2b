"""Plans as text: all of it comes back, and a definition is written once."""

import json

from hypothesis import given
from hypothesis import strategies as st

from xaas_core import plan_text
from xaas_core.codec import Codec
from xaas_core.engine.plan import Plan, SecretRef, Step, TaskPlan
from xaas_core.engine.retry import Retries

WHOLE = TaskPlan(
    "x",
    "t",
    ("a", "b"),
    "True",
    (Step("do \ud800", "undo"), Step("x")),
    1,
    2,
    3,
    Retries(2, 5, 1.5, 9),
    "image",
    {"limits": {"cpu": 1}},
    (SecretRef("n", "s", "k"),),
    ("yaml",),
)
TASKS = st.builds(
    TaskPlan,
    st.text(),
    st.sampled_from(["t", "u"]),
    st.lists(st.text(), max_size=2).map(tuple),
    st.none() | st.text(),
    st.sampled_from([(), (Step("a"),), (Step("a", "b"), Step("c"))]),
    st.none() | st.integers(0, 9),
    retries=st.builds(Retries, st.integers(0, 3)),
    resources=st.sampled_from([{}, {"limits": {"memory": "1Gi"}}]),
)


@given(st.lists(st.just(WHOLE) | TASKS, max_size=6))
def test_all_of_a_plan_comes_back(tasks: list[TaskPlan]) -> None:
    plan = Plan("p", tuple(tasks))
    assert plan_text.decode(plan_text.encode(plan)) == plan


def test_a_definition_is_written_and_kept_once() -> None:
    steps = (Step("x" * 10_000),)
    tasks = [TaskPlan(f"r{n}", "t", (), f"{n}", steps, timeout=n) for n in range(50)]
    text = plan_text.encode(Plan("p", tuple(tasks)))
    assert len(text) < 15_000
    found = plan_text.decode(text).tasks
    assert all(task.steps is found[0].steps for task in found)


def test_plans_that_were_written_before_are_read() -> None:
    plan = Plan("p", (WHOLE, TaskPlan("y", "u", steps=(Step("z"),)), TaskPlan("z", "none")))
    whole = Codec(Plan).encode(plan)
    assert plan_text.decode(whole) == plan
    with_steps_once = json.loads(whole)
    with_steps_once["steps"] = [task.get("steps") for task in with_steps_once["tasks"][:2]]
    for position, task in enumerate(with_steps_once["tasks"][:2]):
        task["steps"] = position
    assert plan_text.decode(json.dumps(with_steps_once)) == plan
