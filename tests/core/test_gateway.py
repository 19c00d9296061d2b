"""The gateway: at most once per attempt, answers that are the same again, results that count."""

from typing import Any

import pytest
from tests.core.kit.bench import Bench

from xaas_core.engine.params import apply, encode
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Operation, Reason, Side
from xaas_core.ports import RunnerKey, TooLarge
from xaas_core.testing.builders import task_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    """A server."""
    return Bench()


def put(*path: str, value: Any) -> Any:
    """A delta's set."""
    return {"op": "set", "path": list(path), "value": value}


# --- begin ---


async def test_begin_hands_out_script_params_and_context(bench: Bench) -> None:
    task = task_spec("a", timeout="10s", allowed_imports=["yaml"])
    uid = await bench.start(task, parameters={"x": 1})
    bench.clock.advance(100)
    assert await bench.begin("a") == {
        "answer": "go",
        "script": "do a 0",
        "params": {"x": 1},
        "context": {
            "run_id": uid,
            "pipeline": "pipe",
            "ref": "a",
            "task": "a",
            "process_type": "do",
            "step": 0,
            "attempt": 1,
            "namespace": "default",
        },
        "allowed_imports": ["yaml"],
        "budget_ms": 10_000,
    }
    step = (await bench.record("a")).attempts[0].steps[0]
    assert (step.begun_at, step.nonce, step.runner) == (bench.clock.now(), "n", "pid-1")


async def test_the_same_nonce_gets_the_same_answer_again(bench: Bench) -> None:
    await bench.start(task_spec("a", timeout="10s"), parameters={"x": 1})
    first = await bench.begin("a")
    record = await bench.record("a")
    bench.clock.advance(4_000)
    again = await bench.begin("a")
    assert again == {**first, "budget_ms": 6_000}
    assert await bench.record("a") == record, "nothing happens twice"


