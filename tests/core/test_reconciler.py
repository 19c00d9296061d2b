"""Gather, decide, apply: what is asked on the engine's behalf, and that nothing derived is needed."""

from dataclasses import replace
from typing import Any

import pytest
from tests.core.kit.bench import Bench

from xaas_core.engine.facts import Request
from xaas_core.engine.params import MAX_BYTES
from xaas_core.engine.states import Operation, Reason, Side
from xaas_core.models.objects import RunStatus, Summary
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Kind, Unavailable
from xaas_core.testing.builders import NAMESPACE, entry, pipeline_spec, run_spec, task_spec

pytestmark = pytest.mark.anyio

DIAMOND = {"b": "a", "c": "a", "d": "bc"}


@pytest.fixture
def bench() -> Bench:
    """A server."""
    return Bench()


def put(*path: str, value: Any) -> Any:
    """A delta's set."""
    return {"op": "set", "path": list(path), "value": value}


async def diamond(bench: Bench, **more: Any) -> None:
    """A run of four tasks."""
    await bench.start(*(task_spec(ref) for ref in "abcd"), edges=DIAMOND, **more)


async def test_a_run_from_its_plan_to_its_end(bench: Bench) -> None:
    await diamond(bench, parameters={"x": 1})
    run = await bench.run()
    assert (run.status.planned, run.status.summary.state) == (True, "processing")
    assert run.status.reply is not None
    assert run.status.reply.accepted
    await bench.work("a", put("a", value=1))
    await bench.work("b", put("n", "b", value=1))
    await bench.work("c", put("n", "c", value=1))
    answer = await bench.work("d")
    assert answer["params"] == {"x": 1, "a": 1, "n": {"b": 1, "c": 1}}
    summary = (await bench.run()).status.summary
    assert summary.state == "complete"
    assert summary.counts == {
        "total": 4,
        "pending": 0,
        "running": 0,
        "succeeded": 4,
        "failed": 0,
        "skipped": 0,
    }
    assert summary.finished_at == (await bench.run()).history[-1].at


async def test_a_second_reconcile_writes_nothing(bench: Bench) -> None:
    await diamond(bench)
    before = (await bench.run(), await bench.store.records(bench.uid))
    await bench.reconcile()
    assert (await bench.run(), await bench.store.records(bench.uid)) == before


@pytest.mark.parametrize("until", range(1, 8))
async def test_take_the_summary_away_and_it_comes_back(bench: Bench, until: int) -> None:
    await diamond(bench, timeout="1h")
    works: list[tuple[str, Side, str]] = [
        ("a", Side.DO, ""),
        ("b", Side.DO, ""),
        ("c", Side.DO, "no"),
        ("c", Side.UNDO, ""),
        ("b", Side.UNDO, ""),
        ("a", Side.UNDO, "no"),
    ]
    for ref, side, raises in works[: until - 1]:
        await bench.work(ref, side=side, raises=raises)
    status = (await bench.run()).status
    row = bench.store.rows[bench.uid]
    row.status = RunStatus(Summary(), status.warnings, status.reply, status.planned)
    await bench.reconcile()
    assert (await bench.run()).status == status


async def test_the_conditions_input_and_tasks(bench: Bench) -> None:
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []
    evaluate = bench.evaluator.evaluate

    async def noted(condition: Any, params: Any, tasks: Any) -> Any:
        asked.append((condition.source, dict(params), dict(tasks)))
        return await evaluate(condition, params, tasks)

    bench.evaluator.evaluate = noted  # type: ignore[method-assign]
    tasks = [task_spec(ref) for ref in "abc"]
    await bench.define(
        *tasks,
        pipeline_spec(
            "p",
            entry("a"),
            entry("b", "a", condition="false"),
            entry("c", "b", condition="has x"),
        ),
    )
    request = Request("1", Operation.RUN)
    spec = run_spec("p", {"p": 1})
    run = await bench.store.create_run(NAMESPACE, spec, Target.PIPELINE, request, None)
    bench.uid = run.meta.uid
    await bench.reconcile()
    await bench.work("a", put("x", value=1))
    assert asked == [
        ("false", {"p": 1, "x": 1}, {"a": "succeeded"}),
        ("has x", {"p": 1, "x": 1}, {"a": "succeeded", "b": "skipped"}),
    ]
    await bench.reconcile()
    assert len(asked) == 2, "once, and the value stored"
    record = await bench.record("b")
    assert record.verdict is not None
    assert record.verdict.value is False


