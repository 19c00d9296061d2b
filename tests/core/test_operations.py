"""Asking for an operation and waiting for its answer; and the controller that gives it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from unittest.mock import patch

import pytest
from tests.core.kit.bench import Bench

from xaas_core.controller import Controller
from xaas_core.engine.facts import Request
from xaas_core.engine.states import Operation, RunState
from xaas_core.models.objects import Run
from xaas_core.models.pipeline_run import Target
from xaas_core.operations import NotAllowed, Undecided, operate, wait_for
from xaas_core.ports import Conflict, NotFound, Ports
from xaas_core.reconciler import MAX_EARLIER
from xaas_core.testing.builders import NAMESPACE, entry, pipeline_spec, run_spec, task_spec

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench() -> Bench:
    """A server whose controller doesn't run."""
    return Bench()


@pytest.fixture
async def controlled(bench: Bench) -> AsyncIterator[Bench]:
    """A server whose controller runs."""
    ports = Ports(bench.store, bench.launcher, bench.evaluator, bench.logs, bench.clock)
    task = asyncio.create_task(Controller(ports, bench.tokens).run())
    await asyncio.sleep(0)
    yield bench
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def pending(bench: Bench) -> str:
    """A run that nobody has asked anything of."""
    await bench.define(task_spec("a"), pipeline_spec("p", entry("a")))
    run = await bench.store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, None, None)
    bench.uid = run.meta.uid
    return bench.uid


async def test_an_operation_is_answered_once_it_is_decided(controlled: Bench) -> None:
    uid = await pending(controlled)
    planned = await wait_for(controlled.store, uid, lambda run: run.status.planned, 5)
    assert planned is not None
    assert planned.status.summary.state == "pending"
    run = await operate(controlled.store, uid, Operation.RUN, 5)
    assert run.status.summary.state == "processing"
    run = await operate(controlled.store, uid, Operation.CANCEL, 5)
    assert run.status.summary.state == "cancelling"


async def test_a_refusal_names_the_state_and_what_is_allowed(controlled: Bench) -> None:
    uid = await pending(controlled)
    with pytest.raises(NotAllowed, match="a run that is pending can't do recovery") as caught:
        await operate(controlled.store, uid, Operation.RECOVERY, 5)
    assert caught.value.state is RunState.PENDING
    assert caught.value.allowed == (Operation.RUN, Operation.CANCEL)


async def test_operations_asked_at_once_are_all_decided_one_after_the_other(
    controlled: Bench,
) -> None:
    uid = await pending(controlled)
    answers = await asyncio.gather(
        *(operate(controlled.store, uid, Operation.RUN, 5) for _ in range(5)),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, NotAllowed)]
    assert len(refused) == 4
    assert all(answer.state is RunState.PROCESSING for answer in refused)


@pytest.mark.parametrize("later", [1, MAX_EARLIER, MAX_EARLIER + 1])
async def test_an_answer_is_told_though_others_were_given_since(bench: Bench, later: int) -> None:
    """Who asked looks at the run late: `later` operations were decided since."""
    uid = await pending(bench)
    looks, read = asyncio.Event(), bench.store.get_run

    async def late(uid: str) -> Run:
        await looks.wait()
        return await read(uid)

    with patch.object(bench.store, "get_run", late):
        asking = asyncio.create_task(operate(bench.store, uid, Operation.RECOVERY, 5))
        await asyncio.sleep(0)
    await bench.reconcile()
    for number in range(later):
        await bench.store.request(uid, Request(str(number), Operation.RUN))
        await bench.reconcile()
    assert (await bench.run()).status.reply_to("0") is not None
    looks.set()
    expected = NotAllowed if later <= MAX_EARLIER else Undecided
    with pytest.raises(expected, match=r"can't do recovery|isn't known how"):
        await asking


async def test_what_nobody_decides_still_waits(bench: Bench) -> None:
    uid = await pending(bench)
    with pytest.raises(Undecided, match=r"run wasn't decided within 0\.01 s"):
        await operate(bench.store, uid, Operation.RUN, 0.01)
    request = (await bench.run()).pending_request
    assert request is not None
    assert request.operation is Operation.RUN
    with pytest.raises(Undecided, match=r"cancel isn't asked for: the operation run isn't decided"):
        await operate(bench.store, uid, Operation.CANCEL, 0.01)
    assert (await bench.run()).pending_request == request, "not overwritten"
    await bench.reconcile()
    assert await bench.state() == "processing"