async def test_another_nonce_is_told_to_leave(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    assert (await bench.begin("a", nonce="one"))["answer"] == "go"
    assert (await bench.begin("a", nonce="two"))["answer"] == "leave"
    await bench.finish("a", nonce="one")
    assert (await bench.begin("a", nonce="one"))["answer"] == "leave"
    assert (await bench.begin("a", nonce="two"))["answer"] == "leave"


async def test_of_many_that_begin_at_once_one_begins(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    answers = [(await bench.begin("a", nonce=f"n{i}"))["answer"] for i in range(5)]
    assert answers == ["go", "leave", "leave", "leave", "leave"]


async def test_a_step_waits_for_the_one_before_it(bench: Bench) -> None:
    await bench.start(task_spec("a", (True, True)))
    runner = await bench.runner("a")
    assert (await bench.gateway.wait(runner, 0))["answer"] == "go"
    assert (await bench.gateway.wait(runner, 1))["answer"] == "wait"
    assert (await bench.begin("a", 1, nonce="m"))["answer"] == "wait"
    await bench.begin("a", 0)
    assert (await bench.begin("a", 1, nonce="m"))["answer"] == "wait"
    assert await bench.finish("a") == {"answer": "recorded", "next": True}
    assert (await bench.gateway.wait(runner, 1))["answer"] == "go"
    assert (await bench.begin("a", 1, nonce="m"))["answer"] == "go"
    assert await bench.finish("a", step=1, nonce="m") == {"answer": "recorded", "next": False}


async def test_after_a_failed_step_the_next_leaves(bench: Bench) -> None:
    await bench.start(task_spec("a", (True, True)))
    await bench.begin("a")
    answer = await bench.finish("a", outcome="failed", error={"type": "E", "message": "m"})
    assert answer == {"answer": "recorded", "next": False}
    assert (await bench.begin("a", 1, nonce="m"))["answer"] == "leave"


async def test_a_step_that_the_attempt_doesnt_have_leaves(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    for step in (-1, 1, 10**30):
        assert (await bench.begin("a", step))["answer"] == "leave"


@pytest.mark.parametrize(
    "other",
    [
        {"attempt": 2},
        {"launch": 2},
        {"ref": "b"},
        {"side": Side.UNDO},
        {"run": "8b0f0e9e-0000-4000-8000-000000000000"},
    ],
)
async def test_another_runner_leaves(bench: Bench, other: dict[str, Any]) -> None:
    uid = await bench.start(task_spec("a"))
    fields = {"run": uid, "ref": "a", "side": Side.DO, "attempt": 1, "launch": 1, **other}
    runner = RunnerKey(**fields)
    call: Any = {"step": 0, "nonce": "n", "runner": ""}
    assert (await bench.gateway.begin(runner, call))["answer"] == "leave"
    assert (await bench.gateway.wait(runner, 0))["answer"] == "leave"
    assert await bench.gateway.context(runner) is None


async def test_a_stopped_attempt_begins_nothing(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.ask(Operation.CANCEL)
    assert (await bench.begin("a"))["answer"] == "leave"
    assert (await bench.gateway.wait(await bench.runner("a"), 0))["answer"] == "leave"


async def test_while_the_run_is_suspended_a_first_step_waits(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.store.suspend(bench.uid, suspend=True)
    assert (await bench.begin("a"))["answer"] == "wait"
    await bench.reconcile()
    assert (await bench.begin("a"))["answer"] == "leave", "withdrawn by then"


async def test_while_the_run_is_suspended_a_retry_goes_on(bench: Bench) -> None:
    await bench.start(task_spec("a", retries={"limit": 1}))
    await bench.work("a", raises="no")
    await bench.store.suspend(bench.uid, suspend=True)
    await bench.reconcile()
    assert (await bench.begin("a"))["answer"] == "go"


async def test_a_run_that_is_being_deleted_begins_nothing(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.store.mark_deleting(bench.uid)
    assert (await bench.begin("a"))["answer"] == "leave"


async def test_a_fence_that_comes_between_wins(bench: Bench) -> None:
    """The reconciler writes a stop between the gateway's read and its write."""
    await bench.start(task_spec("a"))
    read = bench.store.records
    hits = 0

    async def meanwhile(uid: str, keys: Any = None) -> Any:
        nonlocal hits
        found = await read(uid, keys)
        hits += 1
        if hits == 1:
            bench.store.records = read  # type: ignore[method-assign]
            await bench.ask(Operation.CANCEL)
        return found

    bench.store.records = meanwhile  # type: ignore[method-assign]
    assert (await bench.begin("a"))["answer"] == "leave"
    assert not (await bench.record("a")).attempts[0].begun


async def test_a_later_step_of_a_running_attempt_begins_after_the_run_left_processing(
    bench: Bench,
) -> None:
    await bench.start(task_spec("a", (True, True)))
    await bench.begin("a")
    await bench.ask(Operation.CANCEL)
    await bench.finish("a")
    assert (await bench.begin("a", 1, nonce="m"))["answer"] == "go"


# --- params between steps, tasks and undos ---


async def test_a_later_step_gets_the_edits_of_the_earlier_ones(bench: Bench) -> None:
    await bench.start(task_spec("a", (True, True)), parameters={"x": {"y": 1}})
    await bench.begin("a")
    await bench.finish("a", delta=[put("x", "z", value=2.0)])
    answer = await bench.begin("a", 1, nonce="m")
    assert encode(answer["params"]) == '{"x":{"y":1,"z":2.0}}'
    again = await bench.begin("a", 1, nonce="m")
    assert again["params"] == answer["params"]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ([put("x", value=2)], [put("x", value=1)], []),
        ([put("x", value=2)], [put("x", value=3)], [put("x", value=3)]),
        ([put("tmp", value=2)], [{"op": "delete", "path": ["tmp"]}], []),
        (
            [put("s", value=1)],
            [{"op": "delete", "path": ["s"]}, put("s", "a", value=1)],
            [put("s", "a", value=1)],
        ),
        ([put("y", value=2)], [], [put("y", value=2)]),
        ([], [put("y", value=2)], [put("y", value=2)]),
    ],
)
async def test_a_delta_is_what_the_steps_changed_together(
    bench: Bench, first: Any, second: Any, together: Any
) -> None:
    await bench.start(task_spec("a", (True,) * 3), parameters={"x": 1})
    for step, delta in enumerate((first, second)):
        await bench.begin("a", step)
        await bench.finish("a", step=step, delta=delta)
        whole = (await bench.record("a")).attempts[0].delta()
    assert list(whole) == together
    begun = await bench.begin("a", 2)
    expected: dict[str, Any] = {"x": 1}
    apply(expected, [*first, *second])
    assert begun["params"] == expected


async def test_edits_that_the_store_has_no_room_for_fail_the_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.start(task_spec("a", (True,) * 2))
    await bench.begin("a")
    await bench.finish("a", delta=[put("x", value=1)])
    await bench.begin("a", 1)
    save = bench.store.save_record

    async def small(uid: str, record: TaskRecord, version: str) -> None:
        if len(encode(record.attempts[-1].delta())) > 100:
            raise TooLarge("the record is too large")
        await save(uid, record, version)

    monkeypatch.setattr(bench.store, "save_record", small)
    await bench.finish("a", step=1, delta=[put("y", value="y" * 100)])
    attempt = (await bench.record("a")).attempts[0]
    step = attempt.steps[1]
    assert (step.succeeded, step.reason) == (False, Reason.RESULT_INVALID)
    assert step.failure is not None
    assert "too large" in step.failure.message
    assert list(attempt.delta()) == [put("x", value=1)], "of the step before it counts"


async def test_a_retry_starts_from_the_original_input(bench: Bench) -> None:
    await bench.start(task_spec("a", retries={"limit": 1}), parameters={"x": 1})
    await bench.work("a", put("x", value=2), raises="no")
    answer = await bench.begin("a")
    assert (answer["params"], answer["context"]["attempt"]) == ({"x": 1}, 2)


async def test_undos_get_what_their_do_left_and_the_undos_after_it(bench: Bench) -> None:
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"}, parameters={"p": 0})
    await bench.work("a", put("a", value=1))
    answer = await bench.work("b", put("b", value=2), raises="no")
    assert answer["params"] == {"p": 0, "a": 1}
    answer = await bench.work("b", put("undone", value=["b"]), side=Side.UNDO)
    assert (answer["script"], answer["params"]) == ("undo b 0", {"p": 0, "a": 1, "b": 2})
    answer = await bench.work("a", side=Side.UNDO)
    assert answer["params"] == {"p": 0, "a": 1, "undone": ["b"]}
    assert answer["context"]["process_type"] == "undo"
    assert await bench.state() == "cancelled"


# --- finish ---


async def test_a_repeated_finish_gets_the_same_answer(bench: Bench) -> None:
    await bench.start(task_spec("a", (True, True)))
    await bench.begin("a")
    first = await bench.finish("a", delta=[put("x", value=1)])
    record = await bench.record("a")
    assert await bench.finish("a", delta=[put("x", value=2)], outcome="failed") == first
    assert await bench.record("a") == record, "the first report counts"


async def test_only_the_process_that_began_a_step_can_finish_it(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    assert (await bench.finish("a"))["answer"] == "leave"
    await bench.begin("a")
    assert (await bench.finish("a", nonce="other"))["answer"] == "leave"
    assert (await bench.finish("a", step=1))["answer"] == "leave"
    assert (await bench.record("a")).attempts[0].steps[0].finished_at is None


async def test_after_the_outcome_is_recorded_a_report_is_refused(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.begin("a")
    bench.gone(await bench.runner("a"))
    await bench.reconcile()
    assert (await bench.record("a")).attempts[0].reason == Reason.RUNNER_LOST
    assert (await bench.finish("a"))["answer"] == "leave"
    assert (await bench.history()).do("a").state == "failed"


@pytest.mark.parametrize(
    ("elapsed", "passed", "ok"),
    [
        (500, 500, True),
        (1_000, 1_000, True),
        (999, 900_000, True),  # in time, however late its result arrives
        (1_100, 1_100, True),  # the answer to begin takes time to arrive
        (5_000, 5_000, False),
        (10**15, 900, True),  # it can't have taken longer than has passed here
        (-5, 10, True),
    ],
)
async def test_the_timeout_judges_by_when_the_script_ended(
    bench: Bench, elapsed: int, passed: int, ok: bool
) -> None:
    await bench.start(task_spec("a", timeout="1s"))
    await bench.begin("a")
    begun_at = bench.clock.now()
    bench.clock.advance(passed)
    await bench.finish("a", elapsed_ms=elapsed, delta=[put("x", value=1)])
    step = (await bench.record("a")).attempts[0].steps[0]
    assert step.succeeded is ok
    assert step.finished_at is not None
    assert begun_at <= step.finished_at <= bench.clock.now()
    if not ok:
        assert (step.reason, step.delta) == (Reason.TIMEOUT, ())


async def test_a_result_counts_that_arrives_after_the_stop(bench: Bench) -> None:
    await bench.start(task_spec("a", timeout="1s"))
    await bench.begin("a")
    bench.clock.advance(60_000)
    await bench.reconcile()
    runner = await bench.runner("a")
    assert bench.launcher.ended == [(runner, 5_000)]
    await bench.finish("a", elapsed_ms=900)
    await bench.reconcile()
    assert await bench.state() == "complete"


@pytest.mark.parametrize(
    ("said", "reason", "keeps"),
    [
        ({"error": {"type": "ValueError", "message": "m"}}, Reason.SCRIPT_ERROR, True),
        ({"error": {"type": "Timeout", "message": "m"}}, Reason.SCRIPT_ERROR, True),
        ({"error": None}, Reason.SCRIPT_ERROR, True),
        (
            {"error": {"type": "ParamsInvalid", "message": "m"}, "delta": []},
            Reason.PARAMS_INVALID,
            False,
        ),
        (
            {"error": {"type": "Timeout", "message": "m"}, "terminated": True},
            Reason.TIMEOUT,
            False,
        ),
        (
            {"error": {"type": "CpuLimit", "message": "m"}, "terminated": True},
            Reason.CPU_LIMIT,
            False,
        ),
        # stopped by nobody here: its machine is being drained
        (
            {"error": {"type": "Terminated", "message": "m"}, "terminated": True},
            Reason.RUNNER_LOST,
            False,
        ),
    ],
)
async def test_why_a_step_has_failed(
    bench: Bench, said: dict[str, Any], reason: Reason, keeps: bool
) -> None:
    await bench.start(task_spec("a"), auto_rollback=False)
    await bench.begin("a")
    await bench.finish("a", **{"outcome": "failed", "delta": [put("x", value=1)], **said})
    await bench.reconcile()
    attempt = (await bench.record("a")).attempts[0]
    assert attempt.reason == reason
    assert attempt.failure is not None
    assert bool(attempt.delta()) is keeps, "edits of a raising step count, of a killed one don't"


@pytest.mark.parametrize("on_abort", ["finish", "terminate"])
async def test_one_that_was_stopped_says_why_it_was(bench: Bench, on_abort: str) -> None:
    await bench.start(task_spec("a"), on_abort=on_abort)
    await bench.begin("a")
    await bench.ask(Operation.CANCEL)
    error = {"type": "Terminated", "message": "m"}
    await bench.finish("a", outcome="failed", terminated=True, error=error)
    reason = (await bench.record("a")).attempts[0].steps[0].reason
    assert reason == (Reason.TERMINATED if on_abort == "terminate" else Reason.RUNNER_LOST)


async def test_a_drained_runner_is_not_retried_beyond_the_tasks_retries(bench: Bench) -> None:
    await bench.start(task_spec("a"), auto_rollback=False)
    await bench.begin("a")
    error = {"type": "Terminated", "message": "SIGTERM"}
    await bench.finish("a", outcome="failed", terminated=True, error=error)
    bench.gone(await bench.runner("a"))
    await bench.reconcile()
    assert await bench.state() == "aborted"
    assert len((await bench.record("a")).attempts) == 1


# --- reports that can't be read ---

DEEP: Any = []
for _ in range(250):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "said",
    [
        {"delta": [1]},
        {"delta": [{}]},
        {"delta": [{"op": "set", "path": [], "value": 1}]},
        {"delta": [{"op": "set", "path": ["a"]}]},
        {"delta": [{"op": "set", "path": "a", "value": 1}]},
        {"delta": [{"op": "set", "path": [1], "value": 1}]},
        {"delta": [{"op": "set", "path": ["\ud800"], "value": 1}]},
        {"delta": [{"op": "set", "path": ["a"] * 300, "value": 1}]},
        {"delta": [put("a", value=float("nan"))]},
        {"delta": [put("a", value={"b": ["\udfff"]})]},
        {"delta": [put("a", value=DEEP)]},
        {"delta": [{"op": "delete", "path": []}]},
        {"delta": [{"op": "order", "path": []}]},
        {"delta": [{"op": "order", "path": [], "keys": [1]}]},
        {"delta": [{"op": "move", "path": ["a"]}]},
        {"delta": [put("a", value=1), None]},
        {"delta": [{"op": ["set"], "path": ["a"], "value": 1}]},
        {"delta": [{"op": "sets"}]},
        {"delta": [{"op": "sets", "values": [1]}]},
        {"delta": [{"op": "sets", "keys": {"a": None}}]},
        {"delta": [{"op": "sets", "values": {"a": {"\ud800": 1}}}]},
        {"delta": [{"op": "sets", "values": {"a": {"b": "\udfff"}}}]},
        {"delta": [{"op": "sets", "values": {"a": float("nan")}}]},
        {"delta": [{"op": "sets", "values": {"a": DEEP}}]},
        {"delta": [{"op": "deletes", "values": {"a": None}}]},
        {"delta": [{"op": "deletes", "keys": ["a"]}]},
        {"delta": [{"op": "deletes", "keys": {"a": {"b": 1}}}]},
        {"delta": [{"op": "deletes", "keys": {"a": {}}}]},
        {"outcome": "failed", "error": {"type": "E"}},
        {"outcome": "failed", "error": {"type": 1, "message": "m"}},
        {"outcome": "failed", "error": {"type": "E", "message": "\ud800"}},
        {"outcome": "failed", "error": {"type": "E", "message": "m", "line": "1"}},
        {"outcome": "failed", "error": {"type": "E", "message": "m", "traceback": "x"}},
        {"outcome": "failed", "error": {"type": "E", "message": "m", "traceback": [1]}},
    ],
)
async def test_a_report_that_cant_be_read_fails_the_step_and_nothing_else(
    bench: Bench, said: dict[str, Any]
) -> None:
    await bench.start(task_spec("a"))
    await bench.begin("a")
    assert (await bench.finish("a", **said))["answer"] == "recorded"
    step = (await bench.record("a")).attempts[0].steps[0]
    assert (step.succeeded, step.reason, step.delta) == (False, Reason.RESULT_INVALID, ())
    assert step.failure is not None
    assert "can't be read" in step.failure.message
    await bench.reconcile()
    assert await bench.state() == "cancelling"


async def test_a_report_keeps_only_what_the_contract_knows(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.begin("a")
    await bench.finish("a", delta=[{**put("a", value=1), "more": "x" * 100}])
    assert (await bench.record("a")).attempts[0].steps[0].delta == (put("a", value=1),)


async def test_integers_of_any_size_pass(bench: Bench) -> None:
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    await bench.work("a", put("x", value=10**20_000))
    assert (await bench.begin("b"))["params"] == {"x": 10**20_000}


async def test_bundled_changes_are_kept_one_by_one(bench: Bench) -> None:
    await bench.start(task_spec("a"))
    await bench.begin("a")
    values = {"x": {"a": {"b": 1.0, "c": {}}, "d": [{"e": {"f": 1}}]}, "z": None}
    order = {"op": "order", "path": [], "keys": ["z", "x"]}
    delta = [
        {"op": "deletes", "keys": {"p": {"q": None, "r": {"s": None}}, "t": None}},
        {"op": "sets", "values": values},
        order,
    ]
    await bench.finish("a", delta=delta)
    gone = [["p", "q"], ["p", "r", "s"], ["t"]]
    assert (await bench.record("a")).attempts[0].steps[0].delta == (
        *({"op": "delete", "path": path} for path in gone),
        put("x", "a", "b", value=1.0),
        put("x", "a", "c", value={}),
        put("x", "d", value=[{"e": {"f": 1}}]),
        put("z", value=None),
        order,
    )


@pytest.mark.parametrize("leaves", [100, 5_000])
async def test_what_a_bundle_unfolds_into_is_bounded(bench: Bench, leaves: int) -> None:
    """5,000 small values 100 levels down are a small message, and half a gigabyte of paths."""
    values: dict[str, Any] = {str(i): 0 for i in range(leaves)}
    for _ in range(100):
        values = {"k" * 1000: values}
    await bench.start(task_spec("a"))
    await bench.begin("a")
    await bench.finish("a", delta=[{"op": "sets", "values": values}])
    step = (await bench.record("a")).attempts[0].steps[0]
    assert step.succeeded is (leaves == 100)
    assert len(step.delta) == (leaves if leaves == 100 else 0)


@pytest.mark.parametrize(
    "params",
    [
        {"m": {str(i): 0 for i in range(80_000)}},
        {"sites": {"a": {f"ge-0/0/{i}": {"vlan": i, "up": True} for i in range(18_000)}}},
    ],
)
async def test_edits_of_a_mebibyte_pass(bench: Bench, params: dict[str, Any]) -> None:
    await bench.start(task_spec("a"), task_spec("b"), edges={"b": "a"})
    bundle: Any = {"op": "sets", "values": params}
    await bench.work("a", bundle)
    answer = await bench.begin("b")
    assert encode(answer["params"]) == encode(params)
