"""Child runs: what scripts ask for within one attempt, and what they are told."""

from typing import Any

import pytest
from tests.core.kit.bench import Bench

from xaas_core.children import at_rest
from xaas_core.engine.facts import Request
from xaas_core.engine.states import Operation, Side
from xaas_core.models.pipeline_run import Target
from xaas_core.names import runner_id
from xaas_core.ports import RunnerKey
from xaas_core.testing.builders import entry, pipeline_spec, run_spec, task_spec

pytestmark = pytest.mark.anyio

CREATE = {"call": "create", "key": "1", "kind": "pipeline", "name": "sub", "parameters": {"x": 1}}


@pytest.fixture
async def bench() -> Bench:
    """A server with a run whose task runs a script, and what that may start."""
    bench = Bench()
    await bench.start(task_spec("a"), task_spec("t"))
    await bench.define(pipeline_spec("sub", entry("t")))
    await bench.begin("a")
    return bench


async def ask(bench: Bench, **call: Any) -> Any:
    """What the script of task a is told."""
    runner = RunnerKey(bench.uid, "a", Side.DO, 1, 1)
    return await bench.children.answer(runner, call)  # type: ignore[arg-type]


async def child_of(bench: Bench, **more: Any) -> str:
    """A child's id."""
    made = await ask(bench, **{**CREATE, **more})
    assert "error" not in made, made
    return str(made["id"])


async def test_create_makes_a_run_that_waits_to_be_run(bench: Bench) -> None:
    made = await ask(bench, **CREATE)
    assert (made["status"], made["at_rest"]) == ("pending", False)
    run = await bench.store.get_run(made["id"])
    assert (run.spec.name, run.spec.parameters, run.target) == ("sub", {"x": 1}, Target.PIPELINE)
    assert run.request is None
    assert run.meta.namespace == "default"


async def test_create_with_run_starts_it_at_once(bench: Bench) -> None:
    uid = await child_of(bench, run=True)
    await bench.reconciler.reconcile(uid)
    assert (await ask(bench, call="get", id=uid))["status"] == "processing"


async def test_the_same_key_gives_the_same_run(bench: Bench) -> None:
    first = await child_of(bench)
    assert await child_of(bench) == first
    assert await child_of(bench, key="2") != first


async def test_the_same_key_with_another_body_is_refused(bench: Bench) -> None:
    await child_of(bench)
    assert (await ask(bench, **{**CREATE, "parameters": {}}))["code"] == 409


async def test_another_task_run_or_attempt_has_keys_of_its_own(bench: Bench) -> None:
    mine = await child_of(bench)
    await bench.begin("t")
    runner = await bench.runner("t")
    theirs = await bench.children.answer(runner, CREATE)  # type: ignore[arg-type]
    assert theirs["id"] != mine


async def test_a_task_on_its_own_is_a_hidden_run(bench: Bench) -> None:
    uid = await child_of(bench, kind="task", name="t", run=True)
    run = await bench.store.get_run(uid)
    assert run.target is Target.TASK
    await bench.reconciler.reconcile(uid)
    assert (await ask(bench, call="get", id=uid))["status"] == "running"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({**CREATE, "name": "no such"}, 422),
        ({**CREATE, "kind": "task", "name": "sub"}, 422),
        ({**CREATE, "kind": "secret"}, 400),
        ({**CREATE, "name": ""}, 400),
        ({**CREATE, "parameters": {"a": 2**70}}, 400),
        ({**CREATE, "parameters": {"a": float("nan")}}, 400),
        ({"call": "create"}, 400),
        ({"call": "get"}, 400),
        ({"call": "get", "id": "no such"}, 404),
        ({"call": "operate", "id": "no such", "operation": "run"}, 404),
        ({"call": "logs", "id": "no such"}, 404),
    ],
)
async def test_what_cant_be_done_is_said(bench: Bench, call: dict[str, Any], code: int) -> None:
    answer = await ask(bench, **call)
    assert answer["code"] == code
    assert answer["error"]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"call": "operate", "operation": "recovery"}, 409),
        ({"call": "operate", "operation": "explode"}, 400),
        ({"call": "operate"}, 400),
        ({"call": "explode"}, 400),
    ],
)
async def test_what_cant_be_done_to_a_child_is_said(
    bench: Bench, call: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await child_of(bench)
    request = bench.store.request

    async def decided(uid: str, asked: Any) -> Any:
        await request(uid, asked)
        await bench.reconciler.reconcile(uid)

    monkeypatch.setattr(bench.store, "request", decided)
    answer = await ask(bench, id=uid, **call)
    assert answer["code"] == code


async def test_a_child_of_another_namespace_isnt_there(bench: Bench) -> None:
    other = await bench.store.create_run("other", run_spec("sub"), Target.PIPELINE, None, None)
    assert (await ask(bench, call="get", id=other.meta.uid))["code"] == 404


async def test_once_the_attempt_is_over_nothing_is_done(bench: Bench) -> None:
    await bench.finish("a")
    bench.gone(await bench.runner("a"))
    await bench.reconcile()
    before = len(bench.store.rows)
    assert (await ask(bench, **CREATE))["code"] == 409
    assert len(bench.store.rows) == before


async def test_get_waits_until_the_child_is_at_rest(bench: Bench) -> None:
    uid = await child_of(bench, run=True)
    parent, bench.uid = bench.uid, uid
    await bench.reconcile()
    waiting = {"call": "get", "id": uid, "until_rest": True, "patience_ms": 1}
    runner = RunnerKey(parent, "a", Side.DO, 1, 1)
    answer = await bench.children.answer(runner, waiting)  # type: ignore[arg-type]
    assert answer == {"id": uid, "status": "processing", "at_rest": False}
    await bench.work("t")
    answer = await bench.children.answer(runner, waiting)  # type: ignore[arg-type]
    assert answer == {"id": uid, "status": "complete", "at_rest": True}


async def test_a_run_is_at_rest_when_nothing_of_it_runs(bench: Bench) -> None:
    await bench.define(task_spec("u"), pipeline_spec("two", entry("t"), entry("u")))
    spec = run_spec("two", auto_rollback=False)
    request = Request("1", Operation.RUN)
    made = await bench.store.create_run("default", spec, Target.PIPELINE, request, None)
    bench.uid = made.meta.uid
    await bench.reconcile()
    await bench.begin("u")
    await bench.work("t", raises="no")
    run = await bench.run()
    assert (run.status.summary.state, at_rest(run)) == ("aborted", False)
    await bench.finish("u")
    await bench.reconcile()
    assert at_rest(await bench.run())
    await bench.store.request(bench.uid, Request("2", Operation.RECOVERY))
    assert not at_rest(await bench.run()), "an operation waits"


async def test_logs_are_lines_by_runner_and_step(bench: Bench) -> None:
    uid = await child_of(bench, kind="task", name="t", run=True)
    parent, bench.uid = bench.uid, uid
    await bench.reconcile()
    await bench.begin("t")
    bench.logs.texts[await bench.runner("t"), 0] = "eins\nzwei é\n".encode() + b"\xff"
    runner = RunnerKey(parent, "a", Side.DO, 1, 1)
    answer = await bench.children.answer(runner, {"call": "logs", "id": uid})
    name = runner_id(uid, "t", Side.DO, 1, 1)
    assert answer == {"logs": {f"{name}.step-0": ["eins", "zwei é", "\ufffd"]}}
    bench.logs.gone.add((await bench.runner("t"), 0))  # its pod is: what is left is still told
    assert await bench.children.answer(runner, {"call": "logs", "id": uid}) == {"logs": {}}
