"""What is refused when it is written, with the place; and what a plan is made of."""

from typing import Any

import pytest
from tests.core.kit.bench import Bench

from xaas_core.admission import MAX_DEFINITIONS, Refused
from xaas_core.engine.plan import SecretRef, Step
from xaas_core.engine.retry import Retries
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec, SecretSpec, StepSpec
from xaas_core.planner import NotPlannable, make_plan, plan_instead
from xaas_core.ports import Finding, Kind, Script, ScriptKind, Writes
from xaas_core.testing.builders import NAMESPACE, entry, pipeline_spec, run_spec, task_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    """A server."""
    return Bench()


async def refusals(bench: Bench, spec: PipelineTaskSpec | PipelineSpec) -> list[str]:
    """Why `spec` is refused."""
    kind = Kind.TASK if isinstance(spec, PipelineTaskSpec) else Kind.PIPELINE
    with pytest.raises(Refused) as caught:
        await bench.admission.admit(kind, NAMESPACE, spec)
    return [str(problem) for problem in caught.value.problems]


def scripts(*pairs: tuple[str, str | None]) -> list[StepSpec]:
    """Steps of (doScript, undoScript)."""
    return [StepSpec(do_script=do, undo_script=undo) for do, undo in pairs]


async def test_a_task_is_refused_for_each_script_that_is(bench: Bench) -> None:
    steps = scripts(("fine", "refuse"), ("refuse this", None), ("fine", "fine"))
    spec = PipelineTaskSpec(category="c", name="t", steps=steps)
    assert await refusals(bench, spec) == [
        "steps[0].undoScript, line 1: refused",
        "steps[1].doScript, line 1: refused",
    ]


async def test_scripts_are_checked_with_the_imports_that_their_task_allows(bench: Bench) -> None:
    asked: list[Script] = []

    async def check(given: Any) -> list[Finding | None]:
        asked.extend(given)
        return [None] * len(given)

    bench.evaluator.check = check  # type: ignore[method-assign,assignment]
    spec = task_spec("t", allowed_imports=["yaml"])
    await bench.admission.admit(Kind.TASK, NAMESPACE, spec)
    await bench.admission.admit(
        Kind.PIPELINE, NAMESPACE, pipeline_spec("p", entry("a", condition="true"))
    )
    assert asked == [
        Script("do t 0", ScriptKind.SCRIPT, ("yaml",)),
        Script("undo t 0", ScriptKind.SCRIPT, ("yaml",)),
        Script("true", ScriptKind.CONDITION),
    ]


async def test_a_secret_that_is_named_twice(bench: Bench) -> None:
    secrets = [SecretSpec(name=n, secret="s", key="k") for n in ("a", "b", "a")]
    spec = task_spec("t", secrets=secrets)
    assert await refusals(bench, spec) == ["secrets[2].name: 'a' occurs more than once"]


@pytest.mark.parametrize(
    ("entries", "refused"),
    [
        ([entry("a"), entry("b"), entry("a")], "tasks[2].ref: ref 'a' occurs more than once"),
        ([entry("a"), entry("b", "x")], "tasks[1].dependsOn: 'b' depends on 'x', which is no ref"),
        (
            [entry("a", "c"), entry("b", "a"), entry("c", "b")],
            "the tasks depend on each other in a cycle: ",
        ),
        (
            [entry("a", "a")],
            "tasks[0].dependsOn: the tasks depend on each other in a cycle: a -> a",
        ),
        ([entry("a"), entry("b", condition="refuse")], "tasks[1].condition, line 1: refused"),
    ],
)
async def test_a_pipeline_is_refused_with_the_place(
    bench: Bench, entries: list[Any], refused: str
) -> None:
    [text] = await refusals(bench, pipeline_spec("p", *entries))
    assert refused in text