async def test_if_a_condition_cant_be_asked_now_nothing_follows(bench: Bench) -> None:
    async def away(condition: Any, params: Any, tasks: Any) -> Any:
        raise Unavailable("no evaluator")

    evaluate, bench.evaluator.evaluate = bench.evaluator.evaluate, away  # type: ignore[method-assign]
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a", condition="true")))
    request = Request("1", Operation.RUN)
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, request, None)
    bench.uid = run.meta.uid
    assert await bench.reconcile() == bench.clock.now(), "the operation's answer waits for nobody"
    started = await bench.run()
    assert started.pending_request is None
    assert started.status.summary.state == "processing"
    with pytest.raises(Unavailable):
        await bench.reconcile()
    assert await bench.run() == started
    bench.evaluator.evaluate = evaluate  # type: ignore[method-assign]
    await bench.reconcile()
    assert [order.ref for order in bench.launcher.orders] == ["a"]


async def test_what_is_decided_doesnt_wait_for_many_conditions(bench: Bench) -> None:
    asked: list[str] = []
    evaluate = bench.evaluator.evaluate

    async def counted(condition: Any, params: Any, tasks: Any) -> Any:
        asked.append(condition.source)
        return await evaluate(condition, params, tasks)

    bench.evaluator.evaluate = counted  # type: ignore[method-assign]
    entries = [entry(f"t{number}", condition="true") for number in range(6)]
    tasks = [task_spec(f"t{number}") for number in range(6)]
    await bench.define(*tasks, pipeline_spec("p", *entries))
    request = Request("1", Operation.RUN)
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, request, None)
    bench.uid = run.meta.uid
    counts = []
    for _ in range(4):
        again = await bench.reconcile() == bench.clock.now()
        counts.append((len(asked), again))
    assert counts == [(0, True), (4, True), (6, False), (6, False)]


async def test_parallel_edits_of_one_path_are_a_warning_naming_path_and_refs(bench: Bench) -> None:
    await diamond(bench)
    await bench.work("a")
    await bench.work("b", put("x", "y", value=1))
    await bench.work("c", put("x", value=2))
    [warning] = (await bench.run()).status.warnings
    assert (warning.type, warning.path, warning.refs) == ("ParamsConflict", ("x",), ("b", "c"))
    assert (await bench.begin("d"))["params"] == {"x": 2}
    await bench.finish("d", outcome="failed")
    await bench.reconcile()
    await bench.work("d", side=Side.UNDO)
    assert len((await bench.run()).status.warnings) == 1, "said once"