async def test_a_run_that_isnt_there(bench: Bench) -> None:
    for call in (
        operate(bench.store, "no", Operation.RUN, 1),
        wait_for(bench.store, "no", lambda run: True, 1),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_run_that_is_removed_meanwhile_is_said_to_be(bench: Bench) -> None:
    uid = await pending(bench)
    asking = asyncio.create_task(operate(bench.store, uid, Operation.RUN, 5))
    await asyncio.sleep(0)
    await bench.store.remove_run(uid)
    with pytest.raises(NotFound):
        await asking


async def test_waiting_ends_when_patience_does_and_listens_no_more(bench: Bench) -> None:
    uid = await pending(bench)
    assert await wait_for(bench.store, uid, lambda run: False, 0.01) is None
    assert await wait_for(bench.store, uid, lambda run: False, -1) is None
    assert bench.store._touched == []


async def test_a_known_request_changes_nothing(bench: Bench) -> None:
    uid = await pending(bench)
    await bench.store.request(uid, Request("1", Operation.RUN))
    await bench.reconcile()
    await bench.store.request(uid, Request("1", Operation.RUN))
    assert (await bench.run()).pending_request is None


async def test_an_operation_that_was_answered_isnt_asked_for_anew(bench: Bench) -> None:
    """As by who applies the manifest of a run again, with another operation in between."""
    uid = await pending(bench)
    for id_, operation in (("1", Operation.RUN), ("2", Operation.CANCEL)):
        await bench.store.request(uid, Request(id_, operation))
        await bench.reconcile()
    run = await bench.run()
    assert replace(run, request=Request("1", Operation.RUN)).pending_request is None
    assert replace(run, request=Request("3", Operation.RUN)).pending_request is not None


# --- the controller ---


async def test_the_controller_finds_what_was_there_before_it_started(bench: Bench) -> None:
    uid = await pending(bench)
    await bench.store.request(uid, Request("1", Operation.RUN))
    ports = Ports(bench.store, bench.launcher, bench.evaluator, bench.logs, bench.clock)
    task = asyncio.create_task(Controller(ports, bench.tokens).run())
    run = await wait_for(
        bench.store, uid, lambda run: run.status.summary.state is RunState.PROCESSING, 5
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run is not None


async def test_a_conflict_is_decided_again_at_once(bench: Bench) -> None:
    uid = await pending(bench)
    commit, conflicts = bench.store.commit, 0

    async def contended(writes: object) -> None:
        nonlocal conflicts
        conflicts += 1
        if conflicts <= 3:
            raise Conflict("somebody else got on")
        await commit(writes)  # type: ignore[arg-type]

    bench.store.commit = contended  # type: ignore[method-assign]
    ports = Ports(bench.store, bench.launcher, bench.evaluator, bench.logs, bench.clock)
    controller = Controller(ports, bench.tokens)
    task = asyncio.create_task(controller.run())
    run = await operate(bench.store, uid, Operation.RUN, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.status.summary.state == "processing"
    assert controller.looks["conflict"] == 3
    assert controller.looks["done"] >= 1


async def test_the_controller_looks_again_when_the_engine_wants_to(controlled: Bench) -> None:
    await controlled.define(task_spec("a", start_timeout="20ms"), pipeline_spec("p", entry("a")))
    request = Request("1", Operation.RUN)
    store = controlled.store
    run = await store.create_run(NAMESPACE, run_spec("p"), Target.PIPELINE, request, None)
    controlled.uid = run.meta.uid
    await wait_for(
        store, controlled.uid, lambda run: run.status.summary.state is RunState.PROCESSING, 5
    )
    controlled.clock.advance(20)
    async with asyncio.timeout(5):
        while not controlled.launcher.ended:  # noqa: ASYNC110 - the launcher knows no events
            await asyncio.sleep(0.005)
    assert controlled.launcher.ended[0][0] == await controlled.runner("a")
