"""`PipelineRun` and `SDKRunner` in a script."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner.contract import CHILD_PATH

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps


def test_a_pipeline_run_from_create_to_rest(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: {"id": "r-1", "status": "pending"},
        lambda message: {"status": "processing"},
        lambda message: {"status": "processing"},
        lambda message: None,
        lambda message: {"status": "complete", "at_rest": True},
        lambda message: {"status": "aborted"},
        lambda message: {"status": "cancelling"},
        lambda message: {"status": "processing"},
    ]
    script = """
p = await PipelineRun.create('other', parameters={'a': (1, 2)}, run=False)
await p.run()
params['state'] = await p.waitfor()
params['id'] = p.instance_id
q = await PipelineRun.load('r-2')
await q.cancel()
await q.recovery()
"""
    finish = steps.run(script)
    assert finish["error"] is None
    assert finish["delta"] == [
        {"op": "set", "path": ["state"], "value": "complete"},
        {"op": "set", "path": ["id"], "value": "r-1"},
    ]
    create, run, *waits, load, cancel, recovery = gateway.said(CHILD_PATH)
    assert create == {
        "call": "create",
        "key": "0.1",
        "kind": "pipeline",
        "name": "other",
        "parameters": {"a": [1, 2]},
        "run": False,
    }
    assert run == {"call": "operate", "id": "r-1", "operation": "run"}
    assert waits == [{"call": "get", "id": "r-1", "patience_ms": 10_000, "until_rest": True}] * 3
    assert load == {"call": "get", "id": "r-2", "patience_ms": 0}
    assert (cancel["operation"], recovery["operation"]) == ("cancel", "recovery")


@pytest.mark.parametrize(
    "call",
    [
        "await PipelineRun.create('other', parameters={'a': [1, secrets['key']]})",
        "await (await SDKRunner.load()).task(a=[1, 'x' + secrets['key']])",
    ],
)
def test_a_secret_in_what_a_run_is_given(steps: "Steps", gateway: "Gateway", call: str) -> None:
    finish = steps.run(call, secrets={"key": "s3cr3t-value"})
    assert finish["error"]["type"] == "Error"
    assert "parameters['a'][1] holds a secret's value" in finish["error"]["message"]
    assert gateway.said(CHILD_PATH) == []


def test_a_task_on_its_own(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: {"id": "t-1", "status": "processing"},
        lambda message: {"status": "succeeded", "at_rest": True},
        lambda message: {"logs": {"pod.step-0": ["one", "two"]}},
        lambda message: {"id": "t-2", "status": "processing"},
        lambda message: {"status": "failed", "at_rest": True},
    ]
    script = """
runner = await SDKRunner.load()
id = await runner.my_task(port=3, name='x')
params['state'] = await runner.waitfor()
params['logs'] = await runner.logs()
other = await getattr(runner, 'Task-1')(a=1)
params['both'] = [id, other, await runner.waitfor()]
"""
    finish = steps.run(script)
    assert finish["error"] is None
    assert finish["delta"] == [
        {"op": "set", "path": ["state"], "value": "succeeded"},
        {"op": "set", "path": ["logs", "pod.step-0"], "value": ["one", "two"]},
        {"op": "set", "path": ["both"], "value": ["t-1", "t-2", "failed"]},
    ]
    first, wait, logs, second, _ = gateway.said(CHILD_PATH)
    assert (first["kind"], first["name"], first["parameters"], first["run"], first["key"]) == (
        "task",
        "my_task",
        {"port": 3, "name": "x"},
        True,
        "0.1",
    )
    assert wait["id"] == logs["id"] == "t-1"
    assert (second["name"], second["key"]) == ("Task-1", "0.2")


def test_keys_of_params_that_begin_with_an_underscore(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [lambda message: {"id": "r-1", "status": "pending"}]
    script = "runner = await SDKRunner.load()\nawait runner.task(**params)"
    finish = steps.run(script, {"_id": 5, "x": 1})
    assert finish["error"] is None
    (create,) = gateway.said(CHILD_PATH)
    assert create["parameters"] == {"_id": 5, "x": 1}


def test_a_repeated_create_has_the_same_key(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: None,
        lambda message: (503, "", b""),
        lambda message: {"id": "r-1", "status": "processing"},
    ]
    finish = steps.run("p = await PipelineRun.create('other', run=True)")
    assert finish["error"] is None
    assert [message["key"] for message in gateway.said(CHILD_PATH)] == ["0.1"] * 3


def test_many_at_once(steps: "Steps", gateway: "Gateway") -> None:
    """Calls that are only answered when all of them have arrived."""

    def hold(message: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + 5
        while len(gateway.said(CHILD_PATH)) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(gateway.said(CHILD_PATH)) >= 4
        return {"id": f"id-{message['name']}", "status": "processing"}

    gateway.answers[CHILD_PATH] = [hold] * 4
    script = """
import asyncio
runs = await asyncio.gather(*[PipelineRun.create(f'p{i}', run=True) for i in range(4)])
params['ids'] = [run.instance_id for run in runs]
"""
    finish = steps.run(script)
    assert finish["delta"] == [
        {"op": "set", "path": ["ids"], "value": ["id-p0", "id-p1", "id-p2", "id-p3"]}
    ]
    assert sorted(message["key"] for message in gateway.said(CHILD_PATH)) == [
        "0.1",
        "0.2",
        "0.3",
        "0.4",
    ]


def test_a_refusal_is_an_error_with_its_code(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: {"error": "there is no pipeline 'gone'", "code": 422},
        lambda message: (403, "", b"over"),
    ]
    script = """
try:
    await PipelineRun.create('gone')
except Error as error:
    params['told'] = [error.code, error.reason]
try:
    await PipelineRun.load('x')
except Error as error:
    params['late'] = error.code
try:
    await PipelineRun.create('p', parameters={'s': {1}})
except Error as error:
    params['bad'] = error.reason
runner = await SDKRunner.load()
await runner.waitfor()
"""
    finish = steps.run(script)
    assert finish["delta"] == [
        {"op": "set", "path": ["told"], "value": [422, "there is no pipeline 'gone'"]},
        {"op": "set", "path": ["late"], "value": 403},
        {
            "op": "set",
            "path": ["bad"],
            "value": "parameters['s'] is a set, which isn't JSON; use sorted(…) or a list "
            "(for 'p')",
        },
    ]
    assert finish["error"]["message"] == "this SDKRunner has run no task yet (code 409)"
    assert finish["error"]["line"] == 15


def test_aborted_is_rest_when_the_gateway_says_so(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: {"id": "r-1", "status": "processing", "at_rest": False},
        # Tasks of the aborted run are running still.
        lambda message: {"status": "aborted", "at_rest": False},
        lambda message: {"status": "aborted", "at_rest": True},
    ]
    finish = steps.run("p = await PipelineRun.load('r-1')\nparams['state'] = await p.waitfor()")
    assert finish["delta"] == [{"op": "set", "path": ["state"], "value": "aborted"}]
    assert len(gateway.said(CHILD_PATH)) == 3


def test_a_wait_can_be_given_up(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[CHILD_PATH] = [
        lambda message: {"status": "processing"},
        lambda message: time.sleep(1),
    ]
    script = """
import asyncio
p = await PipelineRun.load('r-1')
try:
    await asyncio.wait_for(p.waitfor(), 0.1)
except TimeoutError:
    params['given up'] = True
"""
    finish = steps.run(script)
    assert finish["delta"] == [{"op": "set", "path": ["given up"], "value": True}]