async def test_a_merge_that_is_too_large_fails_the_task(bench: Bench) -> None:
    await diamond(bench)
    await bench.work("a")
    await bench.work("b", put("b", value="x" * (MAX_BYTES // 2)))
    await bench.work("c", put("c", value="x" * (MAX_BYTES // 2)))
    history = await bench.history()
    assert (history.do("d").state, history.do("d").reason) == ("failed", Reason.PARAMS_TOO_LARGE)
    record = await bench.record("d")
    assert record.verdict is not None
    assert record.verdict.failure is not None
    assert f"at most {MAX_BYTES} are allowed" in record.verdict.failure.message
    assert await bench.state() == "cancelling"


async def test_a_run_whose_definitions_are_missing_waits_for_them(bench: Bench) -> None:
    request = Request("1", Operation.RUN)
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, request, None)
    bench.uid = run.meta.uid
    wake_at = await bench.reconcile()
    status = (await bench.run()).status
    assert wake_at is not None
    assert (status.summary.state, status.summary.reason) == ("pending", Reason.DEFINITION_MISSING)
    assert status.summary.message == "there is no Pipeline 'p'"
    assert not status.planned
    assert status.reply is not None
    assert (status.reply.accepted, status.reply.state) == (True, "pending"), (
        "it is answered at once"
    )
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a")))
    await bench.reconcile()
    status = (await bench.run()).status
    assert (status.summary.state, status.summary.reason) == ("processing", Reason.NONE)


async def test_a_run_that_waits_for_its_definitions_can_be_cancelled(bench: Bench) -> None:
    request = Request("1", Operation.RUN)
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, request, None)
    bench.uid = run.meta.uid
    await bench.reconcile()
    assert (await bench.ask(Operation.CANCEL)).status.summary.state == "cancelled"
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a")))
    await bench.reconcile()
    assert await bench.state() == "cancelled"


async def test_an_edited_or_deleted_definition_changes_nothing_under_way(bench: Bench) -> None:
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    await bench.store.replace_definition(
        Kind.TASK, NAMESPACE, task_spec("a", (True, True, True)), None
    )
    await bench.store.delete_definition(Kind.TASK, NAMESPACE, "b", None)
    await bench.store.delete_definition(Kind.PIPELINE, NAMESPACE, "pipe", None)
    await bench.work("a")
    assert (await bench.work("b"))["script"] == "do b 0"
    assert await bench.state() == "complete"


async def test_the_intent_is_durable_before_its_runner_is_started(bench: Bench) -> None:
    async def full(writes: Any) -> None:
        raise Unavailable("the disk is full")

    commit, bench.store.commit = bench.store.commit, full  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await bench.start(task_spec("a"))
    assert bench.launcher.orders == []
    bench.store.commit = commit  # type: ignore[method-assign]
    bench.uid = next(iter(bench.store.rows))
    await bench.reconcile()
    [order] = bench.launcher.orders
    assert (order.ref, order.attempt, order.launch, order.steps) == ("a", 1, 1, (0,))
    assert bench.tokens.read(order.token) == await bench.runner("a")


async def test_delete_by_force_removes_the_run_when_its_runners_are_gone(bench: Bench) -> None:
    await bench.start(task_spec("a", grace_period="3s"))
    uid, runner = bench.uid, await bench.runner("a")
    await bench.begin("a")
    await bench.store.mark_deleting(uid)
    await bench.reconcile()
    assert bench.launcher.ended == [(runner, 3_000)]
    assert uid in bench.store.rows
    bench.gone(runner)
    await bench.reconcile()
    assert uid not in bench.store.rows
    assert bench.launcher.forgotten == [uid]
    assert await bench.reconcile() is None, "and that is no error"


async def test_a_run_whose_plan_and_records_went_before_it_is_removed(bench: Bench) -> None:
    """Deleted in the foreground, what a run owns goes first."""
    uid = await bench.start(task_spec("a"))
    await bench.begin("a")
    await bench.reconcile()
    await bench.store.mark_deleting(uid)
    row = bench.store.rows[uid]
    row.plan = None
    row.records.clear()
    await bench.reconcile()
    assert uid not in bench.store.rows
    assert bench.launcher.forgotten == [uid]


async def test_a_run_without_a_plan_can_be_cancelled_and_deleted(bench: Bench) -> None:
    for end in ("cancel", "delete"):
        run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
        bench.uid = run.meta.uid
        await bench.reconcile()
        if end == "cancel":
            assert (await bench.ask(Operation.CANCEL)).status.summary.state == "cancelled"
        else:
            await bench.store.mark_deleting(bench.uid)
            await bench.reconcile()
            assert bench.uid not in bench.store.rows


async def test_an_operation_that_is_refused_is_answered(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    reply = (await bench.ask(Operation.RECOVERY)).status.reply
    assert reply is not None
    assert (reply.accepted, reply.state) == (False, "processing")
    assert (await bench.run()).pending_request is None


async def test_a_history_that_was_written_before_a_crash_is_gone_on_from(bench: Bench) -> None:
    """The records of a commit were written, its status wasn't."""
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})

    class Crash(Exception):
        pass

    async def crash() -> None:
        raise Crash

    await bench.begin("a")
    await bench.finish("a")
    bench.gone(await bench.runner("a"))
    bench.store.between = crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await bench.reconcile()
    assert (await bench.record("a")).attempts[0].over
    assert (await bench.history()).do("a").state == "pending"
    del bench.store.between
    await bench.reconcile()
    assert [str(change.state) for change in (await bench.run()).history] == [
        "processing",
        "running",
        "succeeded",
    ]
    await bench.work("b")
    assert await bench.state() == "complete"


async def test_times_of_a_status_are_those_of_the_history(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    started = bench.clock.now()
    bench.clock.advance(1234)
    await bench.work("a")
    summary = (await bench.run()).status.summary
    assert (summary.started_at, summary.finished_at) == (started, bench.clock.now())
    assert replace(summary, counts={}).message == ""
