"""Child runs: what a script's `PipelineRun` and `SDKRunner` ask of the gateway."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress

from xaas_core.admission import Admission, Refused
from xaas_core.engine.facts import Request
from xaas_core.engine.params import encode
from xaas_core.engine.states import AT_REST, Operation, RunState, TaskState
from xaas_core.gateway import Gateway
from xaas_core.models.objects import Run
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.names import instance_id, runner_id
from xaas_core.operations import NotAllowed, Undecided, operate, wait_for
from xaas_core.ports import (
    Idempotency,
    KeyReused,
    LogGone,
    Logs,
    NotFound,
    RunnerKey,
    Store,
)
from xaas_runner.contract import ChildAnswer, ChildCall

DECIDE_WITHIN = 10.0
"""Seconds that an operation on a child may take to be decided."""

LONGEST_WAIT = 30.0
"""Seconds that a call is held open; the runner asks again."""

LONGEST_LOG = 256 * 1024
"""Bytes of a step's log that a script is given: all of them go through the gateway's memory."""

KINDS = {"pipeline": Target.PIPELINE, "task": Target.TASK}

TASK_STATUS = {
    RunState.PENDING: TaskState.PENDING,
    RunState.COMPLETE: TaskState.SUCCEEDED,
    RunState.CANCELLED: TaskState.FAILED,
    RunState.ABORTED: TaskState.FAILED,
}
"""A task on its own is a hidden run; the script is told the state of the task."""

REFUSALS: dict[type[Exception], int] = {
    NotFound: 404,
    NotAllowed: 409,
    KeyReused: 409,
    Refused: 422,
    Undecided: 503,
}
"""What the script is told as `Error.code`."""


class Children:
    """Creates, drives and reads runs for scripts, within their own namespace."""

    def __init__(self, gateway: Gateway, store: Store, admission: Admission, logs: Logs) -> None:
        self._gateway = gateway
        self._store = store
        self._admission = admission
        self._logs = logs

    async def answer(self, runner: RunnerKey, call: ChildCall) -> ChildAnswer:
        """Do what `call` asks; what can't be done is said in the answer's `error`."""
        parent = await self._gateway.context(runner)
        if parent is None:
            return {"error": "this attempt is over", "code": 409}
        try:
            return await self._do(parent, runner, call)
        except tuple(REFUSALS) as error:
            code = next(code for kind, code in REFUSALS.items() if isinstance(error, kind))
            return {"error": str(error), "code": code}
        except (KeyError, ValueError) as error:
            return {"error": f"the call can't be read: {error}", "code": 400}

    async def _do(self, parent: Run, runner: RunnerKey, call: ChildCall) -> ChildAnswer:
        if call["call"] == "create":
            return await self._create(parent, runner, call)
        child = await self._child(parent, call)
        if call["call"] == "operate":
            operation = Operation(call["operation"])
            return _shown(await operate(self._store, child.meta.uid, operation, DECIDE_WITHIN))
        if call["call"] == "logs":
            return {"logs": await self._read_logs(child)}
        if call["call"] == "get":
            return await self._get(child, call)
        raise ValueError(f"there is no call {call['call']!r}")

    async def _create(self, parent: Run, runner: RunnerKey, call: ChildCall) -> ChildAnswer:
        spec = PipelineRunSpec(name=call["name"], parameters=call["parameters"])
        target = KINDS[call["kind"]]
        namespace = parent.meta.namespace
        owner = instance_id(runner.run, runner.ref, runner.side)
        key = f"child/{owner}/{runner.attempt}/{call['key']}"
        digest = hashlib.sha256(encode([spec.name, spec.parameters, target]).encode()).hexdigest()
        idempotency = Idempotency(key, digest)
        run = await self._store.recall_run(namespace, idempotency)
        if run is None:
            await self._admission.admit_run(namespace, spec, target)
            # A request's id that is derived like the key: asked for again, it starts nothing twice.
            request = Request(f"{key}/run", Operation.RUN) if call.get("run") else None
            run = await self._store.create_run(namespace, spec, target, request, idempotency)
        return _shown(run)

    async def _child(self, parent: Run, call: ChildCall) -> Run:
        run = await self._store.get_run(call["id"])
        if run.meta.namespace != parent.meta.namespace:
            raise NotFound(f"there is no run {call['id']!r}")
        return run

    async def _get(self, child: Run, call: ChildCall) -> ChildAnswer:
        if not call.get("until_rest"):
            return _shown(child)
        patience = min(call.get("patience_ms", 0) / 1000, LONGEST_WAIT)
        found = None
        with suppress(TimeoutError):
            async with self._gateway.polls.within(patience):
                found = await wait_for(self._store, child.meta.uid, at_rest, patience)
        return _shown(found if found is not None else await self._store.get_run(child.meta.uid))

    async def _read_logs(self, run: Run) -> dict[str, list[str]]:
        lines: dict[str, list[str]] = {}
        for (ref, side), stored in (await self._store.records(run.meta.uid)).items():
            for attempt in stored.value.attempts:
                key = RunnerKey(run.meta.uid, ref, side, attempt.number, attempt.launch)
                name = runner_id(run.meta.uid, ref, side, attempt.number, attempt.launch)
                for step in attempt.steps:
                    ended = step.finished_at is not None or attempt.over
                    log = self._logs.read(key, step.index, 0, ended=ended)
                    try:
                        text = await _beginning(log, LONGEST_LOG)
                    except LogGone:
                        continue  # what is left of the others is worth having
                    lines[f"{name}.step-{step.index}"] = text.decode(errors="replace").splitlines()
        return lines


async def _beginning(log: AsyncIterator[bytes], longest: int) -> bytes:
    """What a log begins with; one that goes on says so in its last line."""
    text = b""
    async for part in log:
        text += part
        if len(text) > longest:
            return text[:longest] + b"\n(it goes on)"
    return text


def at_rest(run: Run) -> bool:
    """Whether nothing will happen to the run by itself, and no operation waits."""
    summary = run.status.summary
    return (
        summary.state in AT_REST
        and run.pending_request is None
        and not summary.counts.get(TaskState.RUNNING, 0)
    )


def _shown(run: Run) -> ChildAnswer:
    state = run.status.summary.state
    status: str = state.value
    if run.target is Target.TASK:
        status = TASK_STATUS.get(state, TaskState.RUNNING).value
    return {"id": run.meta.uid, "status": status, "at_rest": at_rest(run)}