async def test_a_pipeline_may_name_tasks_that_dont_exist_yet(bench: Bench) -> None:
    await bench.admission.admit(Kind.PIPELINE, NAMESPACE, pipeline_spec("p", entry("a")))


async def test_more_definitions_than_allowed(bench: Bench) -> None:
    half = StepSpec(do_script="x" * (MAX_DEFINITIONS // 2))
    large = PipelineTaskSpec(category="c", name="large", steps=[half])
    await bench.admission.admit(Kind.TASK, NAMESPACE, large)
    await bench.define(large)
    fits = pipeline_spec("p", entry("a", name="large"))
    await bench.admission.admit(Kind.PIPELINE, NAMESPACE, fits)
    again = pipeline_spec("p", entry("a", name="large"), entry("b", name="large"))
    await bench.admission.admit(Kind.PIPELINE, NAMESPACE, again)  # the same one twice: once
    await bench.admission.admit_resolved(again, [large])
    other = PipelineTaskSpec(category="c", name="other", steps=[half])
    await bench.define(other)
    both = pipeline_spec("p", entry("a", name="large"), entry("b", name="other"))
    with pytest.raises(Refused, match="one pipeline may have"):
        await bench.admission.admit_resolved(both, [large, other])
    [text] = await refusals(bench, both)
    assert f"one pipeline may have {MAX_DEFINITIONS}" in text
    too_large = PipelineTaskSpec(category="c", name="t", steps=[half, half])
    [text] = await refusals(bench, too_large)
    assert "bytes as JSON" in text


async def test_a_run_needs_its_pipeline_and_all_of_its_tasks(bench: Bench) -> None:
    async def admit(target: Target, name: str) -> list[str]:
        try:
            await bench.admission.admit_run(NAMESPACE, run_spec(name), target)
        except Refused as refused:
            return [str(problem) for problem in refused.problems]
        return []

    assert await admit(Target.PIPELINE, "p") == ["name: there is no Pipeline 'p'; create it first"]
    await bench.define(pipeline_spec("p", entry("a"), entry("b", name="t"), entry("c", name="t")))
    await bench.define(task_spec("a"))
    assert await admit(Target.PIPELINE, "p") == [
        "name: task 'b' needs the PipelineTask 't', which doesn't exist; create it first",
        "name: task 'c' needs the PipelineTask 't', which doesn't exist; create it first",
    ]
    await bench.define(task_spec("t"))
    assert await admit(Target.PIPELINE, "p") == []
    assert await admit(Target.TASK, "t") == []
    assert await admit(Target.TASK, "p") == ["name: there is no PipelineTask 'p'; create it first"]


@pytest.mark.parametrize(
    ("pipeline", "task", "wrong"),
    [
        (
            [entry("a", "b"), entry("b", "a")],
            task_spec("a"),
            "tasks[0].dependsOn: the tasks depend",
        ),
        ([entry("a", condition="refuse")], task_spec("a"), "tasks[0].condition, line 1: refused"),
        (
            [entry("a")],
            PipelineTaskSpec(category="c", name="a", steps=scripts(("refuse", None))),
            "PipelineTask 'a': steps[0].doScript, line 1: refused",
        ),
    ],
)
async def test_no_run_of_definitions_that_were_written_past_the_api(
    bench: Bench, pipeline: list[Any], task: PipelineTaskSpec, wrong: str
) -> None:
    await bench.define(task, task_spec("b"), pipeline_spec("p", *pipeline))
    with pytest.raises(Refused) as caught:
        await bench.admission.admit_run(NAMESPACE, run_spec("p"), Target.PIPELINE)
    assert str(caught.value).startswith(f"name: the Pipeline 'p' can't be used: {wrong}")
    if "doScript" in wrong:
        with pytest.raises(Refused, match="the PipelineTask 'a' can't be used"):
            await bench.admission.admit_run(NAMESPACE, run_spec("a"), Target.TASK)


# --- the plan ---


async def test_a_plan_holds_everything_of_its_definitions(bench: Bench) -> None:
    full = task_spec(
        "t",
        (True, False),
        timeout="10s",
        start_timeout="1m",
        grace_period="2s",
        retries={"limit": 2, "delay": "1s", "factor": 3, "max_delay": "1m"},
        image="i",
        resources={"limits": {"cpu": 1}},
        secrets=[SecretSpec(name="n", secret="s", key="k")],
        allowed_imports=["yaml"],
    )
    wins = entry("b", "a", name="t", timeout="5s", retries={"limit": 9}, condition="true")
    await bench.define(full, pipeline_spec("p", entry("a", name="t"), wins))
    spec = PipelineRunSpec(name="p", parameters={})
    run = await bench.store.create_run(NAMESPACE, spec, Target.PIPELINE, None, None)
    made = await make_plan(bench.store, bench.admission, run)
    assert made.pipeline == "p"
    a, b = made.tasks
    assert (a.ref, a.task, a.depends_on, a.condition) == ("a", "t", (), None)
    assert a.steps == (Step("do t 0", "undo t 0"), Step("do t 1", None))
    assert (a.timeout, a.start_timeout, a.grace_period) == (10_000, 60_000, 2_000)
    assert a.retries == Retries(2, 1_000, 3.0, 60_000)
    assert (a.image, a.resources, a.allowed_imports) == ("i", {"limits": {"cpu": 1}}, ("yaml",))
    assert a.secrets == (SecretRef("n", "s", "k"),)
    assert (b.depends_on, b.condition, b.timeout, b.retries) == (
        ("a",),
        "true",
        5_000,
        Retries(9),
    )


async def test_a_run_of_one_task_is_planned_as_a_pipeline_of_it(bench: Bench) -> None:
    await bench.define(task_spec("t 1/é"))
    run = await bench.store.create_run(NAMESPACE, run_spec("t 1/é"), Target.TASK, None, None)
    made = await make_plan(bench.store, bench.admission, run)
    assert [(task.ref, task.task) for task in made.tasks] == [("t 1/é", "t 1/é")]


async def test_what_is_missing_is_named(bench: Bench) -> None:
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
    with pytest.raises(NotPlannable, match="there is no Pipeline 'p'"):
        await make_plan(bench.store, bench.admission, run)
    await bench.define(pipeline_spec("p", entry("a")))
    with pytest.raises(NotPlannable, match="there is no PipelineTask 'a'"):
        await make_plan(bench.store, bench.admission, run)


async def test_a_run_is_planned_by_whoever_waits_for_it_if_nobody_else_does(bench: Bench) -> None:
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a")))
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
    bench.uid = run.meta.uid
    await plan_instead(bench.store, bench.admission, bench.uid)
    changed = pipeline_spec("p", entry("a"), entry("b", "a", name="a"))
    await bench.store.replace_definition(Kind.PIPELINE, NAMESPACE, changed, None)
    await plan_instead(bench.store, bench.admission, bench.uid)  # it is planned
    await bench.reconcile()
    made = await bench.store.plan(bench.uid)
    assert made is not None
    assert [task.ref for task in made.tasks] == ["a"]
    found = await bench.run()
    assert (found.status.planned, found.status.summary.counts["total"]) == (True, 1)


async def test_what_cant_be_planned_is_left_to_the_reconciler(bench: Bench) -> None:
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
    await plan_instead(bench.store, bench.admission, run.meta.uid)
    assert await bench.store.plan(run.meta.uid) is None


async def test_a_run_that_is_written_while_it_is_planned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a")))
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
    uid, commit = run.meta.uid, bench.store.commit

    async def late(writes: Writes) -> None:
        monkeypatch.undo()
        await bench.store.suspend(uid, True)
        await commit(writes)

    monkeypatch.setattr(bench.store, "commit", late)
    await plan_instead(bench.store, bench.admission, uid)
    assert await bench.store.plan(uid) is not None
